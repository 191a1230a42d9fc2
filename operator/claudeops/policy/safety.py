"""The safety net of one model group: what 429s do to its capacity, and when its headers are not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class SafetyParameters:
    """Source: reference quota-control, section 2, `safety(w)` and `distrusted`."""

    throttles_min: int = 3
    throttle_share: float = 0.05
    cut_factor: float = 0.85
    cut_every_s: float = 10.0
    cut_shadow_s: float = 5.0
    weight_min: float = 0.05
    fresh_per_s: float = 0.01
    fast_per_s: float = 0.10 / 60.0
    slow_per_s: float = 0.01 / 60.0
    approach: float = 0.95
    distrust_throttles: int = 5
    distrust_window_s: float = 60.0
    distrust_s: float = 600.0


@dataclass(frozen=True, slots=True)
class SafetyState:
    """`weight` multiplies the capacity of every dimension of the group; `failed_weight` is where the last cut began."""

    weight: float = 1.0
    failed_weight: float = 1.0
    cut_at: float = -1.0e18
    next_cut_at: float = -1.0e18
    distrusted_until: float = -1.0e18
    doubts: tuple[tuple[float, int], ...] = ()

    def is_cut(self, now: float, parameters: SafetyParameters) -> bool:
        """Within the shadow of the last cut?"""
        return now - self.cut_at < parameters.cut_shadow_s

    def is_distrusted(self, now: float) -> bool:
        """Are the headers ignored for now?"""
        return now < self.distrusted_until


@dataclass(frozen=True, slots=True)
class Throttling:
    """429s of one group: in the last 5 s against all requests of the last 5 s; and those new since the last step whose
    own headers showed every level above a quarter (a finer enforcement, a workspace's or a ramp limit). And whether there
    are fresh headers to go by.
    """

    requests_5s: int = 0
    throttles_5s: int = 0
    new_above_level: int = 0
    retry_after_s: float = 0.0
    has_fresh_headers: bool = True


def step_safety(state: SafetyState, seen: Throttling, now: float, *, dt_s: float, parameters: SafetyParameters) -> SafetyState:
    """Cut by 15 % on 429s, at most once in 10 s (or retry-after); afterwards climb back to 1.

    With fresh headers 1 % a second, since they say where the limit is; without, fast to just below what failed, then
    slowly, since only another 429 can tell.
    """
    state = _doubt(state, seen, now, parameters)
    is_failing = seen.throttles_5s >= parameters.throttles_min and seen.throttles_5s > parameters.throttle_share * seen.requests_5s
    if is_failing and now >= state.next_cut_at:
        weight = max(parameters.weight_min, state.weight * parameters.cut_factor)
        next_cut_at = now + max(parameters.cut_every_s, seen.retry_after_s)
        return replace(state, weight=weight, failed_weight=state.weight, cut_at=now, next_cut_at=next_cut_at)
    if state.weight >= 1.0 or now < state.next_cut_at:
        return state
    if seen.has_fresh_headers:
        pace = parameters.fresh_per_s
    elif state.weight < parameters.approach * state.failed_weight:
        pace = parameters.fast_per_s
    else:
        pace = parameters.slow_per_s
    return replace(state, weight=min(1.0, state.weight + pace * dt_s))


def _doubt(state: SafetyState, seen: Throttling, now: float, parameters: SafetyParameters) -> SafetyState:
    if not seen.new_above_level and not state.doubts:
        return state
    doubts = tuple(doubt for doubt in state.doubts if now - doubt[0] < parameters.distrust_window_s)
    if seen.new_above_level:
        doubts = (*doubts, (now, seen.new_above_level))
    if sum(count for _, count in doubts) >= parameters.distrust_throttles:
        return replace(state, doubts=(), distrusted_until=now + parameters.distrust_s)
    return replace(state, doubts=doubts)
