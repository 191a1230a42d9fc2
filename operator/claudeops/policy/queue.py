"""A queue ordered by (class, turn of the session, deadline), with expiry."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
DEAD_MAX = 64


class Ticket(Generic[T]):
    """One waiting item. `is_waiting` turns False when it is popped, cancelled or expired; a cancelled one holds its item no longer."""

    __slots__ = ("deadline", "is_waiting", "item", "session")

    def __init__(self, item: T, session: bytes, deadline: float) -> None:
        self.item: T | None = item
        self.session = session
        self.deadline = deadline
        self.is_waiting = True


class AdmissionQueue(Generic[T]):
    """Lower class first; within a class sessions take turns; within a turn the earlier deadline first.

    A session's n-th waiting item ranks behind every other session's (n-1)-th. Turns move on with what was served: who
    comes later joins the next turn, so that a long queue of one session is not overtaken for ever by newcomers. How many may wait is
    the caller's to say: it may have several queues.
    """

    __slots__ = ("heap", "sequence", "served_turns", "sessions", "waiting")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, float, int, Ticket[T]]] = []
        self.sessions: dict[tuple[int, bytes], list[int]] = {}
        self.served_turns: dict[int, int] = {}
        self.sequence = 0
        self.waiting = 0

    def __len__(self) -> int:
        return self.waiting

    def push(self, item: T, deadline: float, *, priority: int = 0, session: bytes = b"", is_first: bool = False) -> Ticket[T]:
        """Queue an item. `is_first` (a request that a 429 sent back) goes before its class."""
        ticket = Ticket(item, session, deadline)
        turn = -1 if is_first else self._turn(priority, session)
        self.sequence += 1
        heapq.heappush(self.heap, (priority, turn, deadline, self.sequence, ticket))
        self.waiting += 1
        return ticket

    def first(self) -> T | None:
        """The item that `pop` would give; None when nothing waits."""
        self._drop_dead()
        return self.heap[0][4].item if self.heap else None

    def rank(self) -> tuple[int, float]:
        """(class, deadline) of the first item: whose turn it is among several queues. Something must wait."""
        self._drop_dead()
        priority, _, deadline, _, _ = self.heap[0]
        return priority, deadline

    def pop(self) -> T | None:
        """Take the first item out; None when nothing waits."""
        self._drop_dead()
        if not self.heap:
            return None
        priority, turn, _, _, ticket = heapq.heappop(self.heap)
        if turn >= 0:
            self.served_turns[priority] = max(turn, self.served_turns.get(priority, 0))
        self._settle(priority, turn, ticket)
        return ticket.item

    def cancel(self, ticket: Ticket[T]) -> bool:
        """The client has gone: forget its item. False if it no longer waits. O(1), its place is cleared later."""
        if not ticket.is_waiting:
            return False
        ticket.is_waiting = False
        ticket.item = None
        self.waiting -= 1
        if len(self.heap) > 2 * self.waiting + DEAD_MAX:
            self._keep(lambda deadline: True)
        return True

    def prolong(self, ticket: Ticket[T], deadline: float) -> None:
        """Somebody more patient has joined: its turn stays. O(n)."""
        ticket.deadline = deadline
        self.heap = [(entry[0], entry[1], deadline, entry[3], ticket) if entry[4] is ticket else entry for entry in self.heap]
        heapq.heapify(self.heap)

    def expire(self, now: float) -> list[T]:
        """Take out everything whose deadline has come, in order of deadline. O(n): call it when the earliest is due."""
        due = [entry for entry in self.heap if entry[4].is_waiting and entry[2] <= now]
        if not due:
            return []
        self._keep(lambda deadline: deadline > now)
        due.sort(key=lambda entry: (entry[2], entry[3]))
        return [ticket.item for _, _, _, _, ticket in due if ticket.item is not None]

    def next_deadline(self) -> float | None:
        """When `expire` is next due; None when nothing waits. O(n)."""
        return min((entry[2] for entry in self.heap if entry[4].is_waiting), default=None)

    def drain(self) -> list[T]:
        """Take everything out, in order (a configuration or tier changed: all walk again)."""
        items: list[T] = []
        while (item := self.pop()) is not None:
            items.append(item)
        return items

    def _keep(self, may_stay: Callable[[float], bool]) -> None:
        """Clear the places of the dead and of those whose deadline may not stay."""
        kept = []
        for entry in self.heap:
            if entry[4].is_waiting and may_stay(entry[2]):
                kept.append(entry)
            else:
                self._settle(entry[0], entry[1], entry[4])
        self.heap = kept
        heapq.heapify(self.heap)

    def _turn(self, priority: int, session: bytes) -> int:
        floor = self.served_turns.get(priority, 0) + 1
        entry = self.sessions.get((priority, session))
        if entry is None:
            self.sessions[(priority, session)] = [1, floor]
            return floor
        entry[0] += 1
        entry[1] = max(floor, entry[1] + 1)
        return entry[1]

    def _settle(self, priority: int, turn: int, ticket: Ticket[T]) -> None:
        if ticket.is_waiting:
            ticket.is_waiting = False
            self.waiting -= 1
        if turn < 0:
            return
        entry = self.sessions[(priority, ticket.session)]
        entry[0] -= 1
        if entry[0] == 0:
            del self.sessions[(priority, ticket.session)]

    def _drop_dead(self) -> None:
        while self.heap and not self.heap[0][4].is_waiting:
            priority, turn, _, _, ticket = heapq.heappop(self.heap)
            self._settle(priority, turn, ticket)
