"""Heads: what is forwarded, what is not, and what the memo may remember."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.wire.body import chunk
from claudeops.wire.http1 import header, json_answer, parse_request_head, without_hop_lines, without_length
from claudeops.wire.listener import NOTHING_DROPPED
from claudeops.wire.memo import memo_key

HEAD = (
    b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\nX-Api-Key: k\r\nContent-Length: 12\r\nX-Custom:  a b \r\n"
    b"Connection: x-hop\r\nX-Hop: 1"
)
NAME = st.text(string.ascii_letters + "-", min_size=1, max_size=11)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


def test_hop_by_hop_nominated_and_dropped_lines_are_not_forwarded() -> None:
    head = parse_request_head(HEAD, re.compile(rb"x-api-key"))
    assert head.forward == b"X-Custom:  a b \r\n"
    assert (head.method, head.path, head.target, head.length) == (b"POST", b"/v1/messages", b"/v1/messages?beta=true", 12)
    assert head.values[b"x-custom"] == b"a b"
    assert head.keep_alive


@pytest.mark.parametrize(
    ("version", "line", "keep_alive"), [(b"1.1", b"close", False), (b"1.0", b"keep-alive", False), (b"1.1", b"keep-alive", True)]
)
def test_a_connection_is_kept_only_as_the_client_says(version: bytes, line: bytes, keep_alive: bool) -> None:
    head = parse_request_head(b"GET / HTTP/" + version + b"\r\nHost: x\r\nConnection: " + line, NOTHING_DROPPED)
    assert head.keep_alive is keep_alive


@pytest.mark.parametrize("line", [b" folded", b"name : value", b"noline", b": empty", b"content-length: " + b"9" * 16])
def test_lines_that_may_be_read_in_two_ways_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"header line|content-length"):
        parse_request_head(b"GET / HTTP/1.1\r\nhost: x\r\n" + line, NOTHING_DROPPED)


def test_heads_that_differ_in_length_only_share_a_memo_key() -> None:
    first, second = (b"POST / HTTP/1.1\r\nA: 1\r\nContent-Length: %d\r\nB: 2\r\n\r\n" % n for n in (5, 12345))
    key, length = memo_key(first, first.find(b"\r\n\r\n")) or (b"", 0)
    assert length == 5
    assert memo_key(second, second.find(b"\r\n\r\n")) == (key, 12345)


@pytest.mark.parametrize("digits", [b"+5", b"5a", b"", b" 5", b"1" * 16, b"0x5"])
def test_a_length_that_is_not_plain_digits_is_never_memoized(digits: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: " + digits + b"\r\n\r\n"
    assert memo_key(head, head.find(b"\r\n\r\n")) is None


@given(st.lists(st.tuples(NAME, VALUE), max_size=8))
@settings(max_examples=50)
def test_every_end_to_end_line_is_forwarded_byte_for_byte(fields: list[tuple[str, str]]) -> None:
    lines = [f"x-{name}:{value}".encode() for name, value in fields]
    head = parse_request_head(b"\r\n".join([b"GET / HTTP/1.1", b"host: x", *lines]), NOTHING_DROPPED)
    assert head.forward == b"".join(line + b"\r\n" for line in lines)


def test_a_response_head_loses_the_lines_of_its_connection_only() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, X-Hop\r\n"
        b"X-Hop: 1\r\nKeep-Alive: timeout=5\r\nB: 2"
    )
    assert without_hop_lines(head, head.lower()) == b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2"
    twice = b"HTTP/1.1 200 OK\r\nConnection: x\r\nX: 1\r\nconnection: y\r\nY: 1\r\nA: 1"
    assert without_hop_lines(twice, twice.lower()) == b"HTTP/1.1 200 OK\r\nA: 1"
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nB: 2"
    assert without_hop_lines(plain, plain.lower()) is plain
    assert without_length(plain) == b"HTTP/1.1 200 OK\r\nB: 2"
    assert header(plain, plain.lower(), b"b") == b"2"
    assert header(plain, plain.lower(), b"c") == b""


def test_our_own_answers_are_framed() -> None:
    assert json_answer(529, b"{}", extra=b"a: b\r\n", keep_alive=False) == (
        b"HTTP/1.1 529 Overloaded\r\ncontent-type: application/json\r\na: b\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    )
    assert chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
    assert chunk(b"") == b"", "an empty chunk would end the body"
