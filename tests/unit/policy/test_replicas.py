from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.replicas import ReplicaObservation, ReplicaParameters, ReplicaState, step_replicas

PARAMETERS = ReplicaParameters()
STEP_S = 5.0


def play(
    state: ReplicaState, seen: list[ReplicaObservation], begin: float = 0.0, parameters: ReplicaParameters = PARAMETERS
) -> list[ReplicaState]:
    states = []
    for index, observation in enumerate(seen):
        state = step_replicas(state, observation, begin + STEP_S * index, parameters)
        states.append(state)
    return states


def load(in_flight: float, *, queued: float = 0.0, lease: float = 1e6, is_frozen: bool = False) -> ReplicaObservation:
    return ReplicaObservation(in_flight, queued, lease, 8.0, is_frozen)


def reversals(replicas: list[int]) -> int:
    moves = [after - before for before, after in itertools.pairwise(replicas) if after != before]
    return sum((first > 0) != (second > 0) for first, second in itertools.pairwise(moves))


@settings(max_examples=20)
@given(start=st.integers(1, 20), in_flight=st.floats(0.0, 400.0), queued=st.floats(0.0, 100.0), lease=st.floats(0.0, 60.0))
def test_under_constant_input_it_moves_in_one_direction_and_comes_to_rest(
    start: int, in_flight: float, queued: float, lease: float
) -> None:
    states = play(ReplicaState(start), [load(in_flight, queued=queued, lease=lease)] * 360)
    replicas = [state.replicas for state in states]
    assert reversals([start, *replicas]) == 0
    assert len(set(replicas[-120:])) == 1
    assert all(1 <= count <= 20 for count in replicas)


def test_noise_around_a_level_hardly_moves_it_and_never_back_and_forth() -> None:
    rng = Random(3)
    states = play(ReplicaState(10), [load(rng.gauss(120.0, 11.0)) for _ in range(720)])
    replicas = [state.replicas for state in states]
    assert reversals(replicas[60:]) == 0


def test_up_at_once_but_at_most_double_and_thirty_seconds_apart() -> None:
    states = play(ReplicaState(2), [load(250.0)] * 20)
    assert states[0].replicas == 4
    assert [state.replicas for state in states[1:6]] == [4] * 5
    assert states[6].replicas == 8
    assert states[-1].replicas == 20


def test_down_only_after_the_window_and_by_a_quarter_a_minute() -> None:
    full = play(ReplicaState(20), [load(256.0)] * 80)[-1]
    states = play(full, [load(12.0)] * 120, begin=400.0)
    replicas = [state.replicas for state in states]
    assert replicas[:59] == [20] * 59
    first = replicas.index(15)
    assert STEP_S * first == pytest.approx(360.0, abs=60.0)
    assert replicas[first : first + 12] == [15] * 12
    assert replicas[first + 12] == 12


def test_the_quota_caps_what_is_wanted_and_says_so() -> None:
    state = play(ReplicaState(10), [load(100.0, queued=300.0, lease=5.0)] * 20)[-1]
    assert state.is_capped_by_quota
    assert state.replicas == 10
    assert not play(ReplicaState(10), [load(100.0, lease=50.0)] * 20)[-1].is_capped_by_quota


def test_a_shrinking_grant_shrinks_the_pool_though_the_queue_grows() -> None:
    states = play(ReplicaState(20), [load(256.0, lease=40.0)] * 60 + [load(80.0, queued=500.0, lease=10.0)] * 300)
    assert states[-1].replicas == 7


def test_while_upstream_is_down_nothing_moves_and_the_window_does_not_age() -> None:
    full = play(ReplicaState(20), [load(256.0)] * 80)[-1]
    frozen = play(full, [load(0.0, is_frozen=True)] * 300, begin=400.0)
    assert all(state.replicas == 20 for state in frozen)
    after = play(frozen[-1], [load(200.0)] * 40, begin=1900.0)
    assert all(state.replicas == 20 for state in after)
    assert step_replicas(ReplicaState(3), load(0.0, is_frozen=True), 0.0, PARAMETERS) == ReplicaState(3)


@settings(max_examples=30)
@given(loads=st.lists(st.floats(0.0, 500.0), min_size=1, max_size=200), minimum=st.integers(1, 5), extra=st.integers(0, 20))
def test_the_bounds_hold_for_any_load(loads: list[float], minimum: int, extra: int) -> None:
    parameters = ReplicaParameters(minimum=minimum, maximum=minimum + extra)
    for state in play(ReplicaState(3), [load(value) for value in loads], parameters=parameters):
        assert minimum <= state.replicas <= minimum + extra


def test_shorter_windows_are_a_setting() -> None:
    quick = ReplicaParameters(down_window_s=15.0, up_every_s=5.0, down_every_s=5.0)
    full = play(ReplicaState(20), [load(256.0)] * 10, parameters=quick)[-1]
    states = play(full, [load(12.0)] * 30, begin=50.0, parameters=quick)
    assert states[-1].replicas == 1
