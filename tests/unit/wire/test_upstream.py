"""Framing of answers, without a socket: every byte before a break counts, and nothing behind an end does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.unit.table import every
from tests.wire_harness import Answered, answered

from claudeops.wire import transit as transit_module

pytestmark = pytest.mark.skipif(not transit_module.__file__.endswith(".py"), reason="a compiled Transit has no interpreted subclasses")
HEAD = b"HTTP/1.1 200 OK\r\nx-a: b"
CHUNKED = HEAD + b"\r\ntransfer-encoding: chunked"
LENGTH = HEAD + b"\r\ncontent-length: 5"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


CASES: dict[str, tuple[bytes, Answered]] = {
    "a length": (LENGTH + b"\r\n\r\nhello", Answered(200, LENGTH, b"hello", "complete", True)),
    "chunks": (CHUNKED + b"\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", Answered(200, CHUNKED, b"hello", "complete", True)),
    "until the end": (HEAD + b"\r\n\r\nhello", Answered(200, HEAD, b"hello", "complete", False)),
    "interim heads": (INTERIM + LENGTH + b"\r\n\r\nhello", Answered(200, LENGTH, b"hello", "complete", True)),
    "nothing behind the head": (
        HEAD.replace(b"200 OK", b"204 No Content") + b"\r\n\r\n",
        Answered(204, HEAD.replace(b"200 OK", b"204 No Content"), b"", "complete", True),
    ),
    "the last answer": (
        LENGTH + b"\r\nconnection: close\r\n\r\nhello",
        Answered(200, LENGTH + b"\r\nconnection: close", b"hello", "complete", False),
    ),
    "HTTP/1.0": (
        LENGTH.replace(b"/1.1", b"/1.0") + b"\r\n\r\nhello",
        Answered(200, LENGTH.replace(b"/1.1", b"/1.0"), b"hello", "complete", False),
    ),
    "cut within a length": (LENGTH + b"\r\n\r\nhel", Answered(200, LENGTH, b"hel", "failed", False)),
    "cut within chunks": (CHUNKED + b"\r\n\r\n3\r\nhel\r\n", Answered(200, CHUNKED, b"hel", "failed", False)),
    "nonsense behind a chunk": (CHUNKED + b"\r\n\r\n3\r\nhel\r\nzz\r\n", Answered(200, CHUNKED, b"hel", "failed", False)),
    "a chunk that is too long": (CHUNKED + b"\r\n\r\n3\r\nhello\r\n", Answered(200, CHUNKED, b"hel", "failed", False)),
}
PIECES = ["whole", "byte by byte", "a head and a body", "in two"]


def cut(stream: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [stream]
    if how == "byte by byte":
        return [stream[at : at + 1] for at in range(len(stream))]
    at = stream.rindex(b"\r\n\r\n", 0, -4) + 4 if how == "a head and a body" and b"\r\n\r\n" in stream[:-4] else len(stream) // 2
    return [stream[:at], stream[at:]]


@every("how", PIECES)
@every("name", CASES)
def test_an_answer_is_the_same_however_it_is_cut(name: str, how: str, loop: asyncio.AbstractEventLoop) -> None:
    sent, expected = CASES[name]
    assert answered(cut(sent, how), loop) == expected


@every("how", PIECES)
@every(
    "sent",
    [
        b"nonsense that is no answer\r\n\r\n",
        b"\r\n\r\n" + LENGTH + b"\r\n\r\nhello",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        LENGTH + b"\r\ncontent-length: 6\r\n\r\nhello!",
        CHUNKED + b"\r\ncontent-length: 5\r\n\r\nhello",
        HEAD + b"\r\nx : y\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"\r\nx: y\nz: a\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"\r\nx: " + b"y" * 70_000,
    ],
)
def test_nonsense_is_a_failure_before_anything_is_told(sent: bytes, how: str, loop: asyncio.AbstractEventLoop) -> None:
    if how == "byte by byte" and len(sent) > 1_000:
        how = "in two"
    assert answered(cut(sent, how), loop) == Answered(0, b"", b"", "failed", False)


@every("extra", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"\x00", LENGTH])
@every("is_together", [False, True])
def test_what_comes_behind_an_answer_is_nobodys_and_ends_the_connection(
    extra: bytes, is_together: bool, loop: asyncio.AbstractEventLoop
) -> None:
    sent = LENGTH + b"\r\n\r\nhello"
    pieces = [sent + extra] if is_together else [sent, extra]
    seen = answered(pieces, loop, is_behind_read=True)
    assert seen == Answered(200, LENGTH, b"hello", "complete", False)
