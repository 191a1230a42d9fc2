from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.backoff import RetryBudget, full_jitter_s, pause_s, retry_wait_s

seeds = st.integers(0, 1000)


@settings(max_examples=25)
@given(attempt=st.integers(0, 5000), seed=seeds)
def test_full_jitter_lies_between_nothing_and_the_growing_ceiling(attempt: int, seed: int) -> None:
    assert 0.0 <= full_jitter_s(attempt, 1.0, 60.0, Random(seed)) <= min(60.0, 2.0 ** min(attempt, 10))


def test_the_mean_wait_doubles_with_every_attempt_up_to_the_maximum() -> None:
    rng = Random(1)
    means = [sum(full_jitter_s(attempt, 1.0, 60.0, rng) for _ in range(2000)) / 2000 for attempt in range(8)]
    for attempt, mean in enumerate(means):
        assert abs(mean - min(60.0, 2.0**attempt) / 2) < 0.1 * mean


@settings(max_examples=25)
@given(retry_after_s=st.floats(0.0, 300.0), attempt=st.integers(0, 9), seed=seeds)
def test_nobody_comes_back_before_retry_after(retry_after_s: float, attempt: int, seed: int) -> None:
    assert retry_after_s <= pause_s(retry_after_s, Random(seed)) <= 1.5 * retry_after_s
    assert retry_wait_s(attempt, 1.0, 60.0, retry_after_s, Random(seed)) >= retry_after_s
    assert retry_wait_s(attempt, 1.0, 60.0, None, Random(seed)) <= 60.0


@settings(max_examples=25)
@given(percent=st.floats(0.0, 100.0), requests=st.lists(st.booleans(), max_size=300))
def test_retries_never_exceed_the_budget(percent: float, requests: list[bool]) -> None:
    budget = RetryBudget(percent)
    first = retries = 0
    for is_first in requests:
        if is_first:
            budget.deposit()
            first += 1
        else:
            retries += budget.withdraw()
        assert retries <= 10.0 + percent / 100.0 * first + 1e-6


def test_the_fleets_brake_stops_retries() -> None:
    budget = RetryBudget(20.0)
    budget.scale = 0.0
    assert not budget.withdraw()
    budget.scale = 1.0
    assert budget.withdraw()


def test_when_the_budget_is_used_up_five_requests_at_twenty_percent_earn_one_retry() -> None:
    budget = RetryBudget(20.0)
    assert [budget.withdraw() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(4):
        budget.deposit()
    assert not budget.withdraw()
    budget.deposit()
    budget.deposit()
    assert budget.withdraw()
    assert not budget.withdraw()
