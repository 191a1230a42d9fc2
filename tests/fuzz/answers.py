"""Fuzz target: the upstream side's framing. Valid answers arrive as they were sent, every byte before a break is told, cutting changes
nothing, and a connection is used again only where llhttp agrees that nothing is left on it."""

from __future__ import annotations

import asyncio
import atexit

import httptools
from tests.fuzz.choices import Choices
from tests.wire_harness import Answered, answered

from claudeops.wire.body import chunk

LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)
INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\ncontent-length: 0\r\n\r\n",
]
LINES = [b"x-a: b\r\n", b"Connection: keep-alive\r\n", b"x-empty:\r\n", b"date: now\r\n", b"x-b: \xe9\r\n"]
BODIES = [b"", b"{}", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"\r\n\r\n", b"event: ping\ndata: {}\n\n" * 9, bytes(range(256)) * 4]


def check(data: bytes) -> None:
    """One answer on one connection."""
    choices = Choices(data)
    body, is_kept, stream = _answer(choices)
    is_valid = not choices.chance(70)
    if not is_valid:
        stream = choices.mangle(stream)
    whole = answered([stream], LOOP, is_behind_read=True)
    for _ in range(2):
        parts = answered(choices.cut(stream), LOOP, is_behind_read=True)
        assert _essence(parts) == _essence(whole), f"cut, it is {parts}; whole, {whole}"
        assert not parts.is_kept or whole.is_kept
    assert not is_valid or (whole.end, whole.body, whole.is_kept) == ("complete", body, is_kept), whole
    reference = _read_by_llhttp(stream)
    if whole.end == "complete":
        assert reference.bodies[0] == whole.body, f"{whole}, and llhttp reads {reference.bodies}"
    else:
        assert reference.bodies[0].startswith(whole.body), f"{whole}, and llhttp reads {reference.bodies}"
    assert not whole.is_kept or (len(reference.bodies) == 1 and reference.is_clean), f"{whole} is kept"


def _essence(seen: Answered) -> tuple[object, ...]:
    """A break before the first byte of a body is told with the head or without it, as the reads come. (Line ends behind an answer may
    cost the connection when they come alone.)"""
    return ("failed",) if seen.end == "failed" and not seen.body else seen[:4]


def _answer(choices: Choices) -> tuple[bytes, bool, bytes]:
    """Body, whether the connection may be used again, and the bytes."""
    body = choices.one_of(BODIES)
    lines = b"".join(choices.one_of(LINES) for _ in range(choices.below(4)))
    interim = b"".join(choices.one_of(INTERIM) for _ in range(choices.below(3)))
    status = choices.one_of([b"200 OK", b"429 Too Many Requests", b"529 ", b"204 No Content", b"304 Not Modified", b"200"])
    head = b"%bHTTP/1.1 %b\r\n%b" % (interim, status, lines)
    is_last = choices.chance(20)
    if is_last:
        head += b"connection: close\r\n"
    if status[:3] in (b"204", b"304"):
        return b"", not is_last, head + b"\r\n"
    how = choices.below(3)
    if how == 0:
        return body, not is_last, b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    if how == 1:
        return body, False, b"%b\r\n%b" % (head.replace(b"Connection: keep-alive\r\n", b""), body)
    parts, at = [], 0
    while at < len(body):
        size = choices.below(200) + 1
        parts.append(chunk(body[at : at + size]))
        at += size
    return body, not is_last, b"%btransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % (head, b"".join(parts))


class _Reader:
    """What llhttp makes of the bytes from the final head on."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.bodies: list[bytes] = []
        self.is_clean = False
        self.is_whole = False

    def on_message_begin(self) -> None:
        self.bodies.append(b"")
        self.is_whole = False

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        self.is_whole = True


def _read_by_llhttp(stream: bytes) -> _Reader:
    reader = _Reader()
    while stream.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and b"\r\n\r\n" in stream:
        stream = stream.partition(b"\r\n\r\n")[2]
    try:
        reader.parser.feed_data(stream)
        reader.is_clean = reader.is_whole
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    reader.bodies = reader.bodies or [b""]
    return reader
