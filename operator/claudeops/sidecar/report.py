"""What the proxy tells the controller: counters that only grow, turned into deltas since the last report that was answered.

Nothing here touches a clock or a socket. Two reports may be under way at once (the long poll and an urgent one). A report takes its
deltas away when it is made; one that fails puts them back, so that each count arrives once. What is older than a minute is dropped
instead: 429s and demand of ten minutes ago would mislead a controller that comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import exp
from typing import Final, NamedTuple

from claudeops.exchange import (
    DIMENSIONS,
    BreakerReport,
    GroupUse,
    LevelSample,
    ModelResults,
    Rates,
    Report,
    Sketches,
    SloCell,
)
from claudeops.policy.rates import Rates as PolicyRates
from claudeops.policy.sketch import Sketch
from claudeops.proxyconfig import ProxyConfig
from claudeops.sidecar.counters import Window
from claudeops.sidecar.failure import FAST_LIMITED
from claudeops.sidecar.group import UNLIMITED, GroupRuntime
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.runtime import Runtime

Counts = dict[tuple[str, ...], float]
SAMPLE_MAX_AGE_S: Final = 30.0
USE_TAU_S: Final = 10.0
CELLS_MAX: Final = 200
SHORTEST_S: Final = 0.001
OLDEST_S: Final = 60.0


class Position(NamedTuple):
    """Where this proxy stands in the exchange: the assignment in force and the configuration in force."""

    epoch: int
    version: int
    config: ProxyConfig
    config_hash: str


class Taken(NamedTuple):
    """What one report took away, to be put back if nobody gets it."""

    counts: Counts
    window: Window
    has_all_cells: bool


class ReportDesk:
    """Makes the reports of one proxy. ``instance`` is the pod's uid."""

    def __init__(self, runtime: Runtime, instance: str, now: float, *, open_connections: Callable[[], int] = lambda: 0) -> None:
        self._runtime = runtime
        self._open_connections = open_connections
        self._instance = instance
        self._sequence = 0
        self._reported: Counts = {("time",): now}
        self._lost_windows: list[Window] = []
        self._cells_epoch = -1

    def make(self, position: Position, now: float, *, is_urgent: bool = False) -> tuple[Report, Taken]:
        """The report to send now, and what to give to :meth:`put_back` if it is not answered."""
        runtime = self._runtime
        current = count_up(runtime, now)
        counts: Counts = {key: value - self._reported.get(key, 0) for key, value in current.items()}
        self._reported = current
        taken = Taken(counts, self._take_window(), position.epoch != self._cells_epoch)
        interval_s = max(SHORTEST_S, counts[("time",)])
        self._sequence += 1
        groups = {name: group for name, group in runtime.groups.items() if not group.is_auxiliary}
        for name, group in groups.items():
            _follow_use(group, counts, name, interval_s)
        report = Report(
            instance=self._instance,
            workload=position.config.workload,
            sequence=self._sequence,
            revision=position.config.revision,
            config_hash=position.config_hash,
            epoch=position.epoch,
            version=position.version,
            lease_state=runtime.lease_phase.value,
            is_urgent=is_urgent,
            is_draining=runtime.is_draining,
            has_key=runtime.key is not None,
            interval_s=interval_s,
            groups={name: _group_use(group, counts, interval_s) for name, group in groups.items()},
            samples=list(_samples(groups.values(), now)),
            results=[results for model in runtime.models if (results := _model_results(model, counts))],
            breakers=[_breaker(model, now) for model in runtime.models.values()],
            requests=int(counts[("requests",)]),
            fallback_requests=int(counts[("fallback",)]),
            open_connections=self._open_connections(),
            sketches=_sketches(taken.window),
            slo_cells=self._cells(position.config, is_whole=taken.has_all_cells),
            cache_read_tokens=int(counts[("cache_read",)]),
            cacheable_tokens=int(counts[("cacheable",)]),
            organization_ids=list(runtime.organization_ids)[:8],
            workspace_ids=list(runtime.workspace_ids)[:8],
        )
        return report, taken

    def put_back(self, taken: Taken) -> None:
        """The report was not answered: its counts go into the next one, unless they reach back too far."""
        if taken.counts[("time",)] > OLDEST_S:
            return
        for key, value in taken.counts.items():
            self._reported[key] = self._reported.get(key, 0) - value
        self._lost_windows.append(taken.window)

    def confirm(self, taken: Taken, epoch: int) -> None:
        """The controller of this epoch has the report; once it has all SLO cells, the newest ones are enough for it."""
        if taken.has_all_cells:
            self._cells_epoch = epoch

    def forget_cells(self) -> None:
        """Another controller may answer next: the next report carries all SLO cells again."""
        self._cells_epoch = -1

    def _take_window(self) -> Window:
        window = self._runtime.take_window()
        for lost in self._lost_windows:
            window.latency.merge(lost.latency)
            window.first_token.merge(lost.first_token)
            window.queue_wait.merge(lost.queue_wait)
        self._lost_windows.clear()
        return window

    def _cells(self, config: ProxyConfig, *, is_whole: bool) -> list[SloCell]:
        cells = [
            SloCell(indicator=objective.indicator, start=start, good=good, total=total)
            for objective, slo in zip(config.objectives, self._runtime.slos, strict=False)
            for start, good, total in (slo.entries() if is_whole else slo.entries()[-2:])
        ]
        return sorted(cells, key=lambda cell: -cell.start)[:CELLS_MAX]


