"""The fleet: soft state from the proxies' reports, and every decision in time. No I/O; the caller brings the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudeops.exchange import Assignment, Report
from claudeops.fleet.settings import FleetSettings
from claudeops.fleet.views import QuotaView, WorkloadView
from claudeops.proxyconfig import ProxyConfig, WorkloadKey

if TYPE_CHECKING:
    from claudeops.translate.terms import QuotaTerms, WorkloadTerms


class Fleet:
    """Shares quotas out to proxies, sizes pools, flips models. Synchronous; not thread-safe: one event loop owns it.

    ``now`` is seconds of one monotonic clock everywhere. ``wall_offset_s`` is what to add to get unix seconds (for SLO cells).
    All state is soft: it comes back from reports within one lease TTL after ``begin``.
    """

    def __init__(self, settings: FleetSettings | None = None, *, wall_offset_s: float = 0.0) -> None:
        self.settings = settings or FleetSettings()
        raise NotImplementedError

    def begin(self, epoch: int, now: float) -> None:
        """This process leads from now on, in this epoch (the Lease's transitions); starts with learning mode."""

    def set_quota(self, terms: QuotaTerms) -> None:
        """Adds or replaces a quota by name; what was learned of its limits is kept."""

    def drop_quota(self, name: str) -> None:
        """Forgets a quota: workloads that refer to it get no leases any more."""

    def set_workload(self, terms: WorkloadTerms, config: ProxyConfig) -> None:
        """Adds or replaces a workload and its desired config. Proxies that run another revision are pushed at once."""

    def drop_workload(self, key: WorkloadKey) -> None:
        """Forgets a workload and its proxies."""

    def observe(self, key: WorkloadKey, *, expected: int, replicas: int | None) -> None:
        """What the cluster shows: proxies that should exist, and the scale target's present ``spec.replicas`` (None: unknown)."""

    def accept(self, report: Report, now: float) -> bool:
        """Takes one report in. False if it was ignored (an older sequence, or too many instances)."""

    def tick(self, now: float) -> None:
        """Decides anew: every ``tick_s``, and at ``next_tick_at`` where that is earlier."""

    def next_tick_at(self, now: float) -> float:
        """When the next decision is due: after ``tick_s``, or at once or within ``urgent_tick_s`` after an urgent report."""

    def assignment_for(self, instance: str, now: float) -> Assignment:
        """What this proxy is told now; the config is inside when its reported revision is not the desired one."""

    def take_pushes(self) -> frozenset[str]:
        """Instances whose assignment changed so much that their long poll should end now. Each is returned once."""

    def take_changes(self) -> frozenset[WorkloadKey | str]:
        """Workloads, and quotas by name, of which something changed that status shows at once (conditions, tier, replicas,
        breakers, proxies connected). Each is returned once."""

    def workload_view(self, key: WorkloadKey, now: float) -> WorkloadView:
        """The workload as it is now; an empty view of one that is not known."""

    def quota_view(self, name: str, now: float) -> QuotaView:
        """The quota as it is now; an empty view of one that is not known."""
