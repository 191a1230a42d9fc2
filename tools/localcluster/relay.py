"""A TCP relay from an inherited listening socket to one address: `python -m tools.localcluster.relay FD HOST PORT [WATCHED_PID ...]`.

The listening socket was opened in the machine's network namespace and stays there; this process runs inside the box's, so
what it dials is in the box. It ends when a watched process (the box's first one, or whoever asked for the relay) ends.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence


class _End(asyncio.Protocol):
    """One end of a relayed connection; `peer` is the other. What arrives before there is a peer is kept for it."""

    def __init__(self) -> None:
        self.peer: _End | None = None
        self.early: list[bytes] = []
        self.has_ended = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self.peer.transport.write(data)
        else:
            # Older interpreters read on after pause_reading() in connection_made().
            self.early.append(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        if self.peer and self.peer.transport.can_write_eof() and not self.peer.transport.is_closing():
            self.peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer:
            self.peer.transport.close()


class _Accepted(_End):
    """The end towards the caller: reads nothing until the target has answered the dial."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._target = (host, port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._dialling = asyncio.ensure_future(self._dial())

    async def _dial(self) -> None:
        try:
            _, other = await asyncio.get_running_loop().create_connection(_End, *self._target)
        except OSError:
            self.transport.abort()
            return
        self.peer, other.peer = other, self
        if self.transport.is_closing():
            other.transport.close()
            return
        other.transport.writelines(self.early)
        if self.has_ended:
            other.transport.write_eof()
        self.transport.resume_reading()


async def serve(listener: socket.socket, *, host: str, port: int, watched_pids: Sequence[int]) -> None:
    """Relay until one of the watched processes ends, or for ever if there is none."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for pid in watched_pids:
        try:
            loop.add_reader(os.pidfd_open(pid), ended.set)
        except ProcessLookupError:
            return
    async with await loop.create_server(lambda: _Accepted(host, port), sock=listener, start_serving=True):
        await ended.wait()


def main() -> None:
    """The command line above."""
    fd, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    watched_pids = [int(word) for word in sys.argv[4:]]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(socket.socket(fileno=fd), host=host, port=port, watched_pids=watched_pids))


if __name__ == "__main__":
    main()
