"""The client side: frames HTTP/1.1 requests and hands each, whole, to the application. Knows nothing of Claude."""

from __future__ import annotations

import re
from asyncio import Transport
from collections.abc import Callable
from typing import Any

import httptools

from claudeops.wire.http1 import HEAD_END, RequestHead, memo_key, parse_request_head
from claudeops.wire.transit import Transit

MAX_HEAD_BYTES = 65_536
MEMO_ENTRIES = 1_024
IDLE_TICKS = 75
ARRIVAL_TICKS = 30
LINGER_TICKS = 2
NOTHING_DROPPED = re.compile(rb"(?!)")


class ServerContext:
    """What all connections of one listener share.

    ``handle(head, body, connection)`` gets every whole request and must end with ``connection.finish()`` or ``abort()``;
    ``refuse(status, message)`` makes the answer to a request that cannot be framed (a whole response, connection: close).
    ``dropped`` matches the names of headers that are read but not forwarded.
    """

    __slots__ = ("connections", "dropped", "handle", "is_draining", "max_body_bytes", "memo", "refuse", "tick")

    def __init__(
        self,
        handle: Callable[[RequestHead, bytes, ServerConnection], None],
        refuse: Callable[[int, str], bytes],
        *,
        dropped: re.Pattern[bytes] = NOTHING_DROPPED,
        max_body_bytes: int = 65_536,
    ) -> None:
        self.handle = handle
        self.refuse = refuse
        self.dropped = dropped
        self.max_body_bytes = max_body_bytes
        self.memo: dict[bytes, RequestHead] = {}
        self.connections: set[ServerConnection] = set()
        self.is_draining = False
        self.tick = 0

    def new_connection(self) -> Any:  # a duck-typed asyncio.Protocol: uvloop looks its methods up by name
        """The protocol factory for ``loop.create_server``."""
        return ServerConnection(self)

    def remember(self, key: bytes, head: RequestHead) -> None:
        """Later heads with these bytes skip the parser."""
        if len(self.memo) >= MEMO_ENTRIES:
            self.memo.clear()
        self.memo[key] = head

    def sweep(self) -> None:
        """Once a second: close idle and slow connections, let requests check their time. No timer per request."""
        self.tick += 1
        for connection in list(self.connections):
            connection.check(self.tick)

    def drain(self) -> None:
        """Close idle connections now and the others after the answer they wait for."""
        self.is_draining = True
        for connection in list(self.connections):
            if connection.is_idle:
                connection.transport.close()

    def close(self) -> None:
        """Drop every connection."""
        for connection in list(self.connections):
            connection.transport.abort()


