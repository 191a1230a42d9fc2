"""The capacity of one limit: a PI regulator on the measured level of the organisation's bucket, and a safety net of 429s.

Source: reference quota-control, section 2. Units are per second of the dimension (requests or tokens).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from claudeops.policy.level import REQUEST_SIZE_MIN, REQUEST_SLACK, TOKEN_SIZE_MIN, TOKEN_SLACK, Sample, bucket_level

SAMPLES_MAX = 200


@dataclass(frozen=True, slots=True)
class CapacityParameters:
    """Constants of the regulator. `reserve` is the share of the limit left to users outside this cluster.

    `slack` and `size_min` are in units of the dimension: what the header's rounding hides, and the smallest bucket
    that can be read at all. `stale_s` is two report intervals and 2 s.
    """

    set_point: float = 0.8
    gain_full_s: float = 20.0
    gain_min: float = 0.1
    gain_max: float = 2.0
    integral_per_s: float = 0.01
    recovery_per_s: float = 0.05
    integral_min: float = -0.95
    integral_max: float = 0.10
    factor_min: float = 0.05
    factor_max: float = 1.10
    blind_factor: float = 0.985
    blind_cut_factor: float = 0.7
    window_s: float = 3.0
    stale_s: float = 12.0
    slack: float = TOKEN_SLACK
    size_min: float = TOKEN_SIZE_MIN
    reserve: float = 0.0
    is_learning_limit: bool = True


REQUEST_CAPACITY = CapacityParameters(slack=REQUEST_SLACK, size_min=REQUEST_SIZE_MIN)
"""The parameters of the requests dimension."""


@dataclass(frozen=True, slots=True)
class CapacityState:
    """Memory and outcome of one dimension. `capacity` is what may be shared out, per second; 0 before the first step."""

    integral: float = 0.0
    full_s: float = 0.0
    limit_per_s: float = 0.0
    level: float = 1.0
    is_fresh: bool = False
    capacity: float = 0.0
    samples: tuple[Sample, ...] = ()
    newest_at: float = -1.0e18


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known at one step of one dimension.

    `samples`: headers that arrived since the last step, `sent_at` on the controller's clock. `is_queued`: somebody waits
    for quota. `weight`, `is_distrusted`, `is_cut`: from the group's `SafetyState`.
    """

    dt_s: float
    declared_per_s: float
    samples: tuple[Sample, ...] = ()
    is_queued: bool = False
    weight: float = 1.0
    is_distrusted: bool = False
    is_cut: bool = False


def step_capacity(state: CapacityState, seen: Observation, now: float, parameters: CapacityParameters) -> CapacityState:
    """One step: take the samples in, then regulate.

    Above the set point capacity rises to at most 1.10 x limit, below it falls; it never passes limit x (1 - reserve)
    if there is a reserve. The integral rises only while somebody queues (no wind-up while the applications are the
    limit) and holds without a fresh sample. Without fresh or trusted samples: 0.985 x limit x weight, x 0.7 just after
    a cut.
    """
    state = _take(state, seen, now, parameters)
    size = state.full_s * state.limit_per_s
    is_fresh = now - state.newest_at < parameters.stale_s and size >= parameters.size_min
    if not is_fresh or seen.is_distrusted:
        factor = parameters.blind_factor * seen.weight * (parameters.blind_cut_factor if seen.is_cut else 1.0)
        return replace(state, is_fresh=False, capacity=_cap(state.limit_per_s * factor, state.limit_per_s, parameters))
    remaining = sum(sample.remaining for sample in state.samples) / len(state.samples)
    level = bucket_level(remaining, size, parameters.slack)
    error = level - parameters.set_point
    integral = state.integral
    if error < 0.0 or seen.is_queued:
        gain = parameters.recovery_per_s if error > 0.0 and integral < 0.0 else parameters.integral_per_s
        integral = _clamp(integral + gain * error * seen.dt_s, parameters.integral_min, parameters.integral_max)
    proportional = _clamp(state.full_s / parameters.gain_full_s, parameters.gain_min, parameters.gain_max)
    factor = _clamp(1.0 + proportional * error + integral, parameters.factor_min, parameters.factor_max)
    capacity = _cap(state.limit_per_s * factor * seen.weight, state.limit_per_s, parameters)
    return replace(state, integral=integral, level=level, is_fresh=True, capacity=capacity)


def _take(state: CapacityState, seen: Observation, now: float, parameters: CapacityParameters) -> CapacityState:
    """Fold new samples in by send time: the newest limit, the fullest reading in seconds, the window of the mean."""
    newest = state.samples[-1].sent_at if state.samples else float("-inf")
    arrived = [sample for sample in seen.samples if sample.limit_per_s > 0.0 and sample.sent_at >= newest - parameters.window_s]
    merged = sorted((*state.samples, *arrived), key=_sent_at)
    if not merged:
        return replace(state, limit_per_s=seen.declared_per_s)
    last = merged[-1]
    full_s = max([state.full_s, *(sample.remaining / max(sample.limit_per_s, last.limit_per_s) for sample in arrived)])
    return replace(
        state,
        full_s=full_s,
        limit_per_s=last.limit_per_s if parameters.is_learning_limit else seen.declared_per_s,
        samples=tuple(sample for sample in merged if sample.sent_at > last.sent_at - parameters.window_s)[-SAMPLES_MAX:],
        newest_at=now if last.sent_at > newest else state.newest_at,
    )


def _sent_at(sample: Sample) -> float:
    return sample.sent_at


def _cap(capacity: float, limit: float, parameters: CapacityParameters) -> float:
    if parameters.reserve > 0.0:
        return min(capacity, limit * (1.0 - parameters.reserve))
    return capacity


def _clamp(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))
