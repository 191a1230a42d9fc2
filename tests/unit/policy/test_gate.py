from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.gate import START_SLOT_RATE, StreamGate


def drive(gate: StreamGate, *, tokens_per_s: float, seconds: float, is_streamed: bool, seed: int = 1) -> float:
    """Keep the gate as full as it lets us; returns the tokens produced in the second half, a second."""
    rng = Random(seed)
    running: list[list[float]] = []
    now = produced = 0.0
    step_s = 0.25
    while now < seconds:
        now += step_s
        for stream in list(running):
            began, left, total = stream
            tokens = min(left, tokens_per_s * step_s)
            stream[1] -= tokens
            if is_streamed:
                gate.produced(tokens, now)
            produced += tokens if now > seconds / 2 else 0.0
            if stream[1] <= 0.0:
                running.remove(stream)
                if is_streamed:
                    gate.leave(now)
                else:
                    gate.leave_whole(total, began, now)
        while gate.is_open(now):
            total = rng.expovariate(1 / 300.0)
            gate.enter(now, is_streamed)
            running.append([now, total, total])
    return produced / (seconds / 2)


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("tokens_per_s", [20.0, 53.0, 120.0])
def test_the_gate_learns_how_fast_streams_are_and_fills_the_lease(tokens_per_s: float, is_streamed: bool) -> None:
    gate = StreamGate(3000.0, 0.0)
    rate = drive(gate, tokens_per_s=tokens_per_s, seconds=120.0, is_streamed=is_streamed)
    assert gate.slot_rate == pytest.approx(tokens_per_s, rel=0.15)
    assert 0.9 * 3000.0 <= rate <= 1.05 * 3000.0


def test_silence_before_the_first_tokens_of_many_does_not_open_the_gate_wide() -> None:
    gate = StreamGate(1060.0, 0.0)
    admitted = 0
    for tick in range(100):
        now = tick * 0.05
        if gate.is_open(now):
            gate.enter(now, is_streamed=False)
            admitted += 1
    assert admitted == 20


def test_one_stream_may_always_run_unless_the_lease_is_in_debt() -> None:
    gate = StreamGate(1.0, 0.0)
    assert gate.is_open(0.0)
    gate.enter(0.0)
    assert not gate.is_open(0.0)
    assert gate.wait_s(0.0) > 0.0
    gate.produced(2000.0, 1.0)
    gate.leave(1.0)
    assert not gate.is_open(1.0)
    assert gate.is_open(1.0 + gate.wait_s(1.0) + 0.01)


def test_a_lease_of_nothing_is_never_a_division_by_zero() -> None:
    gate = StreamGate(0.0, 0.0)
    gate.enter(0.0)
    assert gate.wait_s(0.0) == float("inf")
    gate.set_rate(530.0, 1.0)
    assert gate.is_open(1.0)


@settings(max_examples=25)
@given(
    moves=st.lists(st.tuples(st.sampled_from(["enter", "whole", "leave", "produce", "abandon", "rate"]), st.floats(0.0, 30.0)), max_size=60)
)
def test_in_flight_never_drifts_and_the_slot_rate_stays_finite_in_any_order(moves: list[tuple[str, float]]) -> None:
    gate = StreamGate(500.0, 0.0)
    running: list[tuple[bool, float]] = []
    now = 0.0
    for what, amount in moves:
        now += amount / 10.0
        if what in ("enter", "whole"):
            gate.enter(now, what == "enter")
            running.append((what == "enter", now))
        elif what == "produce" and any(is_streamed for is_streamed, _ in running):
            gate.produced(amount, now)
        elif what == "rate":
            gate.set_rate(amount * 100.0, now)
        elif running and what in ("leave", "abandon"):
            is_streamed, began = running.pop()
            if what == "abandon":
                gate.abandon(now, now, is_streamed)
            elif is_streamed:
                gate.leave(now)
            else:
                gate.leave_whole(amount, began, now)
        assert gate.in_flight == len(running)
        assert gate.streams == sum(is_streamed for is_streamed, _ in running)
        assert 1.0 <= gate.slot_rate < 1e6
        assert gate.wait_s(now) >= 0.0


def test_a_day_of_idleness_keeps_what_was_learned() -> None:
    gate = StreamGate(500.0, 0.0)
    gate.set_rate(500.0, 86_400.0)
    assert gate.slot_rate == pytest.approx(START_SLOT_RATE)


def test_whole_answers_weigh_on_the_output_bucket_while_they_run_and_are_corrected_at_their_end() -> None:
    gate = StreamGate(900.0, 0.0)
    full = gate.bucket.level
    gate.set_rate(0.0, 0.0)
    gate.enter(0.0, is_streamed=False)
    gate.is_open(4.0)
    assert gate.bucket.level == pytest.approx(full - 4.0 * START_SLOT_RATE)
    gate.leave_whole(100.0, 0.0, 4.0)
    assert gate.bucket.level == pytest.approx(full - 100.0, abs=1.0)


def test_streams_that_the_api_never_began_teach_nothing() -> None:
    """An upstream that cannot be reached must not look like one of slow streams: it would be met with too many when it is back."""
    gate, untouched = StreamGate(1000.0, 0.0), StreamGate(1000.0, 0.0)
    now = 0.0
    for _ in range(12):
        for one in (gate, untouched):
            one.enter(now)
        for late in range(10):
            gate.enter(now + late / 100.0)
        for _ in range(10):
            now += 0.5
            for one in (gate, untouched):
                one.produced(25.0, now)
        for late in range(10):
            gate.abandon(now, now - 5.0 + late / 100.0)
        for one in (gate, untouched):
            one.leave(now)
    assert gate.slot_rate == pytest.approx(untouched.slot_rate, rel=0.05)