class ServerConnection:
    """One client connection; serves one request at a time, in order."""

    __slots__ = (
        "body_parts", "context", "has_head", "have", "head", "held", "is_closed", "is_complete", "is_lingering",
        "is_reading_paused", "parser", "since", "transit", "transport", "want",
    )  # fmt: skip

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.transport: Transport = None  # type: ignore[assignment]
        self.parser: httptools.HttpRequestParser | None = None
        self.head: RequestHead | None = None
        self.transit: Transit | None = None
        self.body_parts: list[bytes] = []
        self.held = b""
        self.have = 0
        self.want = -1
        self.since = 0
        self.has_head = False
        self.is_complete = False
        self.is_closed = False
        self.is_lingering = False
        self.is_reading_paused = False

    @property
    def is_idle(self) -> bool:
        """No request has begun."""
        return self.head is None and not self.held and not self.is_lingering

    # -- transport callbacks

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=65_536)
        self.since = self.context.tick
        self.context.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.is_lingering:
            return
        if self.want >= 0:
            self._collect(data)
        elif self.parser is not None:
            self._feed(data)
        elif self.head is not None:
            self._hold(data)
        else:
            self._begin(self.held + data if self.held else data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self.context.connections.discard(self)
        transit, self.transit = self.transit, None
        if transit is not None:
            transit.client_gone()

    def pause_writing(self) -> None:
        if self.transit is not None:
            self.transit.client_slow(True)

    def resume_writing(self) -> None:
        if self.transit is not None:
            self.transit.client_slow(False)

    # -- framing

    def _begin(self, data: bytes) -> None:
        self.held = b""
        end = data.find(HEAD_END)
        if end < 0:
            self._wait_for_head(data)
            return
        key = memo_key(data, end)
        if key is not None:
            head = self.context.memo.get(key[0])
            if head is not None:
                self.head = head
                if len(data) == end + 4 + key[1] <= self.context.max_body_bytes:
                    self.context.handle(head, data[end + 4 :], self)  # whole and alone in one read, as nearly always
                else:
                    self._expect(key[1], data, end + 4)
                return
        if end > MAX_HEAD_BYTES:
            self.refuse(431, "the request head is too large")
        else:
            self._parse(data, end, key)

    def _wait_for_head(self, data: bytes) -> None:
        if not self.held:
            self.since = self.context.tick
        if len(data) > MAX_HEAD_BYTES:
            self.refuse(431, "the request head is too large")
        else:
            self.held = data.lstrip(b"\r\n")  # blank lines before a request are to be ignored

    def _parse(self, data: bytes, end: int, key: tuple[bytes, int] | None) -> None:
        """A head not seen before: llhttp decides whether it is valid, then its lines are read."""
        start = _first_line(data)
        head = self._read_head(data[start : end + 4])
        if head is None:
            return
        if head.wants_continue and head.length <= self.context.max_body_bytes:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if head.is_chunked:
            return self._begin_chunked(head, data[end + 4 :])
        self.parser = None
        if key is not None and start == 0 and head.keep_alive and not head.wants_continue:
            self.context.remember(key[0], head)
        self._expect(head.length, data, end + 4)

    def _read_head(self, raw: bytes) -> RequestHead | None:
        """None if it was refused."""
        self.has_head = self.is_complete = False
        self.body_parts, self.have = [], 0
        self.parser = parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(raw)
            if not self.has_head:
                raise ValueError("the head does not end where it should")
            self.head = parse_request_head(raw[:-4], self.context.dropped)
        except httptools.HttpParserUpgrade:
            self.refuse(400, "upgrade is not supported")
            return None
        except (httptools.HttpParserError, ValueError) as error:
            self.refuse(400, f"not valid HTTP/1.1: {error}")
            return None
        return self.head

    def _begin_chunked(self, head: RequestHead, data: bytes) -> None:
        head.keep_alive = False  # what follows a chunked body in the same read cannot be told from it
        if data:
            self._feed(data)

    def _expect(self, length: int, data: bytes, start: int) -> None:
        """The body has `length` bytes and begins at data[start]."""
        have = len(data) - start
        if length > self.context.max_body_bytes:
            self.refuse(413, "the request body is too large")
        elif have == length:
            self._complete(data[start:])
        elif have > length:
            self._hold(data[start + length :])
            self._complete(data[start : start + length])
        else:
            self.want, self.have, self.body_parts = length, have, [data[start:]]
            self.since = self.context.tick

    def _collect(self, data: bytes) -> None:
        self.have += len(data)
        over = self.have - self.want
        if over > 0:
            self._hold(data[len(data) - over :])
            data = data[: len(data) - over]
        self.body_parts.append(data)
        if over >= 0:
            self.want = -1
            body, self.body_parts = b"".join(self.body_parts), []
            self._complete(body)

    def _feed(self, data: bytes) -> None:
        """Bytes of a chunked body."""
        assert self.parser is not None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.is_complete:
                return self.refuse(400, f"not valid HTTP/1.1: {error}")
        if self.have > self.context.max_body_bytes:
            self.refuse(413, "the request body is too large")
        elif self.is_complete:
            self.parser = None
            body, self.body_parts = b"".join(self.body_parts), []
            self._complete(body)

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        if not self.is_complete:
            self.have += len(body)
            self.body_parts.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True

    def _complete(self, body: bytes) -> None:
        head = self.head
        assert head is not None
        self.context.handle(head, body, self)

    def _hold(self, data: bytes) -> None:
        """Pipelined bytes wait until the answer before them is sent."""
        self.held += data
        if len(self.held) > MAX_HEAD_BYTES and not self.is_reading_paused and not self.is_closed:
            self.is_reading_paused = True
            self.transport.pause_reading()

    # -- for the application

    def write(self, data: bytes) -> None:
        """Send bytes of the answer; nothing happens once the client has gone."""
        if not self.is_closed:
            self.transport.write(data)

    def write_parts(self, *parts: bytes) -> None:
        """The same with one system call for several parts, never joined."""
        if not self.is_closed:
            self.transport.writelines(parts)

    def finish(self) -> None:
        """The answer is complete: take the next request or close."""
        head, self.head = self.head, None
        self.transit = None
        self.since = self.context.tick
        if self.is_closed:
            return
        if head is None or not head.keep_alive or self.context.is_draining:
            self.transport.close()
        elif self.held:
            if self.is_reading_paused:
                self.is_reading_paused = False
                self.transport.resume_reading()
            held, self.held = self.held, b""
            self._begin(held)

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not whole."""
        self.transit = None
        self.transport.abort()

    def refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be framed, and close once the client has had time to read that."""
        self.parser = None
        self.want = -1
        self.held = b""
        self.body_parts = []
        self.is_lingering = True
        self.since = self.context.tick
        self.write(self.context.refuse(status, message))
        if not self.is_closed and self.transport.can_write_eof():
            self.transport.write_eof()

    def check(self, tick: int) -> None:
        """The sweep's visit."""
        if self.is_lingering:
            if tick - self.since >= LINGER_TICKS:
                self.transport.abort()
        elif self.transit is not None:
            self.transit.check()
        elif self.want >= 0 or self.held or self.head is not None:
            if tick - self.since > ARRIVAL_TICKS:
                self.refuse(408, "the request took too long to arrive")
        elif tick - self.since > IDLE_TICKS or self.context.is_draining:
            self.transport.close()


def _first_line(data: bytes) -> int:
    """Where the request line begins: blank lines before it are to be ignored."""
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    return start
