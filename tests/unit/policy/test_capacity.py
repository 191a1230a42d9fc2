from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.capacity import REQUEST_CAPACITY, CapacityParameters, CapacityState, Observation, step_capacity
from claudeops.policy.level import Sample

PARAMETERS = CapacityParameters()
LIMIT = 10_000.0


def observe(
    level: float, now: float, *, limit: float = LIMIT, full_s: float = 5.0, is_queued: bool = True, weight: float = 1.0
) -> Observation:
    return Observation(
        dt_s=1.0, declared_per_s=LIMIT, samples=(Sample(limit, level * full_s * limit, now),), is_queued=is_queued, weight=weight
    )


def settle(level: float, seconds: int, *, is_queued: bool = True, state: CapacityState | None = None, begin: float = 0.0) -> CapacityState:
    state = state or step_capacity(CapacityState(), observe(1.0, begin), begin, PARAMETERS)
    for second in range(1, seconds + 1):
        state = step_capacity(state, observe(level, begin + second, is_queued=is_queued), begin + second, PARAMETERS)
    return state


samples = st.lists(
    st.tuples(st.floats(0.0, 1.2), st.floats(0.1, 4.0), st.booleans(), st.booleans(), st.floats(0.05, 1.0)), min_size=1, max_size=40
)


@settings(max_examples=30)
@given(steps=samples, reserve=st.sampled_from([0.0, 0.2]))
def test_capacity_stays_within_its_bounds_whatever_the_headers_say(
    steps: list[tuple[float, float, bool, bool, float]], reserve: float
) -> None:
    parameters = replace(PARAMETERS, reserve=reserve)
    state, now = CapacityState(), 0.0
    for level, scale, is_queued, has_sample, weight in steps:
        now += 1.0
        seen = observe(level, now, limit=LIMIT * scale, is_queued=is_queued, weight=weight)
        state = step_capacity(state, seen if has_sample else replace(seen, samples=()), now, parameters)
        assert 0.0 < state.capacity <= 1.10 * state.limit_per_s + 1e-6
        if reserve:
            assert state.capacity <= (1.0 - reserve) * state.limit_per_s + 1e-6
        assert -0.95 <= state.integral <= 0.10
        assert 0.0 <= state.level <= 1.0


@settings(max_examples=25)
@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0))
def test_a_fuller_bucket_never_means_less_capacity(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert settle(low, 10).capacity <= settle(high, 10).capacity + 1e-6


def test_before_any_header_the_declared_limit_holds_but_for_a_little() -> None:
    state = step_capacity(CapacityState(), Observation(dt_s=1.0, declared_per_s=LIMIT), 0.0, PARAMETERS)
    assert state.capacity == pytest.approx(0.985 * LIMIT)
    assert not state.is_fresh


def test_a_full_bucket_earns_up_to_ten_percent_more_and_an_empty_one_pulls_down() -> None:
    assert settle(1.0, 60).capacity == pytest.approx(1.10 * LIMIT)
    assert settle(0.3, 30).capacity < 0.8 * LIMIT


def test_the_integral_does_not_wind_up_while_the_applications_are_the_limit() -> None:
    assert settle(1.0, 300, is_queued=False).integral == settle(1.0, 0).integral
    assert settle(0.5, 30, is_queued=False).integral < 0.0


def test_below_the_limit_it_climbs_back_five_times_faster() -> None:
    low = settle(0.2, 60)
    back = settle(1.0, 5, state=low, begin=60.0)
    further = settle(1.0, 5, state=back, begin=65.0)
    assert low.integral < -0.2
    assert further.integral - back.integral == pytest.approx(5 * 0.01 * 0.2 * 5)
    assert settle(1.0, 60, state=low, begin=60.0).capacity == pytest.approx(1.10 * LIMIT, rel=0.01)


def test_without_a_fresh_sample_the_integral_holds_and_the_limit_is_used_but_for_a_little() -> None:
    state = settle(0.5, 30)
    later = step_capacity(state, Observation(dt_s=1.0, declared_per_s=LIMIT), 50.0, PARAMETERS)
    assert not later.is_fresh
    assert later.integral == state.integral
    assert later.capacity == pytest.approx(0.985 * LIMIT)


def test_an_old_reading_that_comes_late_changes_nothing() -> None:
    state = settle(0.5, 30)
    late = replace(observe(1.0, 30.0), samples=(Sample(2 * LIMIT, 50_000.0, 12.0),))
    after = step_capacity(state, late, 31.0, PARAMETERS)
    assert (after.level, after.limit_per_s) == (state.level, state.limit_per_s)


def test_a_halved_limit_holds_from_the_first_header_and_full_in_seconds_survives_it() -> None:
    state = settle(1.0, 30)
    halved = step_capacity(state, observe(1.0, 40.0, limit=LIMIT / 2), 40.0, PARAMETERS)
    assert halved.limit_per_s == LIMIT / 2
    assert halved.level == 1.0
    assert halved.full_s == 5.0
    assert 0.9 * LIMIT / 2 <= halved.capacity <= 1.1 * LIMIT / 2


def test_distrust_and_a_cut_fall_back_to_the_safety_net() -> None:
    state = settle(1.0, 30)
    distrusted = step_capacity(state, replace(observe(1.0, 31.0, weight=0.85), is_distrusted=True), 31.0, PARAMETERS)
    assert distrusted.capacity == pytest.approx(0.985 * 0.85 * LIMIT)
    cut = step_capacity(state, replace(observe(1.0, 31.0, weight=0.85), is_distrusted=True, is_cut=True), 31.0, PARAMETERS)
    assert cut.capacity == pytest.approx(0.7 * 0.985 * 0.85 * LIMIT)


def test_a_bucket_smaller_than_its_rounding_is_not_read() -> None:
    state = step_capacity(CapacityState(), observe(1.0, 0.0, limit=160.0, full_s=5.0), 0.0, PARAMETERS)
    assert not state.is_fresh
    requests = step_capacity(CapacityState(), observe(0.5, 0.0, limit=10.0, full_s=5.0), 0.0, REQUEST_CAPACITY)
    assert requests.is_fresh


def test_headers_do_not_teach_the_limit_where_that_is_switched_off() -> None:
    parameters = replace(PARAMETERS, is_learning_limit=False)
    state = step_capacity(CapacityState(), observe(1.0, 0.0, limit=3 * LIMIT), 0.0, parameters)
    assert state.limit_per_s == LIMIT


@pytest.mark.parametrize("burst_s", [2.0, 5.0, 15.0, 60.0])
@pytest.mark.parametrize("outside", [0.0, 0.3])
def test_the_loop_settles_at_the_set_point_with_what_others_leave(burst_s: float, outside: float) -> None:
    level, state = burst_s, CapacityState()
    used = []
    for second in range(600):
        remaining = round(level * LIMIT, -3)
        state = step_capacity(
            state,
            Observation(dt_s=1.0, declared_per_s=LIMIT, samples=(Sample(LIMIT, remaining, float(second)),), is_queued=True),
            float(second),
            PARAMETERS,
        )
        takes = state.capacity / LIMIT if level > 0.0 else 0.0
        level = min(burst_s, level + 1.0 - takes - outside)
        used.append(takes)
    assert sum(used[-200:]) / 200 == pytest.approx(1.0 - outside, abs=0.02)
    assert level / burst_s > 0.4
