"""The Prometheus page of one proxy, written when it is scraped from plain numbers (no client library: it would cost the image 2 MiB and
each request a dozen microseconds). ``docs/metrics.md`` explains every name; a test compares the two."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Final, TypeVar

from claudeops.exchange import DIMENSIONS
from claudeops.policy.breaker import CLOSED, HALF_OPEN, OPEN
from claudeops.policy.level import STALE_S
from claudeops.sidecar.config import ConfigHolder
from claudeops.sidecar.counters import Histogram, ModelCounters
from claudeops.sidecar.group import GroupRuntime
from claudeops.sidecar.model import TIERS, ModelRuntime
from claudeops.sidecar.runtime import Runtime

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FAMILIES: Final = {
    "requests_total": ("counter", "Answers given to the application, by HTTP status and, for our own refusals, the reason."),
    "request_duration_seconds": ("histogram", "From the application's request to the end of the answer."),
    "time_to_first_token_seconds": ("histogram", "Of streams: from the application's request to the first content of the answer."),
    "queue_wait_seconds": ("histogram", "Time that a request waited for quota in this proxy."),
    "output_token_interval_seconds": ("histogram", "Of streams: mean time between two output tokens, one value for each stream."),
    "estimate_error_ratio": ("histogram", "Estimated over real input tokens of a request."),
    "overhead_seconds": ("histogram", "Time spent in the proxy itself, waiting apart."),
    "upstream_responses_total": ("counter", "Answers of the Claude API, one for each attempt; 0 is no connection."),
    "throttled_total": ("counter", "429s of the Claude API by cause."),
    "retries_total": ("counter", "Attempts that were repeated, by what failed before."),
    "sampling_adjusted_total": ("counter", "Requests whose parameter was left out, clamped, or passed with a warning."),
    "tokens_total": ("counter", "Tokens by kind, as the API counted them."),
    "cost_usd_total": ("counter", "Cost of the answers by the catalogue's prices."),
    "cost_saved_usd_total": ("counter", "What the answers would have cost more without the prompt cache's reads."),
    "breaker_state": ("gauge", "0 closed, 1 half-open, 2 open."),
    "lease_tokens": ("gauge", "The rate in force a second, and what the bucket holds now (below zero: debt)."),
    "limit_level_ratio": ("gauge", "How full the organisation's bucket is by the API's headers; absent without fresh ones."),
    "pool_connections": ("gauge", "Connections to the Claude API by state."),
    "inflight_requests": ("gauge", "Requests at the Claude API now."),
    "config_info": ("gauge", "1, with revision, content hash and source of the configuration in force."),
    "config_errors_total": ("counter", "Configurations that were refused; the last good one stayed in force."),
}
"""Name (without the prefix) → type and help."""
_HISTOGRAMS: Final = {
    "request_duration_seconds": "duration",
    "time_to_first_token_seconds": "first_token",
    "queue_wait_seconds": "queue_wait",
    "output_token_interval_seconds": "output_interval",
    "estimate_error_ratio": "estimate_error",
    "overhead_seconds": "overhead",
}
_ALWAYS_LEFT_OUT: Final = frozenset({"prefill", "thinking_blocks", "cache_control"})
_BREAKER_VALUES: Final = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
Sample = tuple[str, str, float]
"""Name with suffix, labels in braces or "", value."""


class MetricsPage:
    """Writes the page. ``pool_counts``: upstream connections by state."""

    def __init__(self, runtime: Runtime, holder: ConfigHolder, pool_counts: Callable[[], dict[str, int]]) -> None:
        self._runtime = runtime
        self._holder = holder
        self._pool_counts = pool_counts

    def text(self, now: float) -> bytes:
        """The page as it stands at ``now``, the runtime's clock."""
        lines: list[str] = []
        for name, (kind, help_text) in FAMILIES.items():
            lines += (f"# HELP claudeops_{name} {help_text}", f"# TYPE claudeops_{name} {kind}")
            lines += (f"claudeops_{full}{labels} {_number(value)}" for full, labels, value in self._samples(name, now))
        lines.append("")
        return "\n".join(lines).encode()

    def _samples(self, name: str, now: float) -> Iterator[Sample]:
        if name in _HISTOGRAMS:
            for labels, tier in self._tiers():
                yield from _histogram(name, labels, getattr(tier, _HISTOGRAMS[name]))
        elif name in _PER_MODEL:
            for model in self._runtime.models.values():
                yield from _PER_MODEL[name](model, self._workload)
        elif name in _PER_GROUP:
            for group in self._runtime.groups.values():
                yield from _PER_GROUP[name](group, now)
        else:
            yield from self._process(name)

    def _process(self, name: str) -> Iterator[Sample]:
        holder = self._holder
        if name == "pool_connections":
            for state, count in self._pool_counts().items():
                yield name, _braces(state=state), count
        elif name == "inflight_requests":
            yield name, "", self._runtime.in_flight
        elif name == "config_errors_total":
            yield name, "", holder.errors
        elif holder.current is not None:
            yield name, _braces(revision=str(holder.revision), hash=holder.current_hash, source=holder.source), 1

    @property
    def _workload(self) -> str:
        config = self._runtime.config
        return f"{config.workload.namespace}/{config.workload.name}" if config else ""

    def _tiers(self) -> Iterator[tuple[dict[str, str], ModelCounters]]:
        for model in self._runtime.models.values():
            for tier, counters in zip(TIERS, model.counters, strict=True):
                if counters.requests:
                    yield {"workload": self._workload, "model": model.id, "tier": tier}, counters


