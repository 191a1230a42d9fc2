"""One model group as one proxy sees it: its limiter, who waits for it, what was used of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from claudeops.exchange import FAST_POOL
from claudeops.policy.lease_state import HeldLease, LeasePhase, effective_lease
from claudeops.policy.limiter import GroupLimiter
from claudeops.policy.queue import AdmissionQueue
from claudeops.policy.rates import Rates
from claudeops.sidecar.counters import GroupCounters

if TYPE_CHECKING:
    from claudeops.sidecar.call import Call

UNLIMITED: Final = Rates(1e6, 1e9, 1e7)
"""What a group without lease and baseline may use where there is no controller at all. Finite: the gate learns from ratios."""
NOTHING: Final = Rates(0.0, 0.0, 0.0)
COUNT_TOKENS: Final = "count-tokens"
OTHER: Final = "other"
"""Pool of everything that is relayed without limits of its own (``/v1/models``)."""
AUXILIARY: Final[tuple[str, ...]] = (COUNT_TOKENS, OTHER, "batches", "files")
"""Pools of requests only. Each has a few connections of its own, so that long uploads hold up nothing else."""


class GroupRuntime:
    """State of one group. The exchange reads ``limiter.lease``, ``limiter.gauges``, ``queue``, ``in_flight``, ``counters`` and sets
    ``recent_use``."""

    __slots__ = (
        "baseline",
        "counters",
        "full_s",
        "held",
        "in_flight",
        "is_auxiliary",
        "is_fast",
        "judged_by",
        "limiter",
        "limits",
        "name",
        "phase",
        "queue",
        "queued_input",
        "read_at",
        "recent_use",
    )

    def __init__(self, name: str, baseline: Rates | None, now: float) -> None:
        self.name = name
        self.is_auxiliary = name in AUXILIARY
        """Served by the small second pool, and not counted against maxInFlight."""
        self.is_fast = name.endswith(FAST_POOL)
        """Fast mode's own limits. Nobody declares them: until the headers have told the controller, only 429s hold it back."""
        self.baseline = baseline
        """This proxy's share without a controller; None: the configuration names none."""
        self.limiter = GroupLimiter(baseline or UNLIMITED, now)
        self.queue: AdmissionQueue[Call] = AdmissionQueue()
        self.queued_input = 0.0
        """Estimated input tokens of those who wait."""
        self.judged_by = self.limiter.lease
        """The lease by which those who wait were last judged."""
        self.counters = GroupCounters()
        self.read_at = -1.0e18
        """When the rate-limit headers were last read."""
        self.in_flight = 0
        self.held: HeldLease | None = None
        """The last lease granted, whether it still holds or not."""
        self.limits: Rates | None = None
        """The organisation's limits at that time."""
        self.full_s: Rates | None = None
        self.phase = LeasePhase.BASELINE
        self.recent_use = UNLIMITED
        """Real use a second, by the last report: what an uncontended lease is cut to when it expires."""

    def apply_lease(self, now: float, *, has_controller: bool) -> LeasePhase:
        """Set the limiter to what holds at `now`, and say which phase that is."""
        if self.held is None and (self.is_auxiliary or self.is_fast or not has_controller):
            self._set(self.baseline or UNLIMITED, now)
            return LeasePhase.BASELINE
        lease = effective_lease(self.held, now, baseline=self.baseline or NOTHING, recent_use=self.recent_use)
        self._set(lease.rates, now)
        return lease.phase

    def _set(self, rates: Rates, now: float) -> None:
        limiter = self.limiter
        if rates != limiter.lease or self.limits != limiter.limits:
            limiter.set_lease(rates, now, limits=self.limits, full_s=self.full_s)
