from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claudeops.policy.level import Sample
from claudeops.policy.limiter import GroupLimiter
from claudeops.policy.rates import INPUT, OUTPUT, REQUESTS, Rates

LEASE = Rates(4.0, 4000.0, 1000.0)
FIVE = [("ask", 0.0, 900.0)] * 5
"""As many as go at once."""
moves = st.lists(
    st.tuples(st.sampled_from(["ask", "end", "refund", "settle"]), st.floats(0.0, 2.0), st.floats(0.0, 6000.0)), min_size=1, max_size=80
)


@settings(max_examples=50)
@given(moves=moves)
@example(moves=[*FIVE, ("ask", 2.0, 900.0), *FIVE, *[("refund", 0.0, 0.0)] * 5, *FIVE, *FIVE])
def test_admission_never_passes_the_lease_by_more_than_one_request_in_any_interleaving(moves: list[tuple[str, float, float]]) -> None:
    """Over every interval, of what was not given back: refunds create no capacity, however late they come."""
    limiter = GroupLimiter(LEASE, 0.0)
    running: list[tuple[float, float]] = []
    stood: list[tuple[float, float]] = []
    now = corrected = 0.0
    for what, pause_s, amount in moves:
        now += pause_s
        if what == "ask" and limiter.try_admit(amount, now):
            running.append((now, amount))
            stood.append((now, amount))
        elif what == "end" and running:
            limiter.produced(20.0, now)
            limiter.leave(now)
            running.pop()
        elif what == "refund" and running:
            entered_at, taken = running.pop(0)
            limiter.refund(taken, now, entered_at=entered_at)
            stood.remove((entered_at, taken))
        elif what == "settle" and running:
            entered_at, taken = running.pop()
            limiter.settle_input(taken, amount, entered_at=entered_at, now=now)
            corrected += max(0.0, amount - taken)
            running.append((entered_at, amount))
            stood[stood.index((entered_at, taken))] = (entered_at, amount)
        assert limiter.requests.level <= limiter.requests.burst
        assert limiter.input.level <= limiter.input.burst
        assert limiter.gate.in_flight == len(running) <= LEASE.output_tokens / limiter.gate.slot_rate + 1.0
    for start, (began_at, _) in enumerate(stood):
        tokens = 0.0
        for ahead, (at, taken) in enumerate(stood[start:]):
            assert ahead <= LEASE.requests * (at - began_at + 1.0) + 1e-6
            # what a correction at message_start adds after the fact, no limiter can refuse beforehand
            assert tokens <= LEASE.input_tokens * (at - began_at + 1.0) + corrected + 1e-6
            tokens += taken


@settings(max_examples=30)
@given(moves=st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.0, 1.0), st.floats(0.0, 2900.0)), min_size=1, max_size=40))
def test_what_comes_back_before_the_next_is_asked_for_leaves_no_trace(moves: list[tuple[bool, bool, float, float]]) -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    now = 0.0
    for is_refunded, is_streamed, pause_s, size in moves:
        now += pause_s
        is_admitted = limiter.try_admit(size, now, is_streamed)
        if is_admitted and is_refunded:
            limiter.refund(size, now, entered_at=now, is_streamed=is_streamed)
            assert limiter.try_admit(size, now, is_streamed), "it has what it had"
            limiter.refund(size, now, entered_at=now, is_streamed=is_streamed)
        elif is_admitted:
            limiter.leave(now) if is_streamed else limiter.leave_whole(0.0, now, now)


@settings(max_examples=30)
@given(moves=st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0), st.floats(0.0, 2.0)), min_size=1, max_size=60))
def test_a_lease_that_changes_is_never_passed_either(moves: list[tuple[bool, float, float]]) -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    now = admitted = 0.0
    earned = burst = LEASE.requests
    for is_change, pause_s, scale in moves:
        earned += pause_s * limiter.requests.rate
        now += pause_s
        if is_change:
            limiter.set_lease(LEASE.scaled(scale), now)
            burst = max(burst, limiter.requests.burst)
        elif limiter.try_admit(10.0, now):
            admitted += 1.0
            limiter.leave(now)
        assert admitted <= earned + 1.0 + 1e-6
        assert limiter.requests.level <= limiter.requests.burst


def test_a_refusal_takes_nothing() -> None:
    limiter = GroupLimiter(Rates(1.0, 1e6, 1e6), 0.0)
    while limiter.try_admit(10.0, 0.0):
        pass
    before = (limiter.requests.level, limiter.input.level, limiter.gate.in_flight)
    assert not limiter.try_admit(10.0, 0.0)
    assert (limiter.requests.level, limiter.input.level, limiter.gate.in_flight) == before


@settings(max_examples=20)
@given(sizes=st.lists(st.floats(1.0, 20_000.0), min_size=1, max_size=10))
def test_after_the_computed_wait_a_request_is_admitted(sizes: list[float]) -> None:
    limiter = GroupLimiter(Rates(4.0, 4000.0, 1e6), 0.0)
    now = 0.0
    for size in sizes:
        now += limiter.wait_s(size, now) + 1e-6
        assert limiter.try_admit(size, now)
    assert limiter.wait_s(1.0, now) > 0.0 or limiter.try_admit(1.0, now)