def _requests(model: ModelRuntime, workload: str) -> Iterator[Sample]:
    for tier, counters in zip(TIERS, model.counters, strict=True):
        for (status, reason), count in counters.requests.items():
            labels = _braces(workload=workload, model=model.id, tier=tier, code=str(status), reason=reason)
            yield "requests_total", labels, count


def _upstream(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    for status, count in _sums(counters.upstream for counters in model.counters).items():
        yield "upstream_responses_total", _braces(model=model.id, code=str(status)), count


def _throttled(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    for cause, count in _sums(counters.throttles for counters in model.counters).items():
        yield "throttled_total", _braces(model=model.id, cause=str(cause)), count


def _retries(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    for cause, count in _sums(counters.retries for counters in model.counters).items():
        yield "retries_total", _braces(model=model.id, cause=str(cause)), count


def _tokens(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    for kind, count in model.used.tokens()._asdict().items():
        yield "tokens_total", _braces(model=model.id, kind=kind), count


def _adjusted(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    left_out = _sums(counters.left_out for counters in model.counters)
    for name, count in _sums(counters.adjusted for counters in model.counters).items():
        out = count if name in _ALWAYS_LEFT_OUT else left_out.get(name, 0)
        for what, part in (("left_out", out), ("clamped", count - out)):
            if part:
                yield "sampling_adjusted_total", _braces(model=model.id, parameter=name, what=what), part
    for name, count in _sums(counters.warned for counters in model.counters).items():
        yield "sampling_adjusted_total", _braces(model=model.id, parameter=name, what="warned"), count


def _cost(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    yield "cost_usd_total", _braces(model=model.id), sum(model.used.cost_pico().values()) / 1e12


def _saved(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    yield "cost_saved_usd_total", _braces(model=model.id, by="cache"), model.used.saved_pico() / 1e12


def _breaker(model: ModelRuntime, _workload: str) -> Iterator[Sample]:
    yield "breaker_state", _braces(model=model.id), _BREAKER_VALUES[model.breaker.state]


def _lease(group: GroupRuntime, now: float) -> Iterator[Sample]:
    limiter = group.limiter
    if group.is_auxiliary:
        return
    for dimension, rate, bucket in zip(
        DIMENSIONS, limiter.lease.as_tuple(), (limiter.requests, limiter.input, limiter.gate.bucket), strict=True
    ):
        bucket.refill(now)
        yield "lease_tokens", _braces(group=group.name, dimension=dimension, what="rate"), rate
        yield "lease_tokens", _braces(group=group.name, dimension=dimension, what="level"), bucket.level


def _level(group: GroupRuntime, now: float) -> Iterator[Sample]:
    for dimension, gauge in zip(DIMENSIONS, group.limiter.gauges, strict=True):
        if now - gauge.seen_at <= STALE_S:
            yield "limit_level_ratio", _braces(group=group.name, dimension=dimension), gauge.level(now)


_PER_MODEL: Final = {
    "requests_total": _requests,
    "upstream_responses_total": _upstream,
    "throttled_total": _throttled,
    "retries_total": _retries,
    "sampling_adjusted_total": _adjusted,
    "tokens_total": _tokens,
    "cost_usd_total": _cost,
    "cost_saved_usd_total": _saved,
    "breaker_state": _breaker,
}
_PER_GROUP: Final = {"lease_tokens": _lease, "limit_level_ratio": _level}


_Key = TypeVar("_Key", bound=Hashable)


def _sums(parts: Iterator[dict[_Key, int]]) -> dict[_Key, int]:
    total: dict[_Key, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return total


def _histogram(name: str, labels: dict[str, str], histogram: Histogram) -> Iterator[Sample]:
    count = 0
    for bound, part in zip((*(repr(bound) for bound in histogram.bounds), "+Inf"), histogram.counts, strict=True):
        count += part
        yield f"{name}_bucket", _braces(**labels, le=bound), count
    yield f"{name}_sum", _braces(**labels), histogram.sum
    yield f"{name}_count", _braces(**labels), count


def _braces(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(round(value, 6))
