"""admit: what the lease allows goes at once; the rest waits in a bounded, fair queue, or is shed when the wait would be too long.

A request holds a place (``Call.is_admitted``) from here until :meth:`Admission.release`. There is no second queue behind this one:
a place includes an upstream connection.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from math import inf
from typing import Final

from claudeops.policy.estimate import Mean
from claudeops.policy.queue import Ticket
from claudeops.sidecar.answer import PARKED, Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.group import GroupRuntime
from claudeops.sidecar.runtime import Runtime

AUXILIARY_CONNECTIONS: Final = 8
"""Of each auxiliary pool."""
LEARNED: Final = 50
WAKE_MIN_S: Final = 0.001
WAKE_MAX_S: Final = 0.25
"""A wait that hangs on running streams is an estimate: look again this often, besides at every end of a request."""


class Admission:
    """The places of one runtime. ``resume`` continues a parked call behind this stage; ``refuse`` ends its walk."""

    __slots__ = ("is_full", "latency", "loop", "refuse", "resume", "runtime", "timers")

    def __init__(
        self, loop: AbstractEventLoop, runtime: Runtime, *, resume: Callable[[Call], None], refuse: Callable[[Call, Answer], None]
    ) -> None:
        self.loop = loop
        self.runtime = runtime
        self.resume = resume
        self.refuse = refuse
        self.timers: dict[str, TimerHandle] = {}
        self.is_full = False
        """Somebody waits for a place, whatever the limits would admit."""
        self.latency = Mean(5.0)
        """Seconds that a place is taken: learned at first, then only while somebody waits, when it is asked for."""

    # -- the stage

    def admit(self, call: Call, runtime: Runtime) -> Answer | None:
        """Take a place, or wait for one."""
        group = call.group
        call.estimated_input = call.estimated_uncached
        if call.offered_to is not group:
            self._offer(call, group)
        if self.is_full and self._must_queue(group):
            return self._wait(call, group, call.walked_at)
        if not group.queue.waiting and self._has_slot(group) and self._try(call, group, call.walked_at):
            return None
        return self._wait(call, group, call.walked_at)

    @property
    def auxiliary_in_flight(self) -> int:
        """Requests at the API now that are not counted against maxInFlight."""
        return sum(group.in_flight for group in self.runtime.groups.values() if group.is_auxiliary)

    def release(self, call: Call, now: float) -> None:
        """Give the place back. The caller has told the limiter how the request ended; whoever waits may go."""
        call.is_admitted = False
        group = call.group
        group.in_flight -= 1
        if not group.is_auxiliary:
            self.runtime.in_flight -= 1
            if group.queue.waiting or self.latency.samples < LEARNED:
                self.latency.learn(now - call.admitted_at)
        for waiting in self.runtime.groups.values():
            if waiting.queue.waiting:
                self.loop.call_soon(self._pump_all)
                return

    def forget(self, call: Call) -> None:
        """The call waits no longer (its client left)."""
        ticket, call.ticket = call.ticket, None
        if ticket is not None and call.group.queue.cancel(ticket):
            call.group.queued_input -= call.estimated_input

    def renew(self, call: Call, priority: int) -> None:
        """Another client waits for this call too: it may wait as long as the more patient of them, and goes with the better class;
        ``priority`` was its own so far."""
        ticket, group = call.ticket, call.group
        if ticket is None:
            return
        deadline = self._wait_until(call)
        if call.caller.priority != priority:
            group.queue.cancel(ticket)
            call.ticket = self._push(call, deadline)
        elif deadline > ticket.deadline:
            group.queue.prolong(ticket, deadline)

    # -- from the sweep and the runtime's hooks

    def expire(self, now: float) -> None:
        """Once a second: shed those whose time is over, and look again."""
        for group in self.runtime.groups.values():
            if not group.queue.waiting:
                continue
            for call in group.queue.expire(now):
                self._leave_queue(call, now)
                answer = _too_long(group.limiter.wait_s(0.0, now), is_clients=now >= call.deadline)
                self.refuse(call, self._count_shed(call, answer))
        self._pump_all()

    def drain_queues(self, now: float) -> list[Call]:
        """Take everybody out, in order: they walk again, with their arrival, deadline and class."""
        return [call for group in self.runtime.groups.values() for call in self._drain(group, now)]

    def recheck(self, now: float) -> None:
        """Leases or pool sizes have changed: who waits may go, or is judged anew where the lease became smaller."""
        for group in self.runtime.groups.values():
            before, group.judged_by = group.judged_by, group.limiter.lease
            if not group.queue.waiting:
                continue
            if before.at_most(group.judged_by) != before:
                for call in self._drain(group, now):
                    answer = self._wait(call, group, now)
                    if answer is not PARKED:
                        self.refuse(call, answer)
        self._pump_all()

    def pump(self, group: GroupRuntime, now: float) -> None:
        """Let go whoever may go now, in the queue's order; set a timer for the next."""
        queue = group.queue
        while (call := queue.first()) is not None:
            if not self._has_slot(group):
                self.is_full = self.is_full or not group.is_auxiliary
                return
            if not self._try(call, group, now):
                self._wake_in(group, group.limiter.wait_s(call.estimated_input, now))
                return
            queue.pop()
            self._leave_queue(call, now)
            self.resume(call)

    # -- parts

    def _pump_all(self) -> None:
        """Places are common to all groups: the first in the order of all queues takes the first."""
        self.is_full = False
        waiting = [group for group in self.runtime.groups.values() if group.queue.waiting]
        if len(waiting) > 1:
            waiting.sort(key=_rank)
        now = self.runtime.clock()
        for group in waiting:
            self.pump(group, now)

    def _must_queue(self, group: GroupRuntime) -> bool:
        """Does somebody of another group wait for the place that is free now?"""
        others = [other for other in self.runtime.groups.values() if other is not group and not other.is_auxiliary]
        self.is_full = any(other.queue.waiting for other in others)
        return self.is_full and not group.is_auxiliary

    def _has_slot(self, group: GroupRuntime) -> bool:
        if group.is_auxiliary:
            return group.in_flight < AUXILIARY_CONNECTIONS
        runtime = self.runtime
        return runtime.in_flight < runtime.connections and runtime.in_flight < runtime.max_in_flight

    def _try(self, call: Call, group: GroupRuntime, now: float) -> bool:
        if not group.limiter.try_admit(call.estimated_input, now, call.is_streamed):
            return False
        group.counters.admitted += 1
        group.in_flight += 1
        if not group.is_auxiliary:
            self.runtime.in_flight += 1
        call.is_admitted = True
        call.admitted_at = now
        return True

    def _offer(self, call: Call, group: GroupRuntime) -> None:
        call.offered_to = group
        counters = group.counters
        counters.offered_requests += 1
        counters.offered_input += call.estimated_input
        counters.offered_output += group.limiter.gate.mean_output

    def _wait(self, call: Call, group: GroupRuntime, now: float) -> Answer:
        config = self.runtime.config
        assert config is not None
        deadline = self._wait_until(call)
        if not call.is_again:
            wait_s = self._estimate_s(group, now)
            if now + wait_s > deadline:
                return self._count_shed(call, _too_long(wait_s, is_clients=deadline == call.deadline))
            queued = self.runtime.queued
            if queued >= config.limits.queue.max_length:
                message = f"{queued} requests wait already"
                return self._count_shed(call, Answer("queue_full", message, retry_after_s=wait_s))
        was_empty = not group.queue.waiting
        call.ticket = self._push(call, deadline)
        call.queued_at = now
        group.queued_input += call.estimated_input
        if was_empty:
            self.runtime.on_urgent("queue")
            self._wake_in(group, group.limiter.wait_s(call.estimated_input, now))
        return PARKED

    def _wait_until(self, call: Call) -> float:
        """When the call waits no longer for its place."""
        config = self.runtime.config
        assert config is not None
        return call.deadline if call.is_again else min(call.deadline, call.arrived_at + config.limits.queue.max_wait_s)

    def _push(self, call: Call, deadline: float) -> Ticket[Call]:
        return call.group.queue.push(call, deadline, priority=call.caller.priority, session=call.session, is_first=call.is_again)

    def _estimate_s(self, group: GroupRuntime, now: float) -> float:
        ahead = len(group.queue)
        wait_s = group.limiter.queue_wait_s(ahead, group.queued_input, now)
        if not self._has_slot(group):
            places = AUXILIARY_CONNECTIONS if group.is_auxiliary else min(self.runtime.connections, self.runtime.max_in_flight)
            wait_s = max(wait_s, (ahead + 1) * self.latency.value / max(1, places))
        return wait_s

    def _drain(self, group: GroupRuntime, now: float) -> list[Call]:
        calls = group.queue.drain()
        for call in calls:
            self._leave_queue(call, now)
        return calls

    def _leave_queue(self, call: Call, now: float) -> None:
        call.ticket = None
        call.queue_s += now - call.queued_at
        call.group.queued_input = max(0.0, call.group.queued_input - call.estimated_input)

    def _count_shed(self, call: Call, answer: Answer) -> Answer:
        call.group.counters.shed += 1
        return answer

    def _wake_in(self, group: GroupRuntime, wait_s: float) -> None:
        if group.name not in self.timers:
            delay_s = min(WAKE_MAX_S, max(WAKE_MIN_S, wait_s))
            self.timers[group.name] = self.loop.call_later(delay_s, self._wake, group)

    def _wake(self, group: GroupRuntime) -> None:
        self.timers.pop(group.name, None)
        if group.queue.waiting:
            self._pump_all()


def _rank(group: GroupRuntime) -> tuple[int, float]:
    return group.queue.rank()


def _too_long(wait_s: float, *, is_clients: bool) -> Answer:
    wait = "a long time" if wait_s == inf else f"about {wait_s:.0f} s"
    if is_clients:
        return Answer("deadline", f"the quota would admit this request in {wait}, later than the client waits", retry_after_s=wait_s)
    return Answer("quota", f"this workload's share of the quota is used up: it would admit this request in {wait}", retry_after_s=wait_s)
