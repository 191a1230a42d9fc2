"""What the proxy measures, as rows of plain numbers, read when somebody scrapes: nothing here runs for a request.

``docs/metrics.md`` explains every name; a test compares the two. No label takes a value that a client or the API can make up without
end: models are the catalogue's, reasons and causes our own, codes HTTP's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

from claudeops.catalogue.price import PICO_PER_USD
from claudeops.exchange import DIMENSIONS
from claudeops.policy.breaker import CLOSED, HALF_OPEN, OPEN
from claudeops.policy.level import STALE_S
from claudeops.sidecar.config import ConfigHolder
from claudeops.sidecar.counters import Histogram, ModelCounters
from claudeops.sidecar.failure import THROTTLE_CAUSES
from claudeops.sidecar.model import PRIMARY, TIERS, ModelRuntime
from claudeops.sidecar.runtime import Runtime

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
_SERVED: Final = ("workload", "model", "tier")


class Family(NamedTuple):
    """One metric. ``labels`` in the order of its rows' values."""

    kind: str
    labels: tuple[str, ...]
    help: str


Row = tuple[tuple[str, ...], float | Histogram]
"""Label values, and what was counted."""
FAMILIES: Final = {
    "requests_total": Family(
        COUNTER,
        (*_SERVED, "code", "reason"),
        "Answers given to the application, by HTTP status and, for our own refusals, the reason.",
    ),
    "request_duration_seconds": Family(HISTOGRAM, _SERVED, "From the application's request to the end of the answer."),
    "time_to_first_token_seconds": Family(
        HISTOGRAM, _SERVED, "Of streams: from the application's request to the first content of the answer."
    ),
    "queue_wait_seconds": Family(HISTOGRAM, _SERVED, "Time that a request waited for quota in this proxy."),
    "output_token_interval_seconds": Family(
        HISTOGRAM, _SERVED, "Of streams: mean time between two output tokens, one value for each stream."
    ),
    "overhead_seconds": Family(HISTOGRAM, _SERVED, "Time spent in the proxy itself, waiting apart."),
    "estimate_error_ratio": Family(HISTOGRAM, (*_SERVED, "what"), "Estimated over real tokens of a request."),
    "context_used_ratio": Family(HISTOGRAM, _SERVED, "Tokens of the prompt over the model's context window."),
    "upstream_responses_total": Family(COUNTER, ("model", "code"), "Answers of the Claude API, one for each attempt; 0 is no connection."),
    "throttled_total": Family(COUNTER, ("model", "cause"), "429s of the Claude API by cause."),
    "retries_total": Family(COUNTER, ("model", "cause"), "Attempts that were repeated, by what failed before."),
    "sampling_adjusted_total": Family(
        COUNTER, ("model", "parameter", "what"), "Requests whose parameter was left out, clamped, or passed with a warning."
    ),
    "bound_histories_total": Family(COUNTER, ("model",), "Requests whose earlier turns are not edited, for the thinking blocks in them."),
    "tokens_total": Family(COUNTER, ("model", "kind"), "Tokens by kind, as the API counted them."),
    "tokens_estimated_total": Family(
        COUNTER, ("model", "kind"), "The part of the tokens that is an estimate, because the answer broke off."
    ),
    "cost_usd_total": Family(COUNTER, ("model", "kind"), "Cost of the answers by the catalogue's prices, where it is known."),
    "cost_unknown_requests_total": Family(COUNTER, ("model", "cause"), "Answers whose cost is not known and in no sum."),
    "cost_saved_usd_total": Family(
        COUNTER, ("model", "by"), "What the answers would have cost more without cache reads, or without shared calls."
    ),
    "breaker_state": Family(GAUGE, ("model",), "0 closed, 1 half-open, 2 open."),
    "breaker_opened_total": Family(COUNTER, ("model", "cause"), "How often the breaker has opened, failed half-open probes included."),
    "lease_tokens": Family(
        GAUGE, ("group", "dimension", "what"), "The rate in force a second, and what the bucket holds now (below zero: debt)."
    ),
    "limit_level_ratio": Family(
        GAUGE, ("group", "dimension"), "How full the organisation's bucket is by the API's headers; absent without fresh ones."
    ),
    "pool_connections": Family(GAUGE, ("state",), "Connections to the Claude API by state."),
    "connections_opened_total": Family(COUNTER, ("outcome",), "Connections to the Claude API that were opened, or could not be."),
    "inflight_requests": Family(GAUGE, (), "Requests at the Claude API now."),
    "config_info": Family(
        GAUGE, ("revision", "hash", "source"), "1, with revision, content hash and source of the configuration in force."
    ),
    "config_errors_total": Family(COUNTER, (), "Configurations that were refused; the last good one stayed in force."),
}
"""By name, without the prefix ``claudeops_``."""
_HISTOGRAMS: Final = {
    "request_duration_seconds": "duration",
    "time_to_first_token_seconds": "first_token",
    "queue_wait_seconds": "queue_wait",
    "output_token_interval_seconds": "output_interval",
    "overhead_seconds": "overhead",
    "estimate_error_ratio": "estimate_error",
    "context_used_ratio": "context_used",
}
_ALWAYS_LEFT_OUT: Final = frozenset({"prefill", "thinking_blocks", "cache_control"})
_BREAKER_VALUES: Final = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}


