"""The work queue, on a clock of the test's own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from claudeops.controller.workqueue import FIRST_BACKOFF_S, MAX_BACKOFF_S, WorkQueue


class Timers:
    """Timers that ring when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waiting: list[tuple[float, Callable[[], None], Timer]] = []

    def call_later(self, delay_s: float, action: Callable[[], None]) -> "Timer":
        timer = Timer()
        self.waiting.append((self.now_s + delay_s, action, timer))
        return timer

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        due = [entry for entry in self.waiting if entry[0] <= self.now_s]
        self.waiting = [entry for entry in self.waiting if entry[0] > self.now_s]
        for _, action, timer in due:
            if not timer.is_cancelled:
                action()


class Timer:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def run(scenario: Callable[[WorkQueue[str], Timers], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        timers = Timers()
        await scenario(WorkQueue(timers.call_later), timers)

    asyncio.run(play())


def test_a_key_that_waits_is_not_queued_twice() -> None:
    async def scenario(queue: WorkQueue[str], _: Timers) -> None:
        for key in ("a", "b", "a"):
            queue.add(key)
        assert len(queue) == 2
        assert [await queue.take(), await queue.take()] == ["a", "b"]

    run(scenario)


def test_a_key_is_never_worked_on_twice_at_once() -> None:
    async def scenario(queue: WorkQueue[str], _: Timers) -> None:
        queue.add("a")
        assert not queue.is_working("a")
        assert await queue.take() == "a" and queue.is_working("a")
        queue.add("a")
        queue.add("b")
        assert await queue.take() == "b"
        queue.done("b")
        queue.done("a")
        assert not queue.is_working("a")
        assert await queue.take() == "a"

    run(scenario)


def test_a_burst_during_the_work_collapses_into_one_more_turn() -> None:
    async def scenario(queue: WorkQueue[str], _: Timers) -> None:
        queue.add("a")
        await queue.take()
        for _number in range(5):
            queue.add("a")
        queue.done("a")
        await queue.take()
        queue.done("a")
        assert len(queue) == 0

    run(scenario)


def test_failures_in_a_row_back_off_to_a_bound_and_a_success_forgets_them() -> None:
    async def scenario(queue: WorkQueue[str], timers: Timers) -> None:
        waits = []
        queue.add("a")
        for _ in range(12):
            await queue.take()
            queue.done("a", is_failed=True)
            waits.append(timers.waiting[-1][0] - timers.now_s)
            timers.pass_time(waits[-1])
        assert waits[:3] == pytest.approx([FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S, 4 * FIRST_BACKOFF_S])
        assert waits == pytest.approx(sorted(waits)) and waits[-1] == pytest.approx(MAX_BACKOFF_S)
        await queue.take()
        queue.done("a")
        queue.add("a")
        await queue.take()
        queue.done("a", is_failed=True)
        assert timers.waiting[-1][0] - timers.now_s == pytest.approx(FIRST_BACKOFF_S)

    run(scenario)


def test_an_outage_of_days_is_still_only_a_backoff() -> None:
    async def scenario(queue: WorkQueue[str], timers: Timers) -> None:
        queue.add("a")
        for _ in range(1200):
            await queue.take()
            queue.done("a", is_failed=True)
            timers.pass_time(MAX_BACKOFF_S)
        assert len(queue) == 1

    run(scenario)


def test_one_key_backs_off_without_the_others() -> None:
    async def scenario(queue: WorkQueue[str], _: Timers) -> None:
        queue.add("bad")
        await queue.take()
        queue.done("bad", is_failed=True)
        queue.add("good")
        assert await queue.take() == "good"
        assert len(queue) == 0

    run(scenario)


def test_of_two_delays_the_first_stands() -> None:
    async def scenario(queue: WorkQueue[str], timers: Timers) -> None:
        queue.add_after("a", 5)
        queue.add_after("a", 50)
        timers.pass_time(5)
        assert await queue.take() == "a"
        queue.done("a")
        timers.pass_time(100)
        assert len(queue) == 0

    run(scenario)


def test_a_waiting_taker_wakes_up_when_a_key_comes() -> None:
    async def scenario(queue: WorkQueue[str], timers: Timers) -> None:
        taker = asyncio.create_task(queue.take())
        queue.add_after("a", 1)
        timers.pass_time(1)
        async with asyncio.timeout(5):
            assert await taker == "a"

    run(scenario)


def test_closing_cancels_the_delays() -> None:
    async def scenario(queue: WorkQueue[str], timers: Timers) -> None:
        queue.add_after("a", 1)
        queue.close()
        timers.pass_time(2)
        assert len(queue) == 0

    run(scenario)
