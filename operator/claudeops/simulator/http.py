"""A small HTTP/1.1 server on httptools: whole requests in, head plus body or chunks out. Knows nothing of Claude."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs

import httptools

REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
SMALLEST_COMPRESSED_BYTES = 256
COMPRESSED_LINES = b"content-encoding: gzip\r\nvary: accept-encoding\r\n"
NO_LINGER = struct.pack("ii", 1, 0)


class Request:
    """One request as received. Header names are lower case; of repeated headers the last one holds."""

    __slots__ = ("body", "client", "header_names", "headers", "is_too_large", "keep_alive", "method", "path", "query")

    def __init__(self, client: str) -> None:
        self.client = client
        self.method = ""
        self.path = ""
        self.query = ""
        self.headers: dict[bytes, bytes] = {}
        self.header_names: list[str] = []
        self.body: bytes | bytearray = b""
        self.keep_alive = True
        self.is_too_large = False

    def header(self, name: bytes) -> str:
        """The header's text, empty when absent."""
        return self.headers.get(name, b"").decode("latin-1")

    def parameter(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return parse_qs(self.query).get(name, [default])[0] if self.query else default

    def parameters(self, name: str) -> list[str]:
        """All values of a query parameter, as ``name=a&name=b`` or ``name[]=a&name[]=b``."""
        found = parse_qs(self.query)
        return found.get(name, []) + found.get(f"{name}[]", [])


Handler = Callable[[Request, "Connection"], None]
BodyLimit = Callable[[str], int]
"""The largest body in bytes that a path takes; what is larger is not kept."""


class Packer:
    """A gzip stream whose pieces can be read as soon as they arrive."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(wbits=31)

    def pack(self, data: bytes) -> bytes:
        """The bytes, compressed and flushed."""
        return self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """What ends the stream."""
        return self._deflater.flush()


class Connection(asyncio.Protocol):
    """One client connection. Serves its requests in order, one at a time.

    The handler answers through ``respond`` or ``begin_stream`` ... ``end_stream``, at once or later; ``on_gone`` is
    called when the client leaves first. A body is collected in one growing buffer, so that a large one is held once.
    """

    def __init__(self, handle: Handler, connections: set[Connection], body_limit: BodyLimit, *, compresses: bool = False) -> None:
        self._handle = handle
        self._compresses = compresses
        self._packer: Packer | None = None
        self._url = b""
        self._connections = connections
        self._body_limit = body_limit
        self._max_body_bytes = 0
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._body: bytes | bytearray = b""
        self._parser = httptools.HttpRequestParser(self)
        self.client = ""
        self.on_gone: Callable[[], None] | None = None
        self.transport: asyncio.Transport
        self._incoming: Request

    # -- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else ""
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        gone, self.on_gone = self.on_gone, None
        if gone is not None:
            gone()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    # -- parser callbacks

    def on_message_begin(self) -> None:
        self._incoming = Request(self.client)
        self._body = b""
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        self._incoming.path, _, self._incoming.query = self._url.decode("latin-1").partition("?")
        self._max_body_bytes = self._body_limit(self._incoming.path)

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        self._incoming.header_names.append(name.decode("latin-1"))
        self._incoming.headers[lowered] = value
        if lowered == b"expect":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self._incoming.is_too_large or len(self._body) + len(data) > self._max_body_bytes:
            self._incoming.is_too_large = True
            self._body = b""
        elif not self._body:
            self._body = data
        else:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += data

    def on_message_complete(self) -> None:
        request = self._incoming
        request.method = self._parser.get_method().decode("ascii")
        request.keep_alive = self._parser.should_keep_alive()
        request.body, self._body = self._body, b""
        if self._current is None:
            self._serve(request)
        else:
            self._waiting.append(request)

    def _serve(self, request: Request) -> None:
        self._current = request
        self._handle(request, self)

    def _finish(self) -> None:
        request, self._current = self._current, None
        self.on_gone = None
        if request is not None and not request.keep_alive:
            self.transport.close()
        elif self._waiting:
            self._serve(self._waiting.popleft())

    # -- answers

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """One whole answer. ``lines``: header lines, each ended by CRLF; framing is added."""
        if self._may_compress() and len(body) >= SMALLEST_COMPRESSED_BYTES:
            body = gzip.compress(body, mtime=0)
            lines += COMPRESSED_LINES
        is_head = self._current is not None and self._current.method == "HEAD"
        head = b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\n\r\n" % (status, REASONS.get(status, "Unknown").encode(), lines, len(body))
        self.transport.write(head if is_head else head + body)
        self._finish()

    def begin_stream(self, lines: bytes, first: bytes = b"") -> None:
        """The head of a 200 in chunks, together with its first bytes."""
        if self._may_compress():
            self._packer = Packer()
            lines += COMPRESSED_LINES
        self.transport.write(b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n%b" % (lines, self._chunk(first)))

    def write_chunk(self, data: bytes) -> None:
        """More bytes of a stream."""
        self.transport.write(self._chunk(data))

    def end_stream(self, last: bytes = b"") -> None:
        """The last bytes of a stream and its end."""
        packer, self._packer = self._packer, None
        data = last if packer is None else packer.pack(last) + packer.finish()
        self.transport.write(self._chunk(data) + b"0\r\n\r\n")
        self._finish()

    def _chunk(self, data: bytes) -> bytes:
        """The bytes as one chunk, which must not be empty: that would be the end."""
        packed = data if self._packer is None or not data else self._packer.pack(data)
        return b"%x\r\n%b\r\n" % (len(packed), packed) if packed else b""

    def _may_compress(self) -> bool:
        return self._compresses and self._current is not None and b"gzip" in self._current.headers.get(b"accept-encoding", b"")

    def write_raw(self, data: bytes, *, is_last: bool) -> None:
        """Bytes as they are, for answers that are broken on purpose; the last ones close the connection."""
        self.transport.write(data)
        if is_last:
            self.on_gone = None
            self.transport.close()

    def reset(self) -> None:
        """Break the connection so that the peer sees a reset, not an orderly end."""
        self.on_gone = None
        if self.transport.is_closing():
            return  # the peer was faster
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()
