"""An upstream that keeps every request as it came and answers as the test says, in the pieces that it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.sidecar.raw_upstream import RawUpstream, raw_upstream, read_request

Answer = tuple[bytes, tuple[bytes, ...]]
"""Head (without its blank line) and the body in pieces, each of which is a write of its own; the first goes out with the head."""


class Recorder:
    """``seen``: (head, body) of every request, oldest first."""

    def __init__(self, upstream: RawUpstream, seen: list[tuple[bytes, bytes]]) -> None:
        self.url = upstream.url
        self.seen = seen

    @property
    def last(self) -> Any:
        """The last request's body."""
        return json.loads(self.seen[-1][1])


def whole(body: bytes, *lines: str, status: int = 200) -> Answer:
    """An answer with a length."""
    head = "\r\n".join([f"HTTP/1.1 {status} -", "content-type: application/json", f"content-length: {len(body)}", *lines])
    return head.encode(), (body,)


def message(*blocks: dict[str, Any], text: str = "ok", input_tokens: int = 7) -> bytes:
    """A Messages answer."""
    content = [*blocks, {"type": "text", "text": text}]
    usage = {"input_tokens": input_tokens, "output_tokens": 3}
    return json.dumps({"type": "message", "role": "assistant", "content": content, "usage": usage}).encode()


def stream(*pieces: bytes, lines: tuple[str, ...] = ()) -> Answer:
    """An event stream in chunks."""
    head = "\r\n".join(["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", *lines])
    return head.encode(), (*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece), b"0\r\n\r\n")


def events(*data: dict[str, Any]) -> bytes:
    """Server-sent events, named by their type."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (item["type"].encode(), json.dumps(item).encode()) for item in data)


@contextlib.asynccontextmanager
async def recorder(answer: Callable[[Any], Answer]) -> AsyncIterator[Recorder]:
    """Answers each request by its body."""
    seen: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            seen.append((head, body))
            lines, pieces = answer(json.loads(body) if body else None)
            writer.write(lines + b"\r\n\r\n" + (pieces[0] if pieces else b""))
            for piece in pieces[1:]:
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(piece)
            await writer.drain()

    async with raw_upstream(script) as upstream:
        yield Recorder(upstream, seen)