class Measures:
    """The rows of one proxy. ``pool_counts``: upstream connections by state; ``opened_counts``: those opened so far by outcome."""

    def __init__(
        self,
        runtime: Runtime,
        holder: ConfigHolder,
        pool_counts: Callable[[], dict[str, int]],
        *,
        opened_counts: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self.runtime = runtime
        self._holder = holder
        self._pool_counts = pool_counts
        self._opened_counts = opened_counts

    def rows(self, name: str, now: float) -> Iterator[Row]:
        """Those of one family as they stand at ``now``, the runtime's clock."""
        if name in _HISTOGRAMS:
            return self._histograms(name)
        if name in _PER_MODEL:
            return (row for model in self.runtime.models.values() for row in _PER_MODEL[name](model))
        if name in _PER_RUNTIME:
            return _PER_RUNTIME[name](self.runtime, now)
        return self._process(name)

    def _histograms(self, name: str) -> Iterator[Row]:
        for labels, counters in self._tiers():
            if name == "estimate_error_ratio":
                yield (*labels, "input"), counters.estimate_error
                yield (*labels, "output"), counters.output_estimate_error
            else:
                yield labels, getattr(counters, _HISTOGRAMS[name])
        if name == "request_duration_seconds":
            for group in self.runtime.groups.values():
                if group.counters.answers:
                    yield (self._workload, group.name, TIERS[PRIMARY]), group.counters.duration

    def _requests(self) -> Iterator[Row]:
        for labels, counters in self._tiers():
            for (status, reason), count in counters.requests.items():
                yield (*labels, str(status), reason), count
        for group in self.runtime.groups.values():
            for (status, reason), count in group.counters.answers.items():
                yield (self._workload, group.name, TIERS[PRIMARY], str(status), reason), count

    def _process(self, name: str) -> Iterator[Row]:
        holder = self._holder
        if name == "requests_total":
            yield from self._requests()
        elif name == "pool_connections":
            for state, count in self._pool_counts().items():
                yield (state,), count
        elif name == "connections_opened_total":
            for outcome, count in self._opened_counts().items():
                yield (outcome,), count
        elif name == "inflight_requests":
            yield (), self.runtime.in_flight
        elif name == "config_errors_total":
            yield (), holder.errors
        elif holder.current is not None:
            yield (str(holder.revision), holder.current_hash, holder.source), 1

    @property
    def _workload(self) -> str:
        config = self.runtime.config
        return f"{config.workload.namespace}/{config.workload.name}" if config else ""

    def _tiers(self) -> Iterator[tuple[tuple[str, ...], ModelCounters]]:
        workload = self._workload
        for model in self.runtime.models.values():
            for tier, counters in zip(TIERS, model.counters, strict=True):
                if counters.requests:
                    yield (workload, model.id, tier), counters


def _upstream(model: ModelRuntime) -> Iterator[Row]:
    for status, count in _sums(counters.upstream for counters in model.counters).items():
        yield (model.id, str(status)), count


def _throttled(model: ModelRuntime) -> Iterator[Row]:
    found = _sums(counters.throttles for counters in model.counters)
    for cause in THROTTLE_CAUSES:  # none seen is a figure too: the first one is then an increase
        yield (model.id, cause), found.get(cause, 0)


def _retries(model: ModelRuntime) -> Iterator[Row]:
    for cause, count in _sums(counters.retries for counters in model.counters).items():
        yield (model.id, cause), count


def _adjusted(model: ModelRuntime) -> Iterator[Row]:
    left_out = _sums(counters.left_out for counters in model.counters)
    for name, count in _sums(counters.adjusted for counters in model.counters).items():
        out = count if name in _ALWAYS_LEFT_OUT else left_out.get(name, 0)
        for what, part in (("left_out", out), ("clamped", count - out)):
            if part:
                yield (model.id, name, what), part
    for name, count in _sums(counters.warned for counters in model.counters).items():
        yield (model.id, name, "warned"), count


def _bound_histories(model: ModelRuntime) -> Iterator[Row]:
    yield (model.id,), sum(counters.bound_histories for counters in model.counters)


def _breaker(model: ModelRuntime) -> Iterator[Row]:
    yield (model.id,), _BREAKER_VALUES[model.breaker.state]


def _opened(model: ModelRuntime) -> Iterator[Row]:
    for cause, count in model.breaker.opened.items():
        yield (model.id, cause), count


def _tokens(runtime: Runtime, _now: float) -> Iterator[Row]:
    for name, used in runtime.ledger.items():
        for kind, count in used.tokens()._asdict().items():
            yield (name, kind), count


def _estimated(runtime: Runtime, _now: float) -> Iterator[Row]:
    for name, used in runtime.ledger.items():
        for kind, count in used.guessed.tokens()._asdict().items():
            if count:
                yield (name, kind), count


def _cost(runtime: Runtime, _now: float) -> Iterator[Row]:
    for name, used in runtime.ledger.items():
        if used.model is not None:
            for kind, pico in used.cost_pico().items():
                yield (name, kind), pico / PICO_PER_USD


def _cost_unknown(runtime: Runtime, _now: float) -> Iterator[Row]:
    for name, used in runtime.ledger.items():
        for cause, count in used.unknown.items():
            yield (name, cause), count


def _saved(runtime: Runtime, _now: float) -> Iterator[Row]:
    for name, used in runtime.ledger.items():
        if used.model is not None:
            yield (name, "cache"), used.saved_pico() / PICO_PER_USD
            yield (name, "single_flight"), used.shared_pico() / PICO_PER_USD


def _lease(runtime: Runtime, now: float) -> Iterator[Row]:
    for group in runtime.groups.values():
        if group.is_auxiliary:
            continue
        limiter = group.limiter
        buckets = (limiter.requests, limiter.input, limiter.gate.bucket)
        for dimension, rate, bucket in zip(DIMENSIONS, limiter.lease.as_tuple(), buckets, strict=True):
            bucket.refill(now)
            yield (group.name, dimension, "rate"), rate
            yield (group.name, dimension, "level"), bucket.level


def _level(runtime: Runtime, now: float) -> Iterator[Row]:
    for group in runtime.groups.values():
        for dimension, gauge in zip(DIMENSIONS, group.limiter.gauges, strict=True):
            if now - gauge.seen_at <= STALE_S:
                yield (group.name, dimension), gauge.level(now)


_PER_MODEL: Final = {
    "upstream_responses_total": _upstream,
    "throttled_total": _throttled,
    "retries_total": _retries,
    "sampling_adjusted_total": _adjusted,
    "bound_histories_total": _bound_histories,
    "breaker_state": _breaker,
    "breaker_opened_total": _opened,
}
_PER_RUNTIME: Final = {
    "tokens_total": _tokens,
    "tokens_estimated_total": _estimated,
    "cost_usd_total": _cost,
    "cost_unknown_requests_total": _cost_unknown,
    "cost_saved_usd_total": _saved,
    "lease_tokens": _lease,
    "limit_level_ratio": _level,
}
_Key = TypeVar("_Key", bound=Hashable)


def _sums(parts: Iterable[dict[_Key, int]]) -> dict[_Key, int]:
    total: dict[_Key, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return total
