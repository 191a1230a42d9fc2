"""A stream that comes in a burst is read once a millisecond: who rests is woken, and a client that is slow stays slow over it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_harness import Wire, Witness

from claudeops.wire import transit as transit_module
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.pool import REST_S, Pool
from claudeops.wire.upstream import UpstreamConnection

pytestmark = pytest.mark.skipif(not transit_module.__file__.endswith(".py"), reason="a compiled Transit has no interpreted subclasses")


class Timers:
    """What a pool asks its loop for."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        assert delay_s == REST_S
        self.due.append(callback)

    def pass_time(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


def pair(pool: Pool) -> tuple[UpstreamConnection, Wire]:
    connection, wire = UpstreamConnection(pool), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    pool.busy += 1
    connection.begin(Witness(), (b"", b""))
    return connection, wire


def new_pool() -> tuple[Pool, Timers]:
    timers: Any = Timers()
    return Pool(Dialer(timers, Random(1)), Address("127.0.0.1", 9), limit=9, connect_timeout_s=1.0), timers


@given(st.lists(st.sampled_from(["rest", "slow", "go on", "time"]), max_size=12))
def test_it_is_read_exactly_while_it_does_not_rest_and_its_client_keeps_up(steps: list[str]) -> None:
    pool, timers = new_pool()
    connection, wire = pair(pool)
    is_slow = is_resting = False
    for step in steps:
        if step == "rest":
            connection.rest()
            is_resting = is_resting or not is_slow
        elif step == "time":
            timers.pass_time()
            is_resting = False
        else:
            connection.slow(step == "slow")
            is_slow = step == "slow"
        assert wire.is_paused == (is_slow or is_resting)
        assert connection.is_held == is_slow
        assert len(timers.due) == is_resting, "one timer, and only while somebody rests"


def test_all_that_rest_wake_by_one_timer() -> None:
    pool, timers = new_pool()
    pairs = [pair(pool) for _ in range(3)]
    for connection, _ in pairs:
        connection.rest()
    assert len(timers.due) == 1
    timers.pass_time()
    assert not any(wire.is_paused for _, wire in pairs)


def test_one_that_is_given_up_while_it_rests_is_not_touched_again() -> None:
    pool, timers = new_pool()
    connection, wire = pair(pool)
    connection.rest()
    connection.abandon()
    timers.pass_time()
    assert wire.is_closing
    assert wire.is_paused
    assert pool.counts() == (0, 0, 0)
