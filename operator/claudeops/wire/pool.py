"""The upstream side: a keep-alive pool of HTTP/1.1 connections to one host. Knows nothing of Claude."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from typing import Any

from claudeops.wire.transit import Carrier, Transit
from claudeops.wire.upstream import UpstreamConnection

IDLE_TICKS = 50
Request = tuple[bytes, bytes]
"""Head and body, written with one system call and never joined: a body may be megabytes."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect. ``tls``: None is plain TCP; the certificate must name ``host``."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Pool:
    """Connections to one host. There is no queue in here: who may send is decided before (``limit`` is what it should keep to)."""

    __slots__ = ("address", "busy", "connect_timeout_s", "idle", "limit", "loop", "opening", "tasks", "tick")

    def __init__(self, loop: AbstractEventLoop, address: Address, *, limit: int, connect_timeout_s: float) -> None:
        self.loop = loop
        self.address = address
        self.limit = limit
        self.connect_timeout_s = connect_timeout_s
        self.idle: list[UpstreamConnection] = []
        self.busy = 0
        self.opening = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.tick = 0

    def send(self, transit: Transit, request: Request) -> None:
        """Send on an idle connection, else open one. Never blocks; a failure is told to `transit` later."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                self.busy += 1
                return connection.begin(transit, request)
        self.opening += 1
        opening = Opening(transit, request)
        transit.upstream = opening
        task = self.loop.create_task(self._open(opening))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _open(self, opening: Opening) -> None:
        address = self.address
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                _, connection = await self.loop.create_connection(
                    self._new_connection,
                    address.host,
                    address.port,
                    ssl=address.tls,
                    server_hostname=address.host if address.tls is not None else None,
                )
        except (OSError, TimeoutError) as error:
            self.opening -= 1
            transit = opening.take()
            if transit is not None:
                transit.failed(f"cannot connect to the upstream: {error or 'timed out'}", is_unreachable=True)
            return
        self.opening -= 1
        self.busy += 1
        request = opening.request
        transit = opening.take()
        if transit is None:
            self.release(connection)
        else:
            connection.begin(transit, request)

    def _new_connection(self) -> Any:  # a duck-typed asyncio.Protocol
        return UpstreamConnection(self)

    def release(self, connection: UpstreamConnection) -> None:
        """A connection has done its request; it is kept if it may be."""
        self.busy -= 1
        if not connection.is_open:
            return
        if len(self.idle) + self.busy + self.opening >= self.limit:
            connection.close()
            return
        connection.idle_since = self.tick
        self.idle.append(connection)

    def lost(self, connection: UpstreamConnection, *, was_busy: bool) -> None:
        """A connection is gone."""
        if was_busy:
            self.busy -= 1
        elif connection in self.idle:
            self.idle.remove(connection)

    def sweep(self) -> None:
        """Once a second: close what has been idle for long, or is more than the limit allows."""
        self.tick += 1
        surplus = len(self.idle) + self.busy + self.opening - self.limit
        kept = []
        for connection in self.idle:
            if surplus > 0 or self.tick - connection.idle_since > IDLE_TICKS:
                surplus -= 1
                connection.close()
            elif connection.is_open:
                kept.append(connection)
        self.idle = kept

    def close(self) -> None:
        """Close what is idle; what runs ends by itself and is not kept."""
        self.limit = 0
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()


class Opening(Carrier):
    """Stands for the connection while it is being opened."""

    __slots__ = ("request", "transit")

    def __init__(self, transit: Transit, request: Request) -> None:
        self.transit: Transit | None = transit
        self.request = request

    def take(self) -> Transit | None:
        """Who still waits for this connection, if anybody; the connection takes over from here."""
        transit, self.transit = self.transit, None
        if transit is not None:
            transit.upstream = None
        return transit

    def abandon(self) -> None:
        self.transit = None
        self.request = (b"", b"")

    def slow(self, is_slow: bool) -> None:
        """Nothing is read yet."""
