"""Opening a connection: name, address, proxy, TLS. Not the fast path: a connection serves many requests."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any, Final, NamedTuple

from claudeops.errors import UpstreamUnavailable
from claudeops.wire.resolver import Resolver, SocketAddress
from claudeops.wire.secure import open_secure
from claudeops.wire.tls import ClientContext
from claudeops.wire.tunnel import open_tunnel

ATTEMPT_DELAY_S: Final = 0.25
"""How long one address has for itself before the next one is tried beside it (RFC 8305 section 5)."""
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_PROBES: Final = 5
"""TCP keepalive as the API's own SDKs set it: probes from 60 s of silence on, every 60 s, dead after five."""


class Address(NamedTuple):
    """Where to connect. ``tls``: None is plain TCP; the certificate must name ``host``. ``proxy``: an HTTP proxy on the way there."""

    host: str
    port: int
    tls: ClientContext | None = None
    proxy: tuple[str, int] | None = None


class Dialer:
    """Opens connections and counts them: ``opened``, ``failed``, and of the TLS handshakes those that were ``resumed``.

    ``proxy_login`` says user and password for proxies on the way, asked for each connection.
    """

    __slots__ = ("failed", "loop", "opened", "proxy_login", "resolver", "resumed", "rng")

    def __init__(self, loop: AbstractEventLoop, rng: Random) -> None:
        self.loop = loop
        self.rng = rng
        self.resolver = Resolver(loop)
        self.proxy_login: Callable[[], str] = str
        self.opened = 0
        self.failed = 0
        self.resumed = 0

    def counts(self) -> dict[str, int]:
        """Connections opened so far by how: ``new``, ``resumed`` (their TLS handshake was a short one); and those that ``failed``."""
        return {"new": self.opened - self.resumed, "resumed": self.resumed, "failed": self.failed}

    async def dial(self, protocol: Callable[[], Any], address: Address, *, timeout_s: float) -> Any:
        """The protocol of a new connection, TLS handshake done. Raises UpstreamUnavailable; leaves nothing open then."""
        try:
            async with asyncio.timeout(timeout_s):
                transport, made = await self._connect(protocol, address)
        except (OSError, TimeoutError, UnicodeError) as error:
            self.failed += 1
            self.resolver.expire()
            raise UpstreamUnavailable(f"cannot connect to the upstream: {_why(error, address)}") from error
        self.opened += 1
        connection = transport.get_extra_info("ssl_object")
        if connection is not None and connection.session_reused:
            self.resumed += 1
        return made

    async def _connect(self, protocol: Callable[[], Any], address: Address) -> tuple[Any, Any]:
        sock = await race(self.loop, await self.resolver.resolve(*(address.proxy or (address.host, address.port))))
        with ExitStack() as cleanup:
            cleanup.callback(sock.close)
            if address.proxy is not None:
                await open_tunnel(self.loop, sock, address.host, address.port, login=self.proxy_login())
            connection: tuple[Any, Any]
            if address.tls is None:
                connection = await self.loop.create_connection(protocol, sock=sock)
            else:
                connection = await open_secure(self.loop, protocol, sock, context=address.tls, host=address.host)
            cleanup.pop_all()
        return connection


async def race(loop: AbstractEventLoop, addresses: Sequence[SocketAddress]) -> socket.socket:
    """The first connection that one of the addresses accepts: tried in order, each :data:`ATTEMPT_DELAY_S` after the one before or as
    soon as that one has failed (Happy Eyeballs, RFC 8305). Raises the last OSError when all have."""
    waiting: set[asyncio.Task[socket.socket]] = set()
    ahead = list(addresses)
    failure = OSError("there is no address to connect to")
    try:
        while ahead or waiting:
            if ahead:
                waiting.add(loop.create_task(_connect_socket(loop, ahead.pop(0))))
            done, waiting = await asyncio.wait(waiting, timeout=ATTEMPT_DELAY_S if ahead else None, return_when=asyncio.FIRST_COMPLETED)
            while done:
                task = done.pop()
                error = task.exception()
                if error is None:
                    waiting |= done
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for task in waiting:
            task.add_done_callback(_close_socket)
            task.cancel()


async def _connect_socket(loop: AbstractEventLoop, address: SocketAddress) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with ExitStack() as cleanup:
        cleanup.callback(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        await loop.sock_connect(sock, address.sockaddr)
        cleanup.pop_all()
    return sock


def _close_socket(task: asyncio.Task[socket.socket]) -> None:
    """What came second is not needed."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _why(error: Exception, address: Address) -> str:
    if isinstance(error, UnicodeError):
        return f"{address.host[:80]} is no name of a host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {address.host} is not trusted: {error.verify_message}"
    return str(error) or "timed out"
