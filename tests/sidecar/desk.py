"""An upstream that does nothing by itself: each request that arrives is handed to the test, which answers it when it likes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

MESSAGE = {"id": "msg_1", "type": "message", "content": [], "usage": {"input_tokens": 10, "output_tokens": 5}}


class Arrival:
    """One request, and the connection to answer it on."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0].removesuffix(" HTTP/1.1")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        self.reader = reader
        self.writer = writer
        self.body = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_gone(self) -> bool:
        """The proxy has closed the connection."""
        return self.reader.at_eof()

    def answer(self, document: Any = MESSAGE, *, status: int = 200, lines: str = "") -> None:
        """A whole answer."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nrequest-id: req_1\r\n{lines}content-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)


class Desk:
    """What has arrived, in order."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.url = ""
        self._queue: asyncio.Queue[Arrival] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def next(self) -> Arrival:
        """The next request, its body whole."""
        return await asyncio.wait_for(self._queue.get(), 10)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                arrival = Arrival(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                arrival.body = await reader.readexactly(int(arrival.headers.get("content-length", "0")))
                self.arrivals.append(arrival)
                self._queue.put_nowait(arrival)
        writer.close()

    def close(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Listens on a port that the system chooses."""
    found = Desk()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, limit=64 * 1024 * 1024)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        found.close()
