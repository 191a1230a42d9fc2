from __future__ import annotations

from math import inf, isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.bucket import TokenBucket

amounts = st.floats(0.0, 50.0)
steps = st.lists(st.tuples(st.floats(0.0, 5.0), amounts), max_size=40)


@settings(max_examples=25)
@given(rate=st.floats(0.1, 20.0), burst=st.floats(0.0, 30.0), steps=steps)
def test_what_is_admitted_passes_rate_and_burst_by_no_more_than_the_last_request(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = taken = last = 0.0
    for pause_s, amount in steps:
        now += pause_s
        bucket.refill(now)
        if bucket.has_room():
            bucket.debit(amount)
            taken += amount
            last = amount
            assert taken <= burst + rate * now + last + 1e-6


@settings(max_examples=25)
@given(steps=steps)
def test_a_refund_never_lifts_the_level_over_the_burst_nor_over_what_it_was(steps: list[tuple[float, float]]) -> None:
    bucket, plain = TokenBucket(3.0, 10.0, 0.0), TokenBucket(3.0, 10.0, 0.0)
    now = 0.0
    for pause_s, amount in steps:
        now += pause_s
        bucket.refill(now)
        plain.refill(now)
        bucket.debit(amount)
        bucket.credit(amount)
        assert bucket.level <= plain.level + 1e-9 <= 10.0 + 1e-9


@settings(max_examples=25)
@given(debt=st.floats(0.01, 100.0), rate=st.floats(0.1, 50.0))
def test_the_wait_is_exactly_when_the_debt_is_paid(debt: float, rate: float) -> None:
    bucket = TokenBucket(rate, 1.0, 0.0)
    bucket.debit(1.0 + debt)
    wait_s = bucket.wait_s()
    assert isclose(wait_s, debt / rate)
    bucket.refill(wait_s * 0.99)
    assert not bucket.has_room()
    bucket.refill(wait_s * 1.01)
    assert bucket.has_room()
    assert bucket.wait_s() == 0.0


def test_debt_without_a_rate_waits_for_ever_until_there_is_one() -> None:
    bucket = TokenBucket(0.0, 0.0, 0.0)
    assert bucket.has_room()
    bucket.debit(5.0)
    assert bucket.wait_s() == inf
    bucket.set_rate(5.0, 5.0, 10.0)
    assert bucket.wait_s() == 1.0


def test_a_smaller_burst_takes_what_was_saved_and_a_larger_one_gives_nothing() -> None:
    bucket = TokenBucket(10.0, 10.0, 0.0)
    bucket.set_rate(2.0, 2.0, 0.0)
    assert bucket.level == 2.0
    bucket.set_rate(10.0, 10.0, 0.0)
    assert bucket.level == 2.0


def test_a_clock_that_went_back_changes_nothing() -> None:
    bucket = TokenBucket(1.0, 5.0, 10.0)
    bucket.debit(5.0)
    bucket.refill(3.0)
    assert (bucket.level, bucket.updated_at) == (0.0, 10.0)
