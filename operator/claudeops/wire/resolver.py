"""Names to addresses, remembered for seconds: the system's resolver tells no lifetime, so an answer must never become a frozen one."""

from __future__ import annotations

import asyncio
import socket
from asyncio import AbstractEventLoop
from typing import Any, Final, NamedTuple

LIFETIME_S: Final = 10.0
"""How long an answer serves new connections. It only spares a burst of them a lookup each: shorter than any lifetime that is usual in
DNS (Cloudflare 30 s and more, CoreDNS in a cluster 5 to 30 s), so a change is seen as soon as the resolver sees it."""
STALE_S: Final = 300.0
"""How long an old answer serves while the resolver itself cannot be reached (EAI_AGAIN). A name that is gone is gone at once."""


class SocketAddress(NamedTuple):
    """Something to connect to: address family, and what ``socket.connect`` takes."""

    family: int
    sockaddr: Any


class Resolver:
    """Looks names up by the loop's ``getaddrinfo``, in its threads. Lookups of one name at the same time share one."""

    __slots__ = ("_answers", "_loop", "_running")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: dict[tuple[str, int], tuple[float, tuple[SocketAddress, ...]]] = {}
        self._running: dict[tuple[str, int], asyncio.Task[tuple[SocketAddress, ...]]] = {}

    async def resolve(self, host: str, port: int) -> tuple[SocketAddress, ...]:
        """At least one address, families taking turns (RFC 8305 section 4). Raises OSError where the name has none."""
        name = (host, port)
        known = self._answers.get(name)
        if known is not None and self._loop.time() - known[0] < LIFETIME_S:
            return known[1]
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = self._loop.create_task(self._look_up(name))
            task.add_done_callback(lambda done: self._end(name, done))
        return await asyncio.shield(task)

    def _end(self, name: tuple[str, int], done: asyncio.Task[tuple[SocketAddress, ...]]) -> None:
        self._running.pop(name, None)
        if not done.cancelled():
            done.exception()  # whoever asked may have given up: then nobody else looks

    def expire(self) -> None:
        """The next connection looks its name up again: nothing at the old addresses answers."""
        self._answers = {name: (at - LIFETIME_S, addresses) for name, (at, addresses) in self._answers.items()}

    async def _look_up(self, name: tuple[str, int]) -> tuple[SocketAddress, ...]:
        try:
            found = await self._loop.getaddrinfo(name[0], name[1], type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            known = self._answers.get(name)
            if error.errno == socket.EAI_AGAIN and known is not None and self._loop.time() - known[0] < STALE_S:
                return known[1]
            raise OSError(f"the name {name[0]} cannot be resolved: {error.strerror}") from error
        addresses = interleave(tuple(SocketAddress(family, sockaddr) for family, _, _, _, sockaddr in found))
        if not addresses:
            raise OSError(f"the name {name[0]} has no address")
        self._answers[name] = (self._loop.time(), addresses)
        return addresses


def interleave(addresses: tuple[SocketAddress, ...]) -> tuple[SocketAddress, ...]:
    """The resolver's order within each family, families in turn, beginning with that of the first address; each address once."""
    first = [address for address in dict.fromkeys(addresses) if address.family == addresses[0].family]
    others = [address for address in dict.fromkeys(addresses) if address.family != addresses[0].family]
    turns: list[SocketAddress] = []
    for at in range(max(len(first), len(others))):
        turns += first[at : at + 1] + others[at : at + 1]
    return tuple(turns)
