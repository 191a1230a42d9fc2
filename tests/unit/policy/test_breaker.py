from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.breaker import (
    CLOSED,
    CONSECUTIVE_THROTTLES,
    ERROR_SHARE,
    HALF_OPEN,
    OPEN,
    UNREACHABLE,
    Breaker,
    BreakerParameters,
)

PARAMETERS = BreakerParameters()


def opened(now: float = 10.0, retry_after_s: float = 0.0) -> Breaker:
    breaker = Breaker(PARAMETERS, 0.0)
    for _ in range(PARAMETERS.minimum_requests):
        breaker.failed(now - 0.1, now, retry_after_s=retry_after_s)
    assert breaker.state == OPEN
    return breaker


def test_five_throttles_in_a_row_through_their_pauses_open_it() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for index in range(4):
        breaker.throttled(2.0 * index, 2.0 * index + 0.1, 1.0)
    assert breaker.state == CLOSED
    breaker.throttled(9.0, 9.1, 1.0)
    assert (breaker.state, breaker.reason) == (OPEN, CONSECUTIVE_THROTTLES)


def test_a_burst_of_parallel_throttles_counts_as_one() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for index in range(50):
        breaker.throttled(1.0 + index / 1000.0, 1.2 + index / 1000.0, 1.0)
    assert (breaker.state, breaker.throttles) == (CLOSED, 1)


def test_a_success_sent_after_the_throttle_ends_the_row_and_one_sent_before_does_not() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    breaker.throttled(1.0, 1.1)
    breaker.succeeded(0.5, 1.2)
    assert breaker.throttles == 1
    breaker.succeeded(1.2, 1.3)
    assert breaker.throttles == 0


def test_an_error_share_opens_it_only_with_enough_requests() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for _ in range(19):
        breaker.failed(1.0, 1.1)
    assert breaker.state == CLOSED
    breaker.failed(1.0, 1.1)
    assert (breaker.state, breaker.reason, breaker.since) == (OPEN, ERROR_SHARE, 1.1)
    assert breaker.counts(1.1) == (20, 20)


def test_half_is_enough_and_less_is_not() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for _ in range(30):
        breaker.succeeded(1.0, 1.1)
    for _ in range(29):
        breaker.failed(1.0, 1.2)
    assert breaker.state == CLOSED
    breaker.failed(1.0, 1.2)
    assert breaker.state == OPEN


def test_errors_older_than_the_window_are_forgotten() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for _ in range(19):
        breaker.failed(0.9, 1.0)
    breaker.failed(39.0, 40.0)
    assert breaker.state == CLOSED
    assert breaker.counts(40.0) == (1, 1)


@pytest.mark.parametrize("window_s", [5.0, 300.0])
def test_a_window_of_another_length_counts_and_forgets_from_then_on(window_s: float) -> None:
    breaker = Breaker(PARAMETERS, 1000.0)
    for _ in range(19):
        breaker.failed(999.0, 1000.0)
    breaker.parameters = replace(PARAMETERS, window_s=window_s)
    breaker.failed(1000.0, 1001.0)
    assert breaker.counts(1001.0) == (1, 1)
    assert breaker.counts(1001.0 + 1.2 * window_s) == (0, 0)


def test_no_connection_at_all_says_so() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for _ in range(20):
        breaker.failed(1.0, 1.1, is_unreachable=True)
    assert breaker.reason == UNREACHABLE


def test_throttles_are_no_errors_of_the_share() -> None:
    breaker = Breaker(PARAMETERS, 0.0)
    for _ in range(100):
        breaker.throttled(1.0, 1.1)
    assert breaker.counts(1.1) == (0, 0)


def test_open_lets_nothing_through_until_its_time_and_then_one_probe() -> None:
    breaker = opened()
    assert not breaker.allows(39.9)
    assert not breaker.take_probe(39.9)
    assert breaker.wait_s(30.0) == pytest.approx(10.0)
    assert not breaker.allows(40.0)
    assert breaker.state == HALF_OPEN
    assert breaker.take_probe(40.0)
    assert not breaker.take_probe(40.1)


def test_a_longer_retry_after_keeps_it_open_longer() -> None:
    breaker = opened(retry_after_s=50.0)
    assert not breaker.take_probe(59.9)
    assert breaker.take_probe(60.0)


def test_without_the_fleets_permission_no_probe_goes() -> None:
    breaker = opened()
    assert not breaker.take_probe(50.0, is_permitted=False)
    assert breaker.take_probe(50.0)


def test_the_probe_decides_and_late_answers_of_before_do_not() -> None:
    breaker = opened()
    assert breaker.take_probe(40.0)
    breaker.succeeded(9.0, 40.5)
    breaker.failed(9.0, 40.5)
    breaker.throttled(9.0, 40.5)
    assert breaker.state == HALF_OPEN
    breaker.succeeded(40.0, 41.0)
    assert (breaker.state, breaker.reason) == (CLOSED, "")
    assert breaker.counts(41.0) == (0, 0)


def test_a_late_429_of_before_does_not_stand_in_for_the_probes_own() -> None:
    breaker = opened()
    assert breaker.take_probe(40.0)
    breaker.throttled(39.0, 41.0)
    breaker.throttled(40.0, 42.0, retry_after_s=50.0)
    assert (breaker.state, breaker.reason, breaker.wait_s(42.0)) == (OPEN, CONSECUTIVE_THROTTLES, 50.0)


@pytest.mark.parametrize("outcome", ["failed", "throttled"])
def test_a_failed_probe_opens_it_again(outcome: str) -> None:
    breaker = opened()
    assert breaker.take_probe(40.0)
    getattr(breaker, outcome)(40.0, 41.0)
    assert (breaker.state, breaker.since) == (OPEN, 41.0)
    assert not breaker.take_probe(70.9)
    assert breaker.take_probe(71.0)


def test_a_probe_that_told_nothing_or_was_never_heard_of_makes_room_for_the_next() -> None:
    breaker = opened()
    assert breaker.take_probe(40.0)
    breaker.ignored(40.0)
    assert breaker.take_probe(41.0)
    assert not breaker.take_probe(70.9)
    assert breaker.take_probe(71.0)


events = st.lists(
    st.tuples(st.sampled_from(["succeeded", "failed", "throttled", "ignored", "ask"]), st.floats(0.0, 20.0), st.floats(0.0, 30.0)),
    max_size=80,
)


@settings(max_examples=30)
@given(events=events)
def test_whatever_happened_it_never_sticks(events: list[tuple[str, float, float]]) -> None:
    breaker = Breaker(BreakerParameters(consecutive_throttles=2, minimum_requests=2), 0.0)
    now = 0.0
    for what, pause_s, age_s in events:
        now += pause_s
        if what == "ask":
            breaker.allows(now) or breaker.take_probe(now)
        elif what == "ignored":
            breaker.ignored(now - age_s)
        else:
            getattr(breaker, what)(now - age_s, now)
    now += 100.0
    if not breaker.allows(now):
        assert breaker.take_probe(now)
        breaker.succeeded(now, now + 1.0)
    assert breaker.state == CLOSED
    assert breaker.allows(now + 1.0)
