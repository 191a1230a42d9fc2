"""The two small listeners beside the API: health and metrics for the pod's address, the state for this pod alone. They change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
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


class AdminServer:
    """Serves GET and HEAD of a fixed set of paths."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
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

    def answer(self, method: bytes, path: str) -> Page:
        """The page, or why there is none."""
        page = self.pages.get(path)
        if page is None:
            return Page(404, f"no such page; there are {', '.join(self.pages)}\n".encode())
        if method not in (b"GET", b"HEAD"):
            return Page(405, b"only GET and HEAD are served here\n")
        return page()


class _Connection(asyncio.Protocol):
    """One client; answers requests in order, ends after the first that is not understood, and when it stays silent."""

    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

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
        if self._transport is not None:
            self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_message_complete(self) -> None:
        method, path = self._parser.get_method(), self._url.split(b"?", 1)[0].decode("latin-1")
        self._url, self._head_bytes = b"", 0
        self._send(self._server.answer(method, path), has_body=method != b"HEAD", is_last=not self._parser.should_keep_alive())

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
