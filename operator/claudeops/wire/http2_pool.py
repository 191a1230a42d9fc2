"""The upstream side over HTTP/2: a few connections to one host, each shared by many requests. Optional: needs h2."""

from __future__ import annotations

import asyncio

from claudeops.errors import UpstreamUnavailable
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.http2 import STREAMS_MAX, Http2Connection
from claudeops.wire.pool import IDLE_TICKS, Opening, Pool, Request
from claudeops.wire.transit import Transit


class Http2Pool(Pool):
    """As a :class:`Pool`, but ``limit`` and ``minimum`` are requests at once: there are as many connections as those need."""

    __slots__ = ("connections",)

    def __init__(self, dialer: Dialer, address: Address, *, limit: int, minimum: int = 0, connect_timeout_s: float) -> None:
        super().__init__(dialer, address, limit=limit, minimum=minimum, connect_timeout_s=connect_timeout_s)
        self.connections: list[Http2Connection] = []

    def send(self, transit: Transit, request: Request) -> None:
        """Send on a connection with room, else open one."""
        self.sent += 1
        for connection in self.connections:
            if connection.has_room:
                return connection.begin(transit, request)
        transit.upstream = Opening(transit, request, self.waiting)
        if len(self.waiting) > self.promised * STREAMS_MAX:
            self._open_one()

    def counts(self) -> tuple[int, int, int]:
        idle = sum(not connection.streams for connection in self.connections)
        return idle, len(self.connections) - idle, self.opening

    async def _open(self) -> None:
        connection = Http2Connection(self)
        try:
            await self.dialer.dial(lambda: connection, self.address, timeout_s=self.connect_timeout_s)
            await self._get_ready(connection)
            if not connection.is_open:
                raise UpstreamUnavailable("the upstream closed a new connection at once")
            connection.retires_at = self._end_of_life()
            if not connection.has_room:  # nor would the next one have any: it would be opened at once, and so on
                connection.close()
                raise UpstreamUnavailable("the upstream takes no request on a new connection: its SETTINGS_MAX_CONCURRENT_STREAMS is 0")
        except UpstreamUnavailable as error:
            self.opening -= 1
            self.promised -= 1
            self._delay_warming()
            if not self.promised:
                self._fail_waiting(str(error))
            return
        self.opening -= 1
        self.promised -= 1
        self.connections.append(connection)
        self._serve_waiting()

    async def _get_ready(self, connection: Http2Connection) -> None:
        tls = connection.transport.get_extra_info("ssl_object")
        try:
            if tls is not None and tls.selected_alpn_protocol() != "h2":
                raise OSError("it chose another protocol")
            await asyncio.wait_for(connection.ready, self.connect_timeout_s)
        except (OSError, TimeoutError) as error:
            connection.close()
            reason = "the upstream does not speak HTTP/2, so set connections.protocol to HTTP1"
            raise UpstreamUnavailable(f"{reason}: {error or 'it did not say its settings'}") from error

    def _fail_waiting(self, reason: str) -> None:
        for opening in list(self.waiting):
            if opening in self.waiting:
                opening.take().failed(reason, is_unreachable=True)

    def _serve_waiting(self) -> None:
        for connection in self.connections:
            while self.waiting and connection.has_room:
                opening = next(iter(self.waiting))
                request = opening.request
                connection.begin(opening.take(), request)
        if len(self.waiting) > self.promised * STREAMS_MAX:
            self._open_one()

    def ended(self, connection: Http2Connection) -> None:
        """A request has left the connection."""
        if not connection.streams and (connection.is_draining or self.tick >= connection.retires_at or not self.limit):
            connection.close()
            self.lost_connection(connection)
        if self.waiting:
            self.loop.call_soon(self._serve_waiting)

    def lost_connection(self, connection: Http2Connection) -> None:
        """A connection is gone."""
        if connection in self.connections:
            self.connections.remove(connection)
            if not connection.served and not connection.streams:
                self._delay_warming()

    def sweep(self) -> None:
        """Once a second: close what is old or idle for long, ask the silent, open up to the minimum."""
        self.tick += 1
        for connection in list(self.connections):
            if not connection.streams and self._is_unneeded(connection):
                connection.close()
                self.lost_connection(connection)
            elif connection.is_open:
                connection.check(self.tick)
                if connection.served:
                    self.warm_backoff = 0
        self._remember_session()
        self.warm()

    def _remember_session(self) -> None:
        tls = self.address.tls
        if tls is not None and self.connections:
            tls.remember(self.connections[-1].transport.get_extra_info("ssl_object"))

    def _is_unneeded(self, connection: Http2Connection) -> bool:
        if self.tick >= connection.retires_at or connection.is_draining:
            return True
        return self.tick - connection.idle_since > IDLE_TICKS and len(self.connections) > self._needed()

    def _needed(self) -> int:
        return -(-min(self.minimum, self.limit) // STREAMS_MAX)

    def warm(self) -> None:
        """Open what is missing to the minimum."""
        if self.tick >= self.warm_at:
            for _ in range(self._needed() - len(self.connections) - self.opening):
                self._open_one()

    def close(self) -> None:
        """Close what is idle; what runs ends by itself."""
        self.limit = 0
        self.minimum = 0
        for connection in list(self.connections):
            self.ended(connection)
