"""What the fleet knows, for status: frozen pictures of one moment. All rates in views are **per minute**, all times seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from claudeops.exchange import BreakerState, Dimension

ShortReason = Literal["Sufficient", "Contended", "GuaranteeNotMet", "KeyOfOtherOrganization"]


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Requests, uncached input tokens and output tokens a minute; None: that dimension is not limited."""

    requests_per_minute: float | None = None
    input_tokens_per_minute: float | None = None
    output_tokens_per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerView:
    """The breakers of one model over all proxies of a workload: the worst state, since when (seconds ago), why, and how many are open."""

    model: str
    state: BreakerState
    reason: str
    since_s: float
    open_proxies: int


@dataclass(frozen=True, slots=True)
class SloView:
    """One objective: over 1 h for the figures, ``burn_rate`` over 1 h; ``is_met`` is None while it cannot be said."""

    indicator: str
    is_met: bool | None
    current_percent: float | None
    burn_rate: float | None


@dataclass(frozen=True, slots=True)
class ObservedView:
    """What the proxies measured in the last 60 s; p95s are None when nothing was measured."""

    requests_per_minute: float = 0.0
    throttled_per_minute: float = 0.0
    shed_per_minute: float = 0.0
    fallback_percent: float = 0.0
    in_flight: int = 0
    queued: int = 0
    queue_wait_p95_s: float | None = None
    time_to_first_token_p95_s: float | None = None
    latency_p95_s: float | None = None
    cache_hit_percent: float | None = None


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """One workload at one moment.

    ``connected``: proxies that reported within the lease's time. ``converged``: those that run the desired revision.
    ``stale``: instances once seen that stopped reporting without draining. ``keyless``: connected proxies without an API key
    (``Report.has_key``).
    ``grant`` is what it may use of the group that serves it now, ``None`` without a quota or before the first decision.
    ``throttle_reason`` is ``""`` unless an upstream 429 came in the last 60 s.
    ``active_model`` is what the fleet serves for a request of the primary; ``flip_reason`` and ``flipped_for_s`` say why and how long it
    is not the primary. ``desired_replicas`` is None where no replica count is touched.
    ``short_dimension`` names what ``QuotaSatisfied=False`` is about. ``short_reason`` is Sufficient unless it is not.
    """

    connected: int = 0
    converged: int = 0
    stale: tuple[str, ...] = ()
    keyless: int = 0
    grant: GroupRates | None = None
    group: str | None = None
    observed: ObservedView = ObservedView()
    throttle_reason: str = ""
    breakers: tuple[BreakerView, ...] = ()
    active_model: str = ""
    is_fallback: bool = False
    flip_reason: str = ""
    flipped_for_s: float | None = None
    desired_replicas: int | None = None
    wanted_replicas: int | None = None
    is_capped_by_quota: bool = False
    connections_per_proxy: int | None = None
    is_quota_satisfied: bool = True
    short_dimension: Dimension | None = None
    short_reason: ShortReason = "Sufficient"
    slos: tuple[SloView, ...] = ()
    is_learning: bool = False


@dataclass(frozen=True, slots=True)
class GroupView:
    """One dimension of one model group of a quota, in units a minute. ``learned`` is the header's limit, ``level`` 0..1 how full the
    organisation's bucket is (None: unknown), ``outside`` the use that no proxy reported (None: unknown)."""

    group: str
    dimension: Dimension
    declared: float | None
    learned: float | None
    level: float | None
    capacity: float
    granted: float
    used: float
    outside: float | None
    throttled_per_minute: float
    workloads: int


@dataclass(frozen=True, slots=True)
class QuotaView:
    """One quota at one moment: its groups in use, its organisation, and the workloads whose key is another organisation's."""

    organization_id: str | None = None
    groups: tuple[GroupView, ...] = ()
    foreign_workloads: tuple[str, ...] = ()
