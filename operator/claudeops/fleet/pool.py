"""One model group of one quota: how full the organisation's bucket is, what may be shared out, what 429s say."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from claudeops.exchange import DIMENSIONS, Dimension, ModelResults
from claudeops.fleet.allotment import Allotment
from claudeops.fleet.proxy import NOTHING, Triple
from claudeops.fleet.settings import FleetSettings
from claudeops.policy.capacity import REQUEST_CAPACITY, CapacityParameters, CapacityState, Observation, step_capacity
from claudeops.policy.level import Sample
from claudeops.policy.safety import SafetyParameters, SafetyState, Throttling, step_safety
from claudeops.proxyconfig import Rates

THROTTLE_WINDOW_S = 5.0
OUTSIDE_TAU_S = 10.0
EMPTY = Allotment({}, {}, NOTHING)


@dataclass(frozen=True, slots=True)
class PoolRules:
    """What a quota declares for one group, and the constants of its regulators."""

    declared: tuple[float, float, float]
    """Per second; 0 where nothing is declared."""
    parameters: tuple[CapacityParameters, CapacityParameters, CapacityParameters]
    safety: SafetyParameters


def pool_rules(declared: Rates | None, settings: FleetSettings, *, reserve_percent: float, is_learning: bool) -> PoolRules:
    """The rules for one group. ``is_learning``: headers correct what is declared."""
    limits = (None, None, None)
    if declared is not None:
        limits = (declared.requests_per_minute, declared.input_tokens_per_minute, declared.output_tokens_per_minute)  # type: ignore[assignment]

    def parameters(slack: float, size_min: float) -> CapacityParameters:
        return CapacityParameters(
            set_point=settings.set_point,
            factor_max=settings.capacity_ceiling,
            integral_max=max(0.0, settings.capacity_ceiling - 1.0),
            blind_factor=settings.headerless_share,
            window_s=settings.sample_window_s,
            stale_s=2.0 * settings.report_interval_s + 2.0,
            slack=slack,
            size_min=size_min,
            reserve=reserve_percent / 100.0,
            is_learning_limit=is_learning,
        )

    tokens = parameters(CapacityParameters().slack, CapacityParameters().size_min)
    return PoolRules(
        declared=((limits[0] or 0.0) / 60.0, (limits[1] or 0.0) / 60.0, (limits[2] or 0.0) / 60.0),
        parameters=(parameters(REQUEST_CAPACITY.slack, REQUEST_CAPACITY.size_min), tokens, tokens),
        safety=SafetyParameters(
            cut_factor=settings.throttle_cut, cut_every_s=settings.throttle_cut_interval_s, distrust_s=settings.distrust_s
        ),
    )


class Pool:
    """State of one group, and its step. ``allotment`` is the last decision."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.states = [CapacityState(), CapacityState(), CapacityState()]
        self.safety = SafetyState()
        self.allotment = EMPTY
        self.used: Triple = NOTHING
        self.outside: list[float | None] = [None, None, None]
        self.stepped_at: float | None = None
        self.logged: object = None
        self._pending: tuple[list[Sample], list[Sample], list[Sample]] = ([], [], [])
        self._answers: deque[tuple[float, int, int, float]] = deque()
        self._doubts = 0
        self._throttles: deque[tuple[float, int]] = deque()

    def take_sample(self, dimension: Dimension, sample: Sample) -> None:
        """A header reading that steers."""
        self._pending[DIMENSIONS.index(dimension)].append(sample)

    def take_answers(self, results: ModelResults, now: float) -> None:
        """Upstream answers of this group. Spend limits are no sign of its rate."""
        throttles = sum(count for cause, count in results.throttles.items() if cause != "SpendLimited")
        self._answers.append((now, sum(results.codes.values()), throttles, results.retry_after_s if throttles else 0.0))
        self._doubts += results.throttles_above_level
        if throttles:
            self._throttles.append((now, throttles))

    def throttled(self, since: float) -> int:
        """429s since then (remembered for a minute or so)."""
        return sum(count for at, count in self._throttles if at >= since)

    def limits(self) -> Triple:
        """The limits in force, a second; 0 where there is none."""
        return (self.states[0].limit_per_s, self.states[1].limit_per_s, self.states[2].limit_per_s)

    def capacity(self) -> tuple[float | None, float | None, float | None]:
        """What may be shared out; None where nothing limits."""
        first, second, third = (state.capacity if state.limit_per_s > 0.0 else None for state in self.states)
        return (first, second, third)

    def full_s(self) -> Triple:
        """The measured bursts in seconds of the limit."""
        return (self.states[0].full_s, self.states[1].full_s, self.states[2].full_s)

    def step(self, rules: PoolRules, now: float, *, is_queued: bool, used: Triple) -> None:
        """Regulates all three capacities; call it every second and when a 429 came."""
        dt_s = 0.0 if self.stepped_at is None else now - self.stepped_at
        self.stepped_at = now
        self.used = used
        self._prune(now)
        seen = Throttling(
            requests_5s=sum(entry[1] for entry in self._answers),
            throttles_5s=sum(entry[2] for entry in self._answers),
            new_above_level=self._doubts,
            retry_after_s=max((entry[3] for entry in self._answers), default=0.0),
            has_fresh_headers=any(state.is_fresh for state in self.states),
        )
        self._doubts = 0
        self.safety = step_safety(self.safety, seen, now, dt_s=dt_s, parameters=rules.safety)
        for index in range(3):
            self._step_dimension(index, rules, now, dt_s=dt_s, is_queued=is_queued)

    def _step_dimension(self, index: int, rules: PoolRules, now: float, *, dt_s: float, is_queued: bool) -> None:
        before = self.states[index]
        samples = tuple(self._pending[index])
        self._pending[index].clear()
        observation = Observation(
            dt_s=dt_s,
            declared_per_s=rules.declared[index],
            samples=samples,
            is_queued=is_queued,
            weight=self.safety.weight,
            is_distrusted=self.safety.is_distrusted(now),
            is_cut=self.safety.is_cut(now, rules.safety),
        )
        after = self.states[index] = step_capacity(before, observation, now, rules.parameters[index])
        self._guess_outside(index, before.samples, after, dt_s=dt_s)

    def _guess_outside(self, index: int, before: Sequence[Sample], after: CapacityState, *, dt_s: float) -> None:
        """For status only: what the bucket lost that no proxy used. Unknown without fresh headers."""
        if not after.is_fresh or not after.samples or not before:
            if not after.is_fresh:
                self.outside[index] = None
            return
        newest, older = after.samples[-1], before[-1]
        elapsed_s = newest.sent_at - older.sent_at
        if elapsed_s <= 0.0:
            return
        slope = (newest.remaining - older.remaining) / elapsed_s
        guess = 0.0 if after.level > 0.97 else max(0.0, min(after.limit_per_s, after.limit_per_s - self.used[index] - slope))
        old = self.outside[index]
        keep = exp(-min(elapsed_s, 5.0) / OUTSIDE_TAU_S)
        self.outside[index] = guess if old is None else keep * old + (1.0 - keep) * guess

    def _prune(self, now: float) -> None:
        while self._answers and self._answers[0][0] < now - THROTTLE_WINDOW_S:
            self._answers.popleft()
        while self._throttles and self._throttles[0][0] < now - 120.0:
            self._throttles.popleft()
