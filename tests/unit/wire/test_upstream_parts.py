"""The pure parts of reaching the upstream: the order of addresses, a proxy's answer, heads between HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.wire.http2_head import answer_head, request_headers, split_goaway
from claudeops.wire.resolver import SocketAddress, interleave
from claudeops.wire.tunnel import check_answer

V4 = [SocketAddress(socket.AF_INET, (f"10.0.0.{number}", 443)) for number in range(4)]
V6 = [SocketAddress(socket.AF_INET6, (f"fd00::{number}", 443, 0, 0)) for number in range(4)]


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([V6[0], V6[1], V4[0], V4[1]], [V6[0], V4[0], V6[1], V4[1]]),
        ([V4[0], V4[1], V4[2], V6[0]], [V4[0], V6[0], V4[1], V4[2]]),
        ([V4[0], V4[0], V4[1]], [V4[0], V4[1]]),
        ([], []),
    ],
    ids=["v6-first", "few-v6", "twice", "none"],
)
def test_families_take_turns_in_the_resolver_s_order(found: list[SocketAddress], order: list[SocketAddress]) -> None:
    assert interleave(tuple(found)) == tuple(order)


def test_a_tunnel_is_open_only_after_a_2xx_with_nothing_behind_it() -> None:
    check_answer(b"HTTP/1.0 200 Connection established\r\nvia: x\r\n\r\n", "api:443")
    for head, words in (
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused a tunnel to api:443: 407 Proxy Authentication Required"),
        (b"HTTP/1.1 502\r\n\r\n", "refused a tunnel to api:443: 502"),
        (b"HTTP/2 200\r\n\r\n", "is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", "bytes into the tunnel"),
    ):
        with pytest.raises(OSError, match=words):
            check_answer(head, "api:443")


def test_a_request_head_becomes_pseudo_headers_and_lower_case_names() -> None:
    lines = [b"POST /v1/messages?beta=true HTTP/1.1", b"Host: api", b"X-Odd:  a: b ", b"Connection: close", b"x-api-key: k"]
    head = b"\r\n".join([*lines, b"content-length: 2", b"", b""])
    assert request_headers(head, b"https") == [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"api"),
        (b":path", b"/v1/messages?beta=true"),
        (b"x-odd", b"a: b"),
        (b"x-api-key", b"k"),
        (b"content-length", b"2"),
    ]


def test_an_answer_s_head_becomes_a_status_line_and_lines() -> None:
    assert answer_head([(b":status", b"529"), (b"request-id", b"req_1"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]) == (
        529,
        b"HTTP/1.1 529 Overloaded\r\nrequest-id: req_1\r\nset-cookie: a\r\nset-cookie: b",
    )


@pytest.mark.parametrize("headers", [[], [(b":status", b"103")], [(b":status", b"200"), (b"a", b"b\r\nc: d")], [(b":status", b"two")]])
def test_a_head_that_http_1_cannot_say_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ValueError):
        answer_head(headers)


def frame(kind: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 1]) + body


FRAMES = st.lists(st.tuples(st.sampled_from([0, 1, 7]), st.binary(min_size=8, max_size=20)), max_size=6)


@settings(max_examples=40, deadline=None)
@given(frames=FRAMES, cut=st.integers(0, 200))
def test_goaway_is_taken_out_wherever_the_bytes_are_cut(frames: list[tuple[int, bytes]], cut: int) -> None:
    data = b"".join(frame(kind, body) for kind, body in frames)
    first, rest, found = split_goaway(data[:cut], 16_384)
    second, left, more = split_goaway(rest + data[cut:], 16_384)
    assert left == b""
    assert first + second == b"".join(frame(kind, body) for kind, body in frames if kind != 7)
    expected = [struct.unpack("!II", body[:8]) for kind, body in frames if kind == 7]
    assert found + more == [(last & 0x7FFF_FFFF, code) for last, code in expected]


def test_a_frame_too_large_or_a_goaway_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="larger"):
        split_goaway(b"\x01\x00\x00\x00\x00\x00\x00\x00\x01", 16_384)
    with pytest.raises(ValueError, match="GOAWAY"):
        split_goaway(frame(7, b"1234567"), 16_384)
