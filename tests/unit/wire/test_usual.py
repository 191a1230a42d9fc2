"""What is known again without being parsed, on either side: it must be what the parser would have said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.table import every
from tests.wire_harness import Answered, answered

from claudeops.wire import transit as transit_module
from claudeops.wire.http1 import HEAD_END, RequestHead
from claudeops.wire.memo import Repeat, memo_key
from claudeops.wire.usual_head import HEAD_BYTES, usual_head

interpreted = pytest.mark.skipif(not transit_module.__file__.endswith(".py"), reason="a compiled Transit has no interpreted subclasses")
HEAD = b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026\r\nContent-Length: 5\r\nrequest-id: req_011CSHo\r\nx-a:b"
NEXT = (
    HEAD.replace(b"Mon, 23", b"Tue, 24")
    .replace(b"Length: 5", b"Length: 12")
    .replace(b"req_011CSHo", b"req_011CSHpQr")
    .replace(b"a:b", b"a:")
)
REQUEST = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nx-a: b\r\n\r\n" + b"0123456789"
HOSTILE = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\0", b":", b" ", b"\t", b"\xff", b"0", b"-", b"+5", b"05", b"1", b"6", b"hello", b"HTTP/1.1 204 OK"),
    *(b"\r\ncontent-length: 5", b"\r\ntransfer-encoding: chunked", b"\r\nconnection: close"),
)
PIECES = st.one_of(st.binary(max_size=2), st.sampled_from(HOSTILE))
SPLICES = st.tuples(st.integers(0, 200), st.integers(0, 3), PIECES)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def spliced(data: bytes, at: int, size: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + size :]


@interpreted
@given(st.sampled_from([HEAD + HEAD_END + b"hello", NEXT + HEAD_END + b"hello, world"]), SPLICES)
@settings(max_examples=50)
def test_an_answer_is_the_same_whether_one_like_it_came_before(
    loop: asyncio.AbstractEventLoop, data: bytes, splice: tuple[int, int, bytes]
) -> None:
    data = spliced(data, *splice)
    usual = usual_head(NEXT, usual_head(HEAD, None))
    assert usual is not None
    assert answered([data], loop, usual=usual, is_behind_read=True) == answered([data], loop, is_behind_read=True)


@interpreted
def test_a_head_is_known_again_when_values_change_that_have_changed_before(loop: asyncio.AbstractEventLoop) -> None:
    usual = usual_head(HEAD, None)
    assert usual is not None
    assert usual.head_of(HEAD.replace(b"Length: 5", b"Length: 12") + HEAD_END + b"hello, world")
    assert not usual.head_of(NEXT + HEAD_END + b"hello, world")
    usual = usual_head(NEXT, usual)
    assert usual is not None
    for head, body in ((HEAD, b"hello"), (NEXT, b"hello, world"), (HEAD, b"hello")):
        assert usual.head_of(head + HEAD_END + body) == head
        assert answered([head + HEAD_END + body], loop, usual=usual) == Answered(200, head, body, "complete", True)


@every(
    "head",
    [
        HEAD.replace(b"200 OK", b"429 Too Many Requests"),
        HEAD.replace(b"/1.1", b"/1.0"),
        HEAD.replace(b"Content-Length: 5\r\n", b""),
        HEAD.replace(b"Length: 5", b"Length: 5 "),
        HEAD + b"\r\nConnection: close",
        HEAD + b"\r\nkeep-alive: timeout=5",
        HEAD + b"\r\ntransfer-encoding: chunked",
        HEAD + b"\r\ncontent-length: 5",
        HEAD + b"\r\n folded: x",
        HEAD + b"\r\nx-b: " + b"c" * HEAD_BYTES,
    ],
)
def test_a_head_that_says_more_of_its_framing_than_a_length_is_never_usual(head: bytes) -> None:
    assert usual_head(head, None) is None


@given(SPLICES)
@settings(max_examples=50)
def test_a_request_that_is_known_again_is_what_the_memo_would_find(splice: tuple[int, int, bytes]) -> None:
    known = memo_key(REQUEST, REQUEST.find(HEAD_END))
    assert known is not None
    repeat = Repeat(known[0], RequestHead(b"POST", b"/v1/messages", {}, b""), known[1])
    assert repeat.body_at(REQUEST) == len(REQUEST) - 10
    data = spliced(REQUEST, *splice)
    at = repeat.body_at(data)
    end = data.find(HEAD_END)
    found = memo_key(data, end) if end >= 0 else None
    is_whole = found is not None and len(data) == end + 4 + found[1] and found[0] == known[0] and len(str(found[1])) == 2
    assert at == (end + 4 if is_whole and data[at - len(HEAD_END) : at] == HEAD_END else 0)


def test_a_negative_length_is_no_length() -> None:
    known = memo_key(REQUEST.replace(b"10", b"100"), REQUEST.find(HEAD_END) + 1)
    assert known is not None
    repeat = Repeat(known[0], RequestHead(b"POST", b"/v1/messages", {}, b""), known[1])
    assert repeat.body_at(REQUEST[:-10].replace(b"10", b"-1")) == 0
