"""When the whole fleet leaves a model, and when it comes back. One unit = (quota, upstream, model), or one workload of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

CLOSED: Final = "Closed"
FLIPPED: Final = "Flipped"
HALF_OPEN: Final = "HalfOpen"


@dataclass(frozen=True, slots=True)
class FallbackParameters:
    """Source: controlplane design, "fleet fallback". Every time is a controller setting."""

    open_share: float = 0.5
    error_share: float = 0.5
    minimum_requests: int = 20
    hold_s: float = 60.0
    probe_share: float = 0.05
    clean_window_s: float = 30.0
    clean_windows: int = 2
    flip_every_s: float = 300.0
    down_share: float = 0.9


@dataclass(frozen=True, slots=True)
class ProxyHealth:
    """One proxy's view of the unit's model over its breaker window.

    `traffic`: requests that the applications offered for it (retries not counted, those served elsewhere included).
    `requests`, `errors`: what its breaker saw, 429s not among them. `is_open`: its breaker is open or half-open, for a
    cause that counts in this unit (429s count for the proxy's own workload only).
    """

    traffic: float
    requests: int
    errors: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class UnitObservation:
    """The unit as a whole. `errors_proxies`, `open_proxies`: how many proxies say so, of `proxies` with traffic.

    `probes_ok`, `probes_failed`: half-open probes answered since the last step.
    """

    proxies: int = 0
    open_proxies: int = 0
    open_share: float = 0.0
    failing_proxies: int = 0
    error_share: float = 0.0
    requests: int = 0
    probes_ok: int = 0
    probes_failed: int = 0


@dataclass(frozen=True, slots=True)
class FallbackState:
    """Where the unit is. `is_active`: the fleet is off the model."""

    phase: str = CLOSED
    since: float = 0.0
    reason: str = ""
    flipped_at: float = -1.0e18
    window_at: float = 0.0
    window_ok: int = 0
    window_failed: int = 0
    clean: int = 0

    @property
    def is_active(self) -> bool:
        """Flipped or probing."""
        return self.phase != CLOSED


def observe_unit(
    healths: Iterable[ProxyHealth], *, error_share: float = 0.5, probes_ok: int = 0, probes_failed: int = 0
) -> UnitObservation:
    """Sum the proxies up, each weighted by its traffic: one that fails fast and retries much weighs no more than it should."""
    seen = [health for health in healths if health.traffic > 0.0]
    traffic = sum(health.traffic for health in seen)
    if not seen:
        return UnitObservation(probes_ok=probes_ok, probes_failed=probes_failed)
    opened = [health.traffic for health in seen if health.is_open]
    measured = [health for health in seen if health.requests > 0]
    failing = sum(health.traffic * health.errors / health.requests for health in measured)
    return UnitObservation(
        proxies=len(seen),
        open_proxies=len(opened),
        open_share=sum(opened) / traffic,
        failing_proxies=sum(health.errors >= error_share * health.requests for health in measured),
        error_share=failing / max(1e-12, sum(health.traffic for health in measured)),
        requests=sum(health.requests for health in measured),
        probes_ok=probes_ok,
        probes_failed=probes_failed,
    )


def step_fallback(state: FallbackState, seen: UnitObservation, now: float, parameters: FallbackParameters) -> FallbackState:
    """One step: Closed → Flipped → (hold) → HalfOpen → (clean windows) → Closed, or back to Flipped.

    One bad proxy among several never flips the fleet. A window without a single probe answered is neither clean nor
    failed. At most one flip in 5 minutes unless the primary is down altogether.
    """
    if state.phase == CLOSED:
        return _close_or_flip(state, seen, now, parameters)
    if state.phase == FLIPPED:
        if now - state.since < parameters.hold_s:
            return state
        return replace(state, phase=HALF_OPEN, since=now, window_at=now, window_ok=0, window_failed=0, clean=0)
    return _probe(state, seen, now, parameters)


def probe_count(proxies: int, parameters: FallbackParameters) -> int:
    """How many proxies may hold a probe permission at once while half-open: 5 %, at least one."""
    return max(1, int(parameters.probe_share * proxies)) if proxies > 0 else 0


def _close_or_flip(state: FallbackState, seen: UnitObservation, now: float, parameters: FallbackParameters) -> FallbackState:
    quorum = 1 if seen.proxies == 1 else 2
    is_covered = seen.open_proxies >= quorum and seen.open_share >= parameters.open_share
    is_failing = (
        seen.failing_proxies >= quorum and seen.requests >= parameters.minimum_requests and seen.error_share >= parameters.error_share
    )
    if not (is_covered or is_failing):
        return state
    is_down = max(seen.open_share, seen.error_share) >= parameters.down_share
    if now - state.flipped_at < parameters.flip_every_s and not is_down:
        return state
    reason = "BreakersOpen" if is_covered else "ErrorShare"
    return FallbackState(phase=FLIPPED, since=now, reason=reason, flipped_at=now)


def _probe(state: FallbackState, seen: UnitObservation, now: float, parameters: FallbackParameters) -> FallbackState:
    ok = state.window_ok + seen.probes_ok
    failed = state.window_failed + seen.probes_failed
    if failed and failed >= parameters.error_share * (ok + failed):
        return replace(state, phase=FLIPPED, since=now, window_ok=0, window_failed=0, clean=0)
    if now - state.window_at < parameters.clean_window_s or ok == 0:
        return replace(state, window_ok=ok, window_failed=failed)
    clean = state.clean + 1
    if clean >= parameters.clean_windows:
        return FallbackState(phase=CLOSED, since=now, flipped_at=state.flipped_at)
    return replace(state, window_at=now, window_ok=0, window_failed=0, clean=clean)
