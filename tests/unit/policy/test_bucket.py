from __future__ import annotations

from math import inf, isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.bucket import MARKS_MAX, TokenBucket

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


moves = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 1.5]), st.floats(0.1, 4.0), st.none() | st.integers(0, 9)), max_size=60)


@settings(max_examples=50)
@given(moves=moves, has_limit=st.booleans())
def test_what_is_given_back_leaves_exactly_what_would_be_there_had_it_never_been_taken(
    moves: list[tuple[float, float, int | None]], has_limit: bool
) -> None:
    """In any interleaving; and so what stands of what was admitted passes rate and burst over no interval by more than its last one."""
    bucket = TokenBucket(2.0, 4.0, 0.0)
    taken: list[tuple[float, float]] = []
    now = 0.0
    for pause_s, amount, undone in moves:
        now += pause_s
        bucket.refill(now)
        if undone is None and (bucket.has_room() or not has_limit):
            bucket.debit(amount)
            taken.append((now, amount))
        elif undone is not None and undone < len(taken):
            since, amount = taken.pop(undone)
            bucket.credit(amount, since)
            assert isclose(bucket.level, level_without(taken, now), abs_tol=1e-9)
    for start, (began_at, _) in enumerate(taken if has_limit else ()):
        total = 0.0
        for at, amount in taken[start:]:
            assert total <= 2.0 * (at - began_at) + 4.0 + 1e-9
            total += amount


def level_without(taken: list[tuple[float, float]], now: float) -> float:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    for at, amount in taken:
        bucket.refill(at)
        bucket.debit(amount)
    bucket.refill(now)
    return bucket.level


changes = st.lists(
    st.tuples(st.sampled_from(["take", "undo", "correct", "change"]), st.sampled_from([0.01, 0.4, 1.5]), st.floats(0.1, 4.0)), max_size=60
)


@settings(max_examples=50)
@given(changes=changes)
def test_what_is_given_back_is_no_more_after_corrections_and_other_rates(changes: list[tuple[str, float, float]]) -> None:
    """What the API counts beyond the estimate is taken late; a lease changes rate and burst."""
    bucket = TokenBucket(2.0, 4.0, 0.0)
    taken: list[tuple[float, float]] = []
    rates: list[tuple[float, float]] = []
    now = 0.0
    for what, pause_s, amount in changes:
        now += pause_s
        bucket.refill(now)
        if what == "take":
            bucket.debit(amount)
            taken.append((now, amount))
        elif what == "correct":
            bucket.credit(-amount, 0.0)
            taken.append((now, amount))
        elif what == "change":
            bucket.set_rate(amount, 2.0 * amount, now)
            rates.append((now, amount))
        elif taken:
            since, amount = taken.pop(int(amount * 10.0) % len(taken))
            bucket.credit(amount, since)
        expected = TokenBucket(2.0, 4.0, 0.0)
        for at, is_rate, value in sorted([(at, False, value) for at, value in taken] + [(at, True, value) for at, value in rates]):
            expected.refill(at)
            expected.set_rate(value, 2.0 * value, at) if is_rate else expected.debit(value)
        expected.refill(now)
        assert isclose(bucket.level, expected.level, abs_tol=1e-9)


def test_a_bucket_that_is_not_full_for_long_remembers_little_and_gives_back_rather_less_than_more() -> None:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    taken = [(0.01 * step, 0.03) for step in range(1, 300)]
    for at, amount in taken:
        bucket.refill(at)
        bucket.debit(amount)
        assert len(bucket.marks) <= MARKS_MAX
    before = bucket.level
    while len(taken) > 100:
        bucket.credit(*reversed(taken.pop(20)))
        assert bucket.level <= level_without(taken, bucket.updated_at) + 1e-9
    assert bucket.level > before + 2.0


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