def count_up(runtime: Runtime, now: float) -> Counts:
    """Everything that only grows, under flat keys; ``("time",)`` is the clock, so that its delta is the report's interval."""
    counts: Counts = {("time",): now, ("requests",): 0, ("cache_read",): 0, ("cacheable",): 0}
    counts[("fallback",)] = runtime.fallback_requests
    for name, group in runtime.groups.items():
        if not group.is_auxiliary:
            for field in _GROUP_FIELDS:
                counts[(name, field)] = getattr(group.counters, field)
    for name, model in runtime.models.items():
        _count_model(counts, name, model)
    for used in runtime.ledger.values():
        tokens = used.tokens()
        counts[("cache_read",)] += tokens.cache_read
        counts[("cacheable",)] += tokens.prompt
    return counts


_GROUP_FIELDS: Final = (
    "offered_requests", "offered_input", "offered_output", "used_requests", "used_input", "used_output",
    "admitted", "shed", "ended", "latency_sum_s",
)  # fmt: skip


def _count_model(counts: Counts, name: str, model: ModelRuntime) -> None:
    for tier in model.counters:
        counts[("requests",)] += sum(tier.requests.values())
        for status, count in tier.upstream.items():
            counts[("code", name, str(status))] = counts.get(("code", name, str(status)), 0) + count
        for cause, count in tier.throttles.items():
            if cause == FAST_LIMITED:
                continue
            counts[("throttle", name, cause)] = counts.get(("throttle", name, cause), 0) + count
        counts[("above", name)] = counts.get(("above", name), 0) + tier.throttles_above_level
        counts[("wait", name)] = counts.get(("wait", name), 0.0) + tier.retry_after_s


def _group_use(group: GroupRuntime, counts: Counts, interval_s: float) -> GroupUse:
    def rates(what: str) -> Rates:
        values = (counts[(group.name, f"{what}_{dimension}")] for dimension in ("requests", "input", "output"))
        return _rates(max(0.0, value) / interval_s for value in values)

    ended = counts[(group.name, "ended")]
    return GroupUse(
        wants=rates("offered"),
        used=rates("used"),
        holds=_rates(group.limiter.lease.as_tuple()),
        queued=len(group.queue),
        shed=int(counts[(group.name, "shed")]),
        in_flight=max(0, group.in_flight),
        admitted=int(counts[(group.name, "admitted")]),
        latency_s=counts[(group.name, "latency_sum_s")] / ended if ended > 0 else 0.0,
    )


def _rates(values: Iterable[float]) -> Rates:
    requests, input_tokens, output_tokens = values
    return Rates(requests=requests, input_tokens=input_tokens, output_tokens=output_tokens)


def _follow_use(group: GroupRuntime, counts: Counts, name: str, interval_s: float) -> None:
    """Smooths the group's real use: what an uncontended lease is cut to when no controller answers any more."""
    used = PolicyRates(*(max(0.0, counts[(name, field)]) / interval_s for field in ("used_requests", "used_input", "used_output")))
    if group.recent_use is UNLIMITED:
        group.recent_use = used
        return
    weight = 1.0 - exp(-interval_s / USE_TAU_S)
    smoothed = (old + weight * (new - old) for old, new in zip(group.recent_use.as_tuple(), used.as_tuple(), strict=True))
    group.recent_use = PolicyRates(*smoothed)


def _samples(groups: Iterable[GroupRuntime], now: float) -> Iterator[LevelSample]:
    for group in groups:
        for dimension, gauge in zip(DIMENSIONS, group.limiter.gauges, strict=True):
            age_s = now - gauge.sent_at
            if age_s <= SAMPLE_MAX_AGE_S and gauge.limit_per_s > 0:
                yield LevelSample(
                    group=group.name,
                    dimension=dimension,
                    limit_per_minute=gauge.limit_per_s * 60.0,
                    remaining=max(0.0, gauge.remaining),
                    age_s=max(0.0, age_s),
                )


def _model_results(name: str, counts: Counts) -> ModelResults | None:
    codes, throttles = (
        {key[2]: int(value) for key, value in counts.items() if key[:2] == (kind, name) and value > 0} for kind in ("code", "throttle")
    )
    above = int(max(0.0, counts.get(("above", name), 0)))
    if not codes and not throttles and not above:
        return None
    waits = sum(count for cause, count in throttles.items() if cause != "SpendLimited")
    wait_s = max(0.0, counts.get(("wait", name), 0.0)) / waits if waits else 0.0
    return ModelResults(model=name, codes=codes, throttles=throttles, throttles_above_level=above, retry_after_s=wait_s)


def _breaker(model: ModelRuntime, now: float) -> BreakerReport:
    breaker = model.breaker
    breaker.tick(now)
    requests, errors = breaker.counts(now)
    return BreakerReport(
        model=model.id,
        state=breaker.state,  # type: ignore[arg-type]  # policy spells the three states as the exchange does
        reason=breaker.reason,
        since_s=max(0.0, now - breaker.since),
        requests=requests,
        errors=errors,
    )


def _sketches(window: Window) -> Sketches:
    def sparse(sketch: Sketch) -> list[list[int]]:
        return sketch.to_list()

    return Sketches(latency=sparse(window.latency), time_to_first_token=sparse(window.first_token), queue_wait=sparse(window.queue_wait))
