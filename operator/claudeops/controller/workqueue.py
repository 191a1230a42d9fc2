"""The one work queue: keys, never twice at once, bursts collapse, failures back off per key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

Key = TypeVar("Key")

FIRST_BACKOFF_S: Final = 0.2
MAX_BACKOFF_S: Final = 60.0
MAX_DOUBLINGS: Final = 16
"""More never matter, and a power of two of as many as a long outage brings would not fit a float."""


class Handle(Protocol):
    """What a timer can do."""

    def cancel(self) -> None:
        """Forgets the timer."""


CallLater = Callable[[float, Callable[[], None]], Handle]


class WorkQueue(Generic[Key]):
    """A queue of keys. ``call_later`` is the event loop's, passed in so that a test owns the time."""

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._ready: deque[Key] = deque()
        self._queued: set[Key] = set()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, Handle] = {}
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._again)

    def add(self, key: Key) -> None:
        """Queues a key. One that waits already stays where it is; one being worked on is queued again when it is done."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wakeup.set()

    def is_working(self, key: Key) -> bool:
        """Whether the key is being worked on: what is added now waits for the end of that."""
        return key in self._working

    def add_after(self, key: Key, delay_s: float, *, replaces: bool = False) -> None:
        """Queues a key after a delay. Of several delays of one key the first call's stands, unless ``replaces``."""
        if key in self._timers:
            if not replaces:
                return
            self._timers.pop(key).cancel()
        self._timers[key] = self._call_later(delay_s, lambda: self._fire(key))

    def _fire(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def take(self) -> Key:
        """The next key; the caller must end its work with :meth:`done`."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        key = self._ready.popleft()
        self._queued.discard(key)
        self._working.add(key)
        return key

    def done(self, key: Key, *, is_failed: bool = False) -> None:
        """Ends the work on a key. A failed one comes back after a delay that doubles with each failure in a row."""
        self._working.discard(key)
        if is_failed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self.add_after(key, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, MAX_DOUBLINGS)), replaces=True)
        else:
            self._failures.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancels all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
