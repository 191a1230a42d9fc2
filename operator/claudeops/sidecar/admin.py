"""The two small listeners beside the API: health and metrics for the pod's address, the state for this pod alone. They change nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import httptools

MAX_HEAD_BYTES: Final = 16_384
MAX_CONNECTIONS: Final = 64
IDLE_S: Final = 60.0
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Page(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]
SlowPages = Mapping[str, Callable[[str], Awaitable[Page]]]
"""Pages that are made in parts, between other work; their argument is the request's ``Accept`` header."""


class _Asked(NamedTuple):
    method: bytes
    path: str
    accept: str
    is_last: bool


class AdminServer:
    """Serves GET and HEAD of a fixed set of paths."""

    def __init__(self, pages: Pages, slow_pages: SlowPages | None = None) -> None:
        self.pages = pages
        self.slow_pages = slow_pages or {}
        self.connections: set[asyncio.Transport] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError if the address cannot be had."""
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port, backlog=64)
        self._server = server
        return int(server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Stops listening and ends every connection."""
        if self._server is not None:
            self._server.close()
        for transport in list(self.connections):
            transport.close()

    async def answer(self, method: bytes, path: str, accept: str = "") -> Page:
        """The page, or why there is none."""
        page, slow_page = self.pages.get(path), self.slow_pages.get(path)
        if page is None and slow_page is None:
            return Page(404, f"no such page; there are {', '.join((*self.pages, *self.slow_pages))}\n".encode())
        if method not in (b"GET", b"HEAD"):
            return Page(405, b"only GET and HEAD are served here\n")
        if page is not None:
            return page()
        assert slow_page is not None
        return await slow_page(accept)


class _Connection(asyncio.Protocol):
    """One client; answers requests in order, ends after the first that is not understood, and when it stays silent."""

    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._accept = ""
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._asked: deque[_Asked] = deque()
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        if len(self._server.connections) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._transport = transport
        self._server.connections.add(transport)
        self._deadline = asyncio.get_running_loop().call_later(IDLE_S, transport.abort)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._answering is not None:
            self._answering.cancel()
        if self._transport is not None:
            self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:  # which nobody has to take: Java's client and curl --http2 begin with one
            self._parser = httptools.HttpRequestParser(self)
            rest = data[offer.args[0] :]
            if rest:
                self.data_received(rest)
        except httptools.HttpParserError:
            self._refuse()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"accept":
            self._accept = value.decode("latin-1")

    def on_message_complete(self) -> None:
        if len(self._asked) >= MAX_CONNECTIONS:
            self._refuse()
            return
        path = self._url.split(b"?", 1)[0].decode("latin-1")
        is_last = not self._parser.should_keep_alive()
        self._asked.append(_Asked(self._parser.get_method(), path, self._accept, is_last))
        self._url, self._accept, self._head_bytes = b"", "", 0
        if self._answering is None:
            self._answering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        """One after the other, in the order in which they were asked for."""
        try:
            while self._asked:
                asked = self._asked.popleft()
                page = await self._server.answer(asked.method, asked.path, asked.accept)
                self._send(page, has_body=asked.method != b"HEAD", is_last=asked.is_last)
        finally:
            self._answering = None

    def _refuse(self) -> None:
        self._send(Page(400, b"not an HTTP/1.1 request\n"), has_body=True, is_last=True)

    def _send(self, page: Page, *, has_body: bool, is_last: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\ncontent-type: {page.content_type}\r\n"
            f"content-length: {len(page.body)}\r\n{'connection: close' if is_last else 'cache-control: no-store'}\r\n\r\n"
        )
        transport.write(head.encode() + (page.body if has_body else b""))
        if is_last:
            transport.close()
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = asyncio.get_running_loop().call_later(IDLE_S, transport.abort)
