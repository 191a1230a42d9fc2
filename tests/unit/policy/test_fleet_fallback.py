from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.fleet_fallback import (
    CLOSED,
    FLIPPED,
    HALF_OPEN,
    FallbackParameters,
    FallbackState,
    ProxyHealth,
    UnitObservation,
    observe_unit,
    probe_count,
    step_fallback,
)

PARAMETERS = FallbackParameters()
WELL = ProxyHealth(traffic=10.0, requests=100, errors=0, is_open=False)
BAD = ProxyHealth(traffic=10.0, requests=400, errors=400, is_open=True)
IDLE = UnitObservation(proxies=3)


def step(state: FallbackState, seen: UnitObservation, now: float) -> FallbackState:
    return step_fallback(state, seen, now, PARAMETERS)


def flipped(now: float = 0.0) -> FallbackState:
    state = step(FallbackState(), observe_unit([BAD, BAD, WELL]), now)
    assert state.phase == FLIPPED
    return state


def test_open_breakers_over_half_of_the_traffic_flip_the_fleet() -> None:
    state = flipped(7.0)
    assert (state.since, state.reason, state.is_active) == (7.0, "BreakersOpen", True)


def test_one_bad_proxy_among_several_never_does_however_much_it_retries() -> None:
    loud = ProxyHealth(traffic=10.0, requests=10_000, errors=10_000, is_open=True)
    busy = ProxyHealth(traffic=1000.0, requests=10_000, errors=10_000, is_open=True)
    for healths in ([loud, WELL], [loud, WELL, WELL], [busy, WELL, WELL]):
        assert step(FallbackState(), observe_unit(healths), 0.0).phase == CLOSED


def test_a_fleet_of_one_follows_its_one_proxy() -> None:
    assert step(FallbackState(), observe_unit([BAD]), 0.0).phase == FLIPPED


def test_the_error_share_flips_it_before_the_breakers_do_but_only_with_enough_requests() -> None:
    failing = ProxyHealth(traffic=10.0, requests=10, errors=8, is_open=False)
    state = step(FallbackState(), observe_unit([failing, failing]), 0.0)
    assert (state.phase, state.reason) == (FLIPPED, "ErrorShare")
    few = ProxyHealth(traffic=10.0, requests=9, errors=9, is_open=False)
    assert step(FallbackState(), observe_unit([few, few]), 0.0).phase == CLOSED


def test_no_report_decides_nothing() -> None:
    assert observe_unit([]) == UnitObservation()
    assert step(FallbackState(), UnitObservation(), 0.0).phase == CLOSED
    silent = ProxyHealth(traffic=0.0, requests=0, errors=0, is_open=True)
    assert step(FallbackState(), observe_unit([silent, silent]), 0.0).phase == CLOSED


def test_hold_then_probe_then_two_clean_windows_bring_it_back() -> None:
    state = step(flipped(), IDLE, 59.0)
    assert state.phase == FLIPPED
    state = step(state, IDLE, 60.0)
    assert state.phase == HALF_OPEN
    for now in (70.0, 80.0, 91.0):
        state = step(state, UnitObservation(proxies=3, probes_ok=1), now)
    assert (state.phase, state.clean) == (HALF_OPEN, 1)
    for now in (100.0, 122.0):
        state = step(state, UnitObservation(proxies=3, probes_ok=1), now)
    assert (state.phase, state.since, state.is_active) == (CLOSED, 122.0, False)


def test_a_failed_probe_holds_again() -> None:
    state = step(flipped(), IDLE, 60.0)
    state = step(state, UnitObservation(proxies=3, probes_failed=1), 65.0)
    assert (state.phase, state.since) == (FLIPPED, 65.0)
    assert step(state, IDLE, 124.0).phase == FLIPPED
    assert step(state, IDLE, 125.0).phase == HALF_OPEN


def test_windows_without_an_answered_probe_are_neither_clean_nor_failed() -> None:
    state = step(flipped(), IDLE, 60.0)
    for now in range(61, 600):
        state = step(state, IDLE, float(now))
    assert (state.phase, state.clean) == (HALF_OPEN, 0)


def test_at_most_one_flip_in_five_minutes_unless_the_primary_is_down() -> None:
    state = FallbackState(phase=CLOSED, flipped_at=100.0)
    half = observe_unit([BAD, BAD, WELL])
    assert step(state, half, 399.0).phase == CLOSED
    assert step(state, half, 400.0).phase == FLIPPED
    assert step(state, observe_unit([BAD, BAD, BAD]), 200.0).phase == FLIPPED


def test_five_percent_probe_and_one_at_least() -> None:
    assert [probe_count(proxies, PARAMETERS) for proxies in (0, 1, 19, 40, 100)] == [0, 1, 1, 2, 5]


observations = st.builds(
    UnitObservation,
    proxies=st.integers(0, 5),
    open_proxies=st.integers(0, 5),
    open_share=st.floats(0.0, 1.0),
    failing_proxies=st.integers(0, 5),
    error_share=st.floats(0.0, 1.0),
    requests=st.integers(0, 100),
    probes_ok=st.integers(0, 2),
    probes_failed=st.integers(0, 2),
)


@settings(max_examples=25)
@given(steps=st.lists(st.tuples(st.floats(0.1, 60.0), observations), max_size=60))
def test_it_holds_its_minimum_and_always_comes_back_once_all_is_well(steps: list[tuple[float, UnitObservation]]) -> None:
    state, now, flipped_since = FallbackState(), 0.0, 0.0
    for pause_s, seen in steps:
        now += pause_s
        before, state = state, step(state, seen, now)
        if before.phase != FLIPPED and state.phase == FLIPPED:
            flipped_since = now
        if before.phase == FLIPPED and state.phase != FLIPPED:
            assert state.phase == HALF_OPEN
            assert now - flipped_since >= PARAMETERS.hold_s
    for _ in range(30):
        now += 20.0
        state = step(state, UnitObservation(proxies=3, probes_ok=1), now)
    assert state.phase == CLOSED
