"""Framing of requests, without a socket: the same bytes always mean the same requests, however they are cut."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostile_http import CHUNKED, HOSTILE, POST
from tests.unit.table import every
from tests.wire_harness import Seen, Wire, serve

from claudeops.sidecar.answer import framing_refusal
from claudeops.wire.http1 import RequestHead
from claudeops.wire.listener import ServerContext
from claudeops.wire.memo import HEAD_BYTES
from claudeops.wire.server import IDLE_TICKS, ServerConnection

PLAIN = POST + b"content-length: 5\r\n\r\nhello"
IN_CHUNKS = CHUNKED + b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nx-a: b\r\n\r\n"
EMPTY = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
SEVERAL = [PLAIN, IN_CHUNKS, EMPTY, b"\r\n\r\n" + PLAIN, IN_CHUNKS, PLAIN]
BODIES = [b"hello", b"hello", b"", b"hello", b"hello", b"hello"]


def cut(stream: bytes, points: list[int]) -> list[bytes]:
    bounds = [0, *sorted(point % (len(stream) + 1) for point in points), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(bounds) if stop > start]


@given(st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
@settings(max_examples=50)
def test_pipelined_requests_are_the_same_however_they_are_cut(points: list[int], is_late: bool) -> None:
    seen = serve(cut(b"".join(SEVERAL), points), is_late=is_late)
    assert [body for *_, body in seen.requests] == BODIES
    assert seen.statuses == (200,) * 6
    assert not seen.is_closed


def test_pipelined_requests_that_come_byte_by_byte_are_the_same() -> None:
    stream = b"".join(SEVERAL)
    seen = serve([stream[at : at + 1] for at in range(len(stream))])
    assert seen == serve([stream])
    assert [body for *_, body in seen.requests] == BODIES


@every("name", [name for name, (sent, _) in HOSTILE.items() if len(sent) < 600])
def test_a_hostile_request_is_refused_however_it_is_cut(name: str) -> None:
    sent, status = HOSTILE[name]
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))], [sent[at : at + 7] for at in range(0, len(sent), 7)]):
        assert serve(pieces) == Seen((), (status,), True)


def test_thousands_of_pipelined_requests_that_are_answered_at_once_do_not_nest() -> None:
    seen = serve([EMPTY * 5_000])
    assert len(seen.requests) == len(seen.statuses) == 5_000


def test_what_a_client_sends_ahead_is_read_only_as_far_as_a_head_may_be_long() -> None:
    pieces = [PLAIN * 100] * 40
    assert len(serve(pieces, is_late=True).requests) == 4_000


def test_a_large_body_is_never_held_twice() -> None:
    context = ServerContext(lambda head, body, connection: None, framing_refusal, max_body_bytes=1 << 24)
    part = bytes(range(256)) * 256
    size = 100 * len(part)
    pieces = [POST + b"content-length: %d\r\n\r\n" % size, *[part] * 100]
    seen = serve(pieces, context=context)
    assert seen.requests[0][3] == part * 100
    held = BytesIO()
    held.write(b"x" * 2_000_000)
    assert held.getvalue() is held.getvalue(), "what Collector builds on: the buffer itself is handed out"


class Clock:
    """One connection and the sweeps over it."""

    def __init__(self) -> None:
        self.context = ServerContext(lambda head, body, connection: None, framing_refusal, max_body_bytes=1 << 24)
        self.connection = self.context.new_connection()
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def sweep(self, times: int) -> None:
        for _ in range(times):
            self.context.sweep()


@pytest.mark.parametrize("begun", [b"P", POST[:-5], POST, CHUNKED, CHUNKED + b"5\r\nhe", POST + b"content-length: 100\r\n\r\nhe"])
def test_a_request_that_trickles_in_is_refused_after_its_time(begun: bytes) -> None:
    clock = Clock()
    clock.connection.data_received(begun)
    rest = b"x" if b"chunked" not in begun else b""
    for _ in range(30):
        clock.sweep(1)
        assert not clock.wire.written
        if rest:
            clock.connection.data_received(rest)
    clock.sweep(1)
    assert clock.wire.written.startswith(b"HTTP/1.1 408 ")
    assert clock.wire.is_ended
    clock.sweep(2)
    assert clock.wire.is_closing


@pytest.mark.parametrize(("bytes_per_sweep", "is_served"), [(20_000, True), (10_000, False)])
def test_a_large_body_may_take_its_time_as_long_as_it_comes(bytes_per_sweep: int, is_served: bool) -> None:
    clock = Clock()
    clock.connection.data_received(POST + b"content-length: 5000000\r\n\r\n")
    for _ in range(100):
        clock.connection.data_received(b"x" * bytes_per_sweep)
        clock.sweep(1)
    assert (clock.connection.head is not None) == is_served
    assert clock.wire.written.startswith(b"HTTP/1.1 408 ") != is_served


def test_only_heads_of_a_usual_length_are_remembered() -> None:
    context = ServerContext(lambda head, body, connection: None, framing_refusal)
    long_line = b"x-long: " + b"x" * HEAD_BYTES + b"\r\n"
    for extra in (b"", long_line):
        assert serve([POST + extra + b"content-length: 2\r\n\r\n{}"] * 2, context=context).statuses == (200, 200)
        assert len(context.memo) == 1


def test_an_idle_connection_is_closed_after_its_time() -> None:
    clock = Clock()
    clock.sweep(IDLE_TICKS)
    assert not clock.wire.is_closing
    clock.sweep(1)
    assert clock.wire.is_closing
    assert not clock.wire.written


def test_a_head_without_a_body_says_nothing_about_the_same_head_with_one() -> None:
    offered: list[int] = []

    def decline(head: RequestHead, connection: ServerConnection) -> None:
        offered.append(head.length)

    context = ServerContext(lambda head, body, connection: None, framing_refusal, handle_head=decline)
    requests = [POST + b"content-length: %d\r\n\r\n" % length + b"x" * length for length in (0, 5, 7)]
    seen = serve(requests, context=context)
    assert [body for *_, body in seen.requests] == [b"", b"x" * 5, b"x" * 7]
    assert offered == [5], "what was declined once is not offered again"
