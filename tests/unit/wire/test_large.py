"""Large requests: read into a buffer of ours they are what they would be otherwise."""

from __future__ import annotations

import pytest
from tests.hostile_http import POST
from tests.wire_harness import Seen, Wire, serve

from claudeops.sidecar.answer import framing_refusal
from claudeops.wire.large import LARGE_BYTES, LargeReader
from claudeops.wire.listener import ServerContext

BODIES = [bytes([65 + number]) * (LARGE_BYTES + 1000 * number) for number in range(4)]
FIRST, SECOND, THIRD, FOURTH = (POST + b"content-length: %d\r\n\r\n%b" % (len(body), body) for body in BODIES)
OTHER = POST.replace(b"\r\n", b"\r\nx-other: 1\r\n", 1)
LENGTH = b"content-length: %d\r\n\r\n"
EMPTY, PLAIN = POST + LENGTH % 0, POST + LENGTH % 5 + b"hello"


def connections() -> ServerContext:
    return ServerContext(lambda head, body, connection: None, framing_refusal, max_body_bytes=1 << 20)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    "then",
    [
        [THIRD, FOURTH],
        [THIRD[:100], THIRD[100:], FOURTH[:70_000], FOURTH[70_000:]],
        [THIRD + FOURTH],
        [THIRD + FOURTH[:90], FOURTH[90:]],
        [b"\r\n" + THIRD, FOURTH],
    ],
)
def test_a_large_request_is_read_the_same_way_however_it_comes(then: list[bytes], is_late: bool) -> None:
    seen = serve([FIRST, SECOND, *then, PLAIN], is_late=is_late, context=connections())
    assert [body for *_, body in seen.requests[:-1]] == BODIES
    assert seen.statuses == (200,) * 5


def test_a_small_request_or_another_head_may_follow_a_large_one() -> None:
    other = OTHER + LENGTH % len(BODIES[3]) + BODIES[3]
    seen = serve([FIRST, SECOND, PLAIN, EMPTY, other, THIRD], context=connections())
    assert seen.statuses == (200,) * 6
    assert [len(body) for *_, body in seen.requests][4:] == [len(BODIES[3]), len(BODIES[2])]
    assert b"x-other" in seen.requests[4][2]


def test_a_body_that_is_too_large_is_refused_however_it_is_read() -> None:
    context = ServerContext(lambda head, body, connection: None, framing_refusal, max_body_bytes=len(BODIES[1]))
    assert serve([FIRST, SECOND, THIRD], context=context)[1:] == Seen((), (200, 200, 413), True)[1:]


def test_what_is_no_request_is_refused_however_it_is_read() -> None:
    broken = THIRD.replace(b"HTTP/1.1", b"HTTP/9.9", 1)
    assert serve([FIRST, SECOND, broken], context=connections())[1:] == Seen((), (200, 200, 400), True)[1:]


def test_only_a_connection_that_brings_large_requests_reads_into_the_buffer() -> None:
    context = connections()
    context.handle = lambda head, body, connection: connection.finish()
    wire = Wire()
    connection = context.new_connection()
    connection.connection_made(wire)
    for data, is_buffered in ((PLAIN, False), (PLAIN, False), (FIRST, True), (PLAIN, True)):
        wire.read(connection, data)
        assert isinstance(wire.protocol, LargeReader) == is_buffered
