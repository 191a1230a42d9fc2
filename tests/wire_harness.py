"""The wire layer without a socket: bytes in, what came of them out. For tests that cut the same bytes in many ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from claudeops.sidecar.answer import framing_refusal
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.http1 import RequestHead
from claudeops.wire.listener import ServerContext
from claudeops.wire.pool import Pool
from claudeops.wire.server import ServerConnection
from claudeops.wire.transit import Transit
from claudeops.wire.upstream import UpstreamConnection
from claudeops.wire.usual_head import UsualHead

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Wire:
    """A transport that keeps what is written, and says what a socket's would."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closing = False
        self.is_ended = False
        self.is_paused = False
        self.protocol: Any = None
        """Who reads in place of the connection, into a buffer of its own."""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def read(self, connection: Any, data: bytes) -> None:
        """What uvloop does with a read."""
        if self.protocol is None:
            connection.data_received(data)
        else:
            self.protocol.get_buffer(65_536)[: len(data)] = data
            self.protocol.buffer_updated(len(data))

    def write(self, data: bytes) -> None:
        assert not self.is_ended, "written behind the end"
        self.written += data

    def writelines(self, parts: Sequence[bytes]) -> None:
        for part in parts:
            self.write(part)

    def write_eof(self) -> None:
        self.is_ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.is_closing = True

    abort = close

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no limit."""

    def get_write_buffer_size(self) -> int:
        return 0


class Seen(NamedTuple):
    """What the application and the client have seen of one connection."""

    requests: tuple[tuple[bytes, bytes, bytes, bytes], ...]
    """Method, target, forwarded lines, body."""
    statuses: tuple[int, ...]
    is_closed: bool


class Taker(Transit):
    """Takes a body in parts, and may not always take more."""

    __slots__ = ("body", "connection", "ends", "head", "slows")

    def __init__(self, head: RequestHead, connection: ServerConnection, slows: Random | None, ends: Callable[[Taker], None]) -> None:
        super().__init__()
        self.head = head
        self.connection = connection
        self.slows = slows
        self.ends = ends
        self.body = b""

    def request_part(self, data: bytes) -> None:
        assert data
        assert not self.connection.intake or not self.connection.intake.is_slow, "nothing was to be handed over"
        self.body += data
        if self.slows is not None and self.slows.random() < 0.5:
            self.connection.slow(True)

    def request_end(self) -> None:
        self.ends(self)

    def client_gone(self) -> None:
        """It is forgotten."""


def serve(
    pieces: Sequence[bytes],
    *,
    is_late: bool = False,
    slows: Random | None = None,
    max_body_bytes: int = 65_536,
    context: ServerContext | None = None,
) -> Seen:
    """One client connection that gets these reads. ``is_late``: answers come behind the next read, not at once. ``slows``: bodies are
    taken in parts, and whoever takes them cannot take more from time to time."""
    requests: list[tuple[bytes, bytes, bytes, bytes]] = []
    waiting: list[ServerConnection] = []

    def answer(connection: ServerConnection) -> None:
        connection.write(ANSWER)
        connection.finish()

    def handle(head: RequestHead, body: bytes, connection: ServerConnection) -> None:
        requests.append((head.method, head.target, head.forward, body))
        if is_late:
            waiting.append(connection)
        else:
            answer(connection)

    def take(head: RequestHead, connection: ServerConnection) -> Transit:
        if slows is not None and slows.random() < 0.5:
            connection.slow(True)
        return Taker(head, connection, slows, lambda taker: handle(head, taker.body, connection))

    if context is None:
        handle_head = None if slows is None else take
        context = ServerContext(handle, framing_refusal, handle_head=handle_head, max_body_bytes=max_body_bytes)
    else:
        context.handle = handle
    wire = Wire()
    connection: Any = context.new_connection()
    connection.connection_made(wire)
    for piece in pieces:
        _until_read(wire, connection, waiting, answer)
        if wire.is_closing:
            break
        assert not wire.is_paused, "nobody would ever read again"
        wire.read(connection, piece)
        if waiting and len(waiting) > 1:
            raise AssertionError("two requests at a time")
    _until_read(wire, connection, waiting, answer, is_over=True)
    is_closed = wire.is_closing or wire.is_ended
    connection.connection_lost(None)
    assert not context.connections
    return Seen(tuple(requests), statuses(bytes(wire.written)), is_closed)


def _until_read(
    wire: Wire, connection: Any, waiting: list[ServerConnection], answer: Callable[[ServerConnection], None], *, is_over: bool = False
) -> None:
    """The application goes on until the connection is read again."""
    while (wire.is_paused or is_over) and not wire.is_closing:
        if waiting:
            answer(waiting.pop())
        elif connection.intake is not None and connection.intake.is_slow:
            connection.slow(False)
        else:
            break


def statuses(written: bytes) -> tuple[int, ...]:
    """Of the answers in these bytes, which have a content-length each; interim ones left out."""
    found = []
    while written:
        head, end, written = written.partition(b"\r\n\r\n")
        assert end, "half a head"
        status = int(head[9:12])
        if status >= 200:
            found.append(status)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            assert len(written) >= length
            written = written[length:]
    return tuple(found)


class Witness(Transit):
    """Writes down what the upstream side tells."""

    __slots__ = ("body", "end", "head", "status")

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self.head = b""
        self.body = b""
        self.end = ""

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        assert not self.status and not self.end
        self.status, self.head, self.body = status, head, body
        self._ended(is_complete)

    def more(self, body: bytes, is_complete: bool) -> None:
        assert self.status and not self.end
        self.body += body
        self._ended(is_complete)

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        assert not self.end
        self.end = "failed"

    def _ended(self, is_complete: bool) -> None:
        if is_complete:
            assert self.upstream is None
            self.end = "complete"


class Answered(NamedTuple):
    """What the transit has seen, and whether the connection would be used again."""

    status: int
    head: bytes
    body: bytes
    end: str
    is_kept: bool


def answered(
    pieces: Sequence[bytes], loop: asyncio.AbstractEventLoop, *, usual: UsualHead | None = None, is_behind_read: bool = False
) -> Answered:
    """One upstream connection that gets these reads in answer to one request, and then the end of the connection if the answer had
    none. ``usual``: what the answers before were like. ``is_behind_read``: what comes behind the answer is read too."""
    pool = Pool(Dialer(loop, Random(1)), Address("127.0.0.1", 9), limit=1, connect_timeout_s=1.0)
    pool.usual = usual
    connection: Any = UpstreamConnection(pool)
    connection.retires_at = 1_000
    wire, witness = Wire(), Witness()
    connection.connection_made(wire)
    pool.busy = 1
    connection.begin(witness, (b"", b""))
    for piece in pieces:
        if wire.is_closing or (witness.end and not is_behind_read):
            break
        connection.data_received(piece)
    is_kept = bool(witness.end) and connection.is_open
    assert not is_kept or pool.idle == [connection]
    connection.connection_lost(None)
    assert witness.end
    assert pool.busy == 0
    assert pool.idle == []
    return Answered(witness.status, witness.head, witness.body, witness.end, is_kept)
