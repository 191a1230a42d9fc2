"""The upstream side: a keep-alive pool of HTTP/1.1 connections to one host. Knows nothing of Claude."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from claudeops.errors import UpstreamUnavailable
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.transit import Carrier, Part, Transit
from claudeops.wire.upstream import UpstreamConnection
from claudeops.wire.usual_head import UsualHead

IDLE_TICKS: Final = 50
"""Connections beyond ``minimum`` are closed after 50 idle seconds: before what is in between forgets them (an AWS load balancer after
60, nginx after 75), so that a request seldom meets a connection that has just been closed."""
AGE_TICKS: Final = 600
AGE_JITTER: Final = 0.2
"""A connection serves 10 minutes, 20 % more or less so that those opened together do not end together: long enough for reuse of 99 % at
ten requests a minute and connection, short enough to follow a changed address or a rebalanced load balancer."""
REST_S: Final = 0.001
WARM_AT_ONCE: Final = 16
WARM_BACKOFF_MAX_TICKS: Final = 300
Request = tuple[Part, ...]
"""The head, and the body in parts: written with one system call and never joined, since a body may be megabytes."""


class Pool:
    """Connections to one host. There is no queue in here: who may send is decided before (``limit`` is what it should keep to).

    ``minimum`` connections are opened before anybody asks, and kept. A request that finds none free opens one, and goes out on whatever
    becomes free first.
    """

    __slots__ = (
        "address", "age_ticks", "busy", "connect_timeout_s", "dialer", "idle", "limit", "loop", "minimum", "opening", "promised",
        "resting", "sent", "tasks", "tick", "usual", "waiting", "warm_at", "warm_backoff",
    )  # fmt: skip

    def __init__(self, dialer: Dialer, address: Address, *, limit: int, minimum: int = 0, connect_timeout_s: float) -> None:
        self.loop = dialer.loop
        self.dialer = dialer
        self.address = address
        self.limit = limit
        self.minimum = minimum
        self.connect_timeout_s = connect_timeout_s
        self.age_ticks = AGE_TICKS
        self.idle: list[UpstreamConnection] = []
        self.busy = 0
        self.opening = 0
        self.promised = 0
        """Those of them that are for whoever waits; others have a request of their own."""
        self.resting: list[UpstreamConnection] = []
        self.sent = 0
        self.waiting: dict[Opening, None] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.tick = 0
        self.usual: UsualHead | None = None
        """What the head of a whole answer of this host looks like."""
        self.warm_at = 0
        self.warm_backoff = 0

    def send(self, transit: Transit, request: Request) -> None:
        """Send on an idle connection, else open one. Never blocks; a failure is told to `transit` later."""
        self.sent += 1
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                self.busy += 1
                return connection.begin(transit, request)
        transit.upstream = Opening(transit, request, self.waiting)
        if len(self.waiting) > self.promised:
            self._open_one()

    def counts(self) -> tuple[int, int, int]:
        """Connections that are idle, busy, and being opened."""
        return len(self.idle), self.busy, self.opening

    def _end_of_life(self) -> int:
        """The tick from which on a connection made now takes no more requests."""
        return self.tick + round(self.age_ticks * self.dialer.rng.uniform(1.0 - AGE_JITTER, 1.0 + AGE_JITTER))

    def _open_one(self) -> None:
        self.opening += 1
        self.promised += 1
        task = self.loop.create_task(self._open())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _open(self) -> None:
        """One connection, for whoever has waited longest then."""
        reason = "the upstream closed a new connection at once"
        connection: UpstreamConnection | None = None
        try:
            connection = await self.dialer.dial(self._new_connection, self.address, timeout_s=self.connect_timeout_s)
        except UpstreamUnavailable as error:
            reason = str(error)
            self._delay_warming()
        self.opening -= 1
        self.promised -= 1
        if connection is not None:
            connection.retires_at = self._end_of_life()
            self.busy += 1
            self.release(connection)
            self._serve_waiting()
        while len(self.waiting) > self.promised:
            next(iter(self.waiting)).take().failed(reason, is_unreachable=True)

    def _new_connection(self) -> Any:  # a duck-typed asyncio.Protocol
        return UpstreamConnection(self)

    def release(self, connection: UpstreamConnection) -> None:
        """A connection has done its request; it is kept if it may be."""
        self.busy -= 1
        if not connection.is_open:
            return
        if self.tick >= connection.retires_at or (len(self.idle) + self.busy + self.opening >= self.limit and not self.waiting):
            return connection.close()
        connection.idle_since = self.tick
        self.idle.append(connection)
        if self.waiting:
            self.loop.call_soon(self._serve_waiting)  # not at once: the connection has not told the end of its answer yet

    def _serve_waiting(self) -> None:
        while self.waiting and self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                opening = next(iter(self.waiting))
                request = opening.request
                self.busy += 1
                connection.begin(opening.take(), request)

    def rest(self, connection: UpstreamConnection) -> None:
        """Wake the connection in :data:`REST_S`, with all others that rest then."""
        if not self.resting:
            self.loop.call_later(REST_S, self._wake)
        self.resting.append(connection)

    def _wake(self) -> None:
        resting, self.resting = self.resting, []
        for connection in resting:
            connection.wake()

    def lost(self, connection: UpstreamConnection, *, was_busy: bool) -> None:
        """A connection is gone."""
        if was_busy:
            self.busy -= 1
        elif connection in self.idle:
            self.idle.remove(connection)
            if not connection.is_reused:
                self._delay_warming()

    def sweep(self) -> None:
        """Once a second: close what is old, or has been idle for long, or is more than the limit allows; open up to the minimum."""
        self.tick += 1
        tls = self.address.tls
        if tls is not None and self.idle:
            tls.remember(self.idle[-1].transport.get_extra_info("ssl_object"))
        total = len(self.idle) + self.busy + self.opening
        kept = []
        for connection in self.idle:
            if self._is_surplus(connection, total):
                total -= 1
                connection.close()
            elif connection.is_open:
                kept.append(connection)
                if connection.is_reused:
                    self.warm_backoff = 0
        self.idle = kept
        self.warm()

    def _is_surplus(self, connection: UpstreamConnection, total: int) -> bool:
        if total > self.limit or self.tick >= connection.retires_at:
            return True
        return self.tick - connection.idle_since > IDLE_TICKS and total > self.minimum

    def warm(self) -> None:
        """Open what is missing to the minimum."""
        if self.tick < self.warm_at:
            return
        missing = min(self.minimum, self.limit) - len(self.idle) - self.busy - self.opening
        for _ in range(min(missing, WARM_AT_ONCE)):
            self._open_one()

    def _delay_warming(self) -> None:
        """An upstream that does not accept connections, or closes those that nobody used, is asked for them ever more seldom."""
        if self.tick >= self.warm_at:
            self.warm_backoff = min(WARM_BACKOFF_MAX_TICKS, max(1, 2 * self.warm_backoff))
            self.warm_at = self.tick + self.warm_backoff

    def close(self) -> None:
        """Close what is idle; what runs ends by itself and is not kept."""
        self.limit = 0
        self.minimum = 0
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()


class Opening(Carrier):
    """Stands for the connection while there is none: its request has not been sent."""

    __slots__ = ("request", "transit", "waiting")

    def __init__(self, transit: Transit, request: Request, waiting: dict[Opening, None]) -> None:
        self.transit = transit
        self.request = request
        self.waiting = waiting
        waiting[self] = None

    def take(self) -> Transit:
        """Who waits; from here on something else carries it."""
        del self.waiting[self]
        self.transit.upstream = None
        return self.transit

    def abandon(self) -> None:
        self.waiting.pop(self, None)
        self.request = (b"", b"")

    def slow(self, is_slow: bool) -> None:
        """Nothing is read yet."""