def test_a_pause_holds_everything_and_is_never_shortened() -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    limiter.pause(5.0)
    limiter.pause(2.0)
    assert not limiter.try_admit(1.0, 4.9)
    assert limiter.wait_s(1.0, 4.0) == pytest.approx(1.0)
    assert limiter.try_admit(1.0, 5.0)


def test_a_low_level_slows_the_proxy_and_a_stale_one_lets_it_go() -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    limiter.set_lease(LEASE, 0.0, limits=Rates(10.0, 10_000.0, 2_000.0), full_s=Rates(5.0, 5.0, 5.0))
    limiter.see_level(OUTPUT, Sample(2_000.0, 0.0, 1.0), 1.0)
    assert limiter.scale == 0.5
    assert (limiter.requests.rate, limiter.input.rate, limiter.gate.rate) == (2.0, 2000.0, 500.0)
    assert limiter.try_admit(1.0, 20.0)
    assert limiter.scale == 1.0
    assert limiter.gate.rate == 1000.0


def test_the_most_restrictive_limit_slows_the_proxy_whatever_the_others_say_and_another_limit_is_another_bucket() -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    limiter.see_level(INPUT, Sample(10_000.0, 50_000.0, 1.0), 1.0)
    limiter.see_scarcest(Sample(12_000.0, 600_000.0, 1.0), 1.0)
    assert limiter.scale == 1.0
    limiter.see_scarcest(Sample(12_000.0, 0.0, 2.0), 2.0)
    assert (limiter.scale, limiter.input.rate) == (0.5, 2000.0)
    limiter.see_scarcest(Sample(12_000.0, 600_000.0, 1.5), 2.5)
    assert limiter.scale == 0.5, "an older one"
    limiter.see_scarcest(Sample(1_000.0, 10_000.0, 3.0), 3.0)
    assert limiter.scale == 1.0


def test_a_limit_lower_than_the_lease_assumed_shrinks_it_at_once_and_asks_for_a_report() -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    limits = Rates(10.0, 10_000.0, 2_000.0)
    limiter.set_lease(LEASE, 0.0, limits=limits, full_s=Rates(5.0, 5.0, 5.0))
    assert not limiter.see_level(INPUT, Sample(10_000.0, 50_000.0, 1.0), 1.0)
    assert limiter.see_level(INPUT, Sample(5_000.0, 25_000.0, 2.0), 2.0)
    assert limiter.input.rate == 2000.0
    assert limiter.requests.rate == 4.0
    limiter.set_lease(LEASE.scaled(0.5), 3.0, limits=Rates(10.0, 5_000.0, 2_000.0))
    assert limiter.input.rate == 2000.0


def test_those_ahead_in_the_queue_lengthen_the_wait_by_the_scarcest_dimension() -> None:
    limiter = GroupLimiter(Rates(10.0, 1000.0, 1e6), 0.0)
    assert limiter.queue_wait_s(0, 0.0, 0.0) == 0.0
    assert limiter.queue_wait_s(5, 20_000.0, 0.0) == pytest.approx(20.0)
    assert limiter.queue_wait_s(500, 0.0, 0.0) == pytest.approx(50.0)


def test_a_tiny_lease_still_admits_one_request() -> None:
    limiter = GroupLimiter(Rates(0.5, 0.0, 0.0), 0.0)
    assert limiter.try_admit(1000.0, 0.0)
    assert not limiter.try_admit(1000.0, 1.0)


def test_requests_have_their_own_rounding() -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    limiter.see_level(REQUESTS, Sample(10.0, 50.0, 1.0), 1.0)
    limiter.see_level(REQUESTS, Sample(10.0, 49.0, 2.0), 2.0)
    assert limiter.gauges[REQUESTS].level(2.0) == 1.0


@settings(max_examples=30)
@given(asks=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 6000.0)), min_size=10, max_size=30))
def test_input_tokens_alone_hold_the_lease_to_one_request_beyond_it(asks: list[tuple[float, float]]) -> None:
    limiter = GroupLimiter(Rates(1e6, LEASE.input_tokens, 1e9), 0.0)
    now = taken = 0.0
    for pause_s, size in asks:
        now += pause_s
        if limiter.try_admit(size, now):
            taken += size
            assert taken - size <= LEASE.input_tokens * (now + 1.0) + 1e-6


def test_input_in_debt_refuses_until_it_is_paid() -> None:
    limiter = GroupLimiter(LEASE, 0.0)
    assert limiter.try_admit(8000.0, 0.0)
    assert not limiter.try_admit(1.0, 0.9)
    assert limiter.try_admit(1.0, 1.01)


def test_a_refund_restores_exactly_what_the_admission_took() -> None:
    limiter = GroupLimiter(Rates(10.0, 10_000.0, 1e6), 0.0)
    assert limiter.try_admit(1000.0, 0.0)
    assert limiter.try_admit(1000.0, 0.0)
    assert limiter.try_admit(1000.0, 0.0)
    limiter.refund(1000.0, 0.0, entered_at=0.0)
    assert (limiter.requests.level, limiter.input.level, limiter.gate.in_flight) == (8.0, 8000.0, 2)
