"""How many replicas a workload's grant can feed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, exp


@dataclass(frozen=True, slots=True)
class ReplicaParameters:
    """Bounds of the workload and the time constants of the controller. Source: reference quota-control, section 6."""

    minimum: int = 1
    maximum: int = 20
    target_in_flight: float = 16.0
    fill: float = 0.8
    memory_s: float = 14.0
    up_threshold: float = 1.1
    up_factor: float = 2.0
    up_every_s: float = 30.0
    down_window_s: float = 300.0
    down_threshold: float = 0.9
    down_factor: float = 0.75
    down_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """`replicas` is the decision. `peaks`: (time, wanted) of the down window, a falling staircase, oldest first."""

    replicas: int
    load: float | None = None
    uncapped: float | None = None
    observed_at: float = 0.0
    up_at: float = -1.0e18
    down_at: float = -1.0e18
    window_from: float | None = None
    peaks: tuple[tuple[float, int], ...] = ()
    is_capped_by_quota: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaObservation:
    """Sums over the workload's proxies. `is_frozen`: upstream down, breaker open, or no report.

    `lease_requests_per_s`: what the leases admit in their scarcest dimension; `latency_s`: mean time of a request upstream.
    """

    in_flight: float
    queued: float
    lease_requests_per_s: float
    latency_s: float
    is_frozen: bool = False


def step_replicas(state: ReplicaState, seen: ReplicaObservation, now: float, parameters: ReplicaParameters) -> ReplicaState:
    """One step; call it every few seconds.

    The load is min(in flight + queued, lease x latency), smoothed: the queue counts, the quota caps it. Up at once (at
    most double, 30 s apart); down only to just above the 5-minute maximum (at most by a quarter, or one, 60 s apart). While frozen
    nothing moves and the down window does not age. `is_capped_by_quota`: demand alone would want more replicas.
    """
    if seen.is_frozen:
        return _freeze(state, now)
    demand = seen.in_flight + seen.queued
    feedable = seen.lease_requests_per_s * seen.latency_s if seen.latency_s > 0.0 else demand
    if state.load is None or state.uncapped is None:
        load, uncapped = min(demand, feedable), demand
    else:
        gain = 1.0 - exp(-max(0.0, now - state.observed_at) / parameters.memory_s)
        load = state.load + gain * (min(demand, feedable) - state.load)
        uncapped = state.uncapped + gain * (demand - state.uncapped)
    wanted = _wanted(load, parameters)
    state = replace(
        state,
        load=load,
        uncapped=uncapped,
        observed_at=now,
        window_from=now if state.window_from is None else state.window_from,
        peaks=_push(state.peaks, now, wanted, parameters.down_window_s),
        is_capped_by_quota=_wanted(uncapped, parameters) > parameters.up_threshold * wanted,
    )
    return _decide(state, wanted, now, parameters)


def _decide(state: ReplicaState, wanted: int, now: float, parameters: ReplicaParameters) -> ReplicaState:
    current = state.replicas
    if current < parameters.minimum or current > parameters.maximum:
        return replace(state, replicas=min(parameters.maximum, max(parameters.minimum, current)))
    if wanted > parameters.up_threshold * current and now - state.up_at >= parameters.up_every_s:
        raised = min(wanted, max(current + 1, int(parameters.up_factor * current)))
        return replace(state, replicas=raised, up_at=now)
    has_seen_window = state.window_from is not None and now - state.window_from >= parameters.down_window_s
    peak = state.peaks[0][1]
    if has_seen_window and peak < parameters.down_threshold * current and now - state.down_at >= parameters.down_every_s:
        lowered = min(current - 1, ceil(parameters.down_factor * current))
        return replace(state, replicas=max(peak, lowered), down_at=now)
    return state


def _wanted(load: float, parameters: ReplicaParameters) -> int:
    wanted = ceil(load / (parameters.fill * parameters.target_in_flight) - 1e-9)
    return min(parameters.maximum, max(parameters.minimum, wanted))


def _push(peaks: tuple[tuple[float, int], ...], now: float, wanted: int, window_s: float) -> tuple[tuple[float, int], ...]:
    """A monotonic staircase: its first element is the maximum of the window."""
    kept = [peak for peak in peaks if now - peak[0] <= window_s and peak[1] > wanted]
    return (*kept, (now, wanted))


def _freeze(state: ReplicaState, now: float) -> ReplicaState:
    """Shift the window along with the clock, so that frozen time counts for nothing."""
    if state.load is None:
        return state
    shift = max(0.0, now - state.observed_at)
    return replace(
        state,
        observed_at=now,
        window_from=None if state.window_from is None else state.window_from + shift,
        peaks=tuple((at + shift, wanted) for at, wanted in state.peaks),
    )
