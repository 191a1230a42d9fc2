"""The sidecar ↔ controller contract: ``POST /v1/exchange``, a :class:`Report` in, an :class:`Assignment` out.

Dynamic state only. All rates are **per second**; all ages are seconds before the report was sent, since the two clocks are not the same.
Counts are deltas since the last report that was answered, unless a field says otherwise. Unknown fields are refused in both directions:
the two sides are released together, and ``protocol`` says which schema is spoken.
"""

# No postponed annotations here: msgspec would evaluate each of them again, as text, at every start.

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import ProxyConfig, WorkloadKey

PROTOCOL: Final = 1
PATH = "/v1/exchange"
TOKEN_AUDIENCE = "claudeops.dev/exchange"  # noqa: S105  an audience, no secret
MAX_REPORT_BYTES = 256 * 1024

Dimension = Literal["requests", "inputTokens", "outputTokens"]
DIMENSIONS: tuple[Dimension, ...] = ("requests", "inputTokens", "outputTokens")
FAST_POOL: Final = "/fast"
"""Behind a group's name: fast mode's limits, which are its own."""
BreakerState = Literal["Closed", "Open", "HalfOpen"]
LeaseState = Literal["Fresh", "Reduced", "Baseline"]
Amount = Annotated[float, Meta(ge=0, le=1e15)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
"""Bounded, so that sums and products of what many proxies say stay numbers: a figure that is none would stop every decision."""
Bucket = Annotated[list[Count], Meta(min_length=2, max_length=2)]
"""Index and count of a histogram's bucket."""


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Common behaviour of every part of the exchange."""


class Rates(Message, frozen=True, kw_only=True):
    """One value per dimension of a model group, a second."""

    requests: Amount = 0.0
    input_tokens: Amount = 0.0
    output_tokens: Amount = 0.0


# -- sidecar → controller ------------------------------------------------------------------------------------------------------------


class GroupUse(Message, frozen=True, kw_only=True):
    """What one proxy wanted and used of one model group since its last answered report.

    ``wants``: rates offered by the application, refused and queued ones included. ``used``: rates that the API was charged for.
    ``holds``: the lease in force now. ``queued``: requests waiting now. ``shed``: requests refused for want of quota (a count).
    ``in_flight``: requests at the API now. ``latency_s``: mean time from sending to the end of the answer, 0 when none ended.
    """

    wants: Rates = Rates()
    used: Rates = Rates()
    holds: Rates = Rates()
    queued: Count = 0
    shed: Count = 0
    in_flight: Count = 0
    admitted: Count = 0
    latency_s: Amount = 0.0


class LevelSample(Message, frozen=True, kw_only=True):
    """The newest ``anthropic-ratelimit-*`` headers of one dimension. ``age_s`` counts from when that request was *sent*."""

    group: str
    dimension: Dimension
    limit_per_minute: Amount
    remaining: Amount
    age_s: Amount


class ModelResults(Message, frozen=True, kw_only=True):
    """Upstream answers of one model: counts by HTTP status (``"0"``: no connection, ``"504"``: timed out here, ``"529"`` also inside a
    200 stream) and 429s by cause."""

    model: str
    codes: dict[str, Count] = {}
    throttles: dict[str, Count] = {}
    """Causes: RateLimited, RampLimited, SpendLimited."""
    throttles_above_level: Count = 0
    """Plain 429s whose own headers showed every level above 25 %: the header bucket is not the enforced one."""
    retry_after_s: Amount = 0.0
    """Mean of what its 429s (spend limits apart) asked to wait; 0 where they said nothing."""


class BreakerReport(Message, frozen=True, kw_only=True):
    """One breaker, as it is now. ``requests`` and ``errors`` are of its window, the shares a fleet decision weighs."""

    model: str
    state: BreakerState
    reason: str = ""
    since_s: Amount = 0.0
    requests: Count = 0
    errors: Count = 0


class SloCell(Message, frozen=True, kw_only=True):
    """Requests of one 5-minute cell (``start`` = unix seconds ÷ 300) held against one objective. Absolute values, not deltas."""

    indicator: str
    start: Count
    good: Count
    total: Count


class Sketches(Message, frozen=True, kw_only=True):
    """Mergeable histograms (:mod:`claudeops.policy.sketch`), as their sparse list form."""

    latency: list[Bucket] = []
    time_to_first_token: list[Bucket] = []
    queue_wait: list[Bucket] = []


class Report(Message, frozen=True, kw_only=True):
    """What one proxy says. ``instance`` is the pod's uid."""

    protocol: Literal[1] = PROTOCOL
    instance: Annotated[str, Meta(min_length=1, max_length=128)]
    workload: WorkloadKey
    sequence: Count
    """Grows with every report of an instance; an older one is ignored."""
    revision: Count
    """Of the ProxyConfig in force; 0 before there is one."""
    config_hash: str = ""
    epoch: Count = 0
    version: Count = 0
    """Of the assignment in force."""
    lease_state: LeaseState = "Baseline"
    is_urgent: bool = False
    """Answered at once instead of by long poll; sent on a second connection."""
    is_draining: bool = False
    has_key: bool = True
    """Whether the API key's file is there and not empty. The controller may not read tenants' Secrets: this is how it learns."""
    interval_s: Amount = 0.0
    groups: dict[str, GroupUse] = {}
    samples: Annotated[list[LevelSample], Meta(max_length=200)] = []
    results: Annotated[list[ModelResults], Meta(max_length=100)] = []
    breakers: Annotated[list[BreakerReport], Meta(max_length=100)] = []
    requests: Count = 0
    """Answers given to the application, whatever their status."""
    fallback_requests: Count = 0
    open_connections: Count = 0
    sketches: Sketches = Sketches()
    slo_cells: Annotated[list[SloCell], Meta(max_length=200)] = []
    cache_read_tokens: Count = 0
    cacheable_tokens: Count = 0
    """All input tokens, cached or not: the denominator of the hit share."""
    organization_ids: Annotated[list[str], Meta(max_length=8)] = []
    workspace_ids: Annotated[list[str], Meta(max_length=8)] = []
    """Whom the API said it answered: the last of both lists is who it was last."""


# -- controller → sidecar ------------------------------------------------------------------------------------------------------------


class Lease(Message, frozen=True, kw_only=True):
    """One proxy's share of one model group, until ``ttl_s`` after it *sent* the report that this answers.

    ``limits`` are the organisation's, ``full_s`` the measured bursts in seconds (0: not known yet): with both, a proxy reads the
    bucket's level from the headers that it sees itself.
    """

    rates: Rates
    is_contended: bool = False
    limits: Rates = Rates()
    full_s: Rates = Rates()


class Flip(Message, frozen=True, kw_only=True):
    """The fleet is off this model. ``may_probe``: this proxy may send one half-open probe at a time."""

    model: str
    may_probe: bool = False


class Assignment(Message, frozen=True, kw_only=True):
    """What one proxy is told. Lower ``(epoch, version)`` than the one in force are ignored."""

    protocol: Literal[1] = PROTOCOL
    epoch: Count
    version: Count
    ttl_s: Amount = 15.0
    report_interval_s: Amount = 5.0
    leases: dict[str, Lease] = {}
    connections: Annotated[int, Meta(ge=1)] | None = None
    max_in_flight: Annotated[int, Meta(ge=1)] | None = None
    flips: list[Flip] = []
    retry_budget_scale: Annotated[float, Meta(ge=0, le=1)] = 1.0
    config: ProxyConfig | None = None


_Message = TypeVar("_Message", bound=Message)
_ENCODER = msgspec.json.Encoder()
_REPORTS = msgspec.json.Decoder(Report)
_ASSIGNMENTS = msgspec.json.Decoder(Assignment)


def encode_message(message: Report | Assignment) -> bytes:
    """One message as JSON. ``protocol`` is always written."""
    return _ENCODER.encode({"protocol": message.protocol, **msgspec.to_builtins(message)})


def decode_report(raw: bytes) -> Report:
    """Raises :class:`~claudeops.errors.InvalidResource` with the path of the first field that does not fit."""
    return _decode(_REPORTS, raw)


def decode_assignment(raw: bytes) -> Assignment:
    """Raises :class:`~claudeops.errors.InvalidResource` with the path of the first field that does not fit."""
    return _decode(_ASSIGNMENTS, raw)


def _decode(decoder: msgspec.json.Decoder[_Message], raw: bytes) -> _Message:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise InvalidResource(f"not an exchange message of protocol {PROTOCOL}: {error}") from error
