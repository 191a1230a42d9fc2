from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.safety import SafetyParameters, SafetyState, Throttling, step_safety

PARAMETERS = SafetyParameters()
STORM = Throttling(requests_5s=100, throttles_5s=50)
CALM = Throttling(requests_5s=100)


def play(state: SafetyState, seen: Throttling, begin: int, seconds: int, *, is_fresh: bool = True) -> SafetyState:
    seen = replace(seen, has_fresh_headers=is_fresh)
    for second in range(begin, begin + seconds):
        state = step_safety(state, seen, float(second), dt_s=1.0, parameters=PARAMETERS)
    return state


def test_a_storm_cuts_once_in_ten_seconds() -> None:
    assert play(SafetyState(), STORM, 0, 10).weight == pytest.approx(0.85)
    assert play(SafetyState(), STORM, 0, 11).weight == pytest.approx(0.85**2)


def test_retry_after_lengthens_the_time_between_cuts() -> None:
    seen = Throttling(requests_5s=100, throttles_5s=50, retry_after_s=30.0)
    assert play(SafetyState(), seen, 0, 30).weight == pytest.approx(0.85)


@pytest.mark.parametrize("seen", [Throttling(100, 2), Throttling(100, 5), Throttling(0, 0)])
def test_a_few_refusals_are_not_a_storm(seen: Throttling) -> None:
    assert play(SafetyState(), seen, 0, 60).weight == 1.0


def test_fresh_headers_bring_it_back_at_one_percent_a_second() -> None:
    state = play(play(SafetyState(), STORM, 0, 1), CALM, 1, 24)
    assert state.weight == pytest.approx(0.85 + 0.15)


def test_without_headers_it_comes_back_fast_to_just_below_what_failed_and_then_slowly() -> None:
    state = play(SafetyState(), STORM, 0, 1, is_fresh=False)
    assert play(state, CALM, 1, 70, is_fresh=False).weight == pytest.approx(0.95, abs=0.003)
    assert play(state, CALM, 1, 130, is_fresh=False).weight == pytest.approx(0.96, abs=0.003)


@settings(max_examples=25)
@given(storms=st.lists(st.booleans(), max_size=60), is_fresh=st.booleans())
def test_the_weight_stays_in_its_range_and_always_recovers(storms: list[bool], is_fresh: bool) -> None:
    state, now = SafetyState(), 0
    for is_storm in storms:
        state = play(state, STORM if is_storm else CALM, now, 5, is_fresh=is_fresh)
        now += 5
        assert 0.05 <= state.weight <= 1.0
    assert play(state, CALM, now, 110, is_fresh=True).weight == 1.0


def test_refusals_while_every_level_is_high_make_the_headers_distrusted_for_ten_minutes() -> None:
    doubt = Throttling(requests_5s=100, new_above_level=1)
    state = play(SafetyState(), doubt, 0, 4)
    assert not state.is_distrusted(4.0)
    state = play(state, doubt, 4, 1)
    assert state.is_distrusted(5.0)
    assert state.is_distrusted(600.0)
    assert not state.is_distrusted(605.0)


def test_doubts_far_apart_do_not_add_up() -> None:
    state = SafetyState()
    for index in range(20):
        state = step_safety(state, Throttling(new_above_level=1), index * 30.0, dt_s=30.0, parameters=PARAMETERS)
    assert not state.is_distrusted(600.0)


def test_the_shadow_of_a_cut_is_short() -> None:
    state = play(SafetyState(), STORM, 0, 1)
    assert state.is_cut(4.9, PARAMETERS)
    assert not state.is_cut(5.0, PARAMETERS)
