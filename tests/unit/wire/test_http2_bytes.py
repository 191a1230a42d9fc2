"""Whatever bytes an upstream sends over HTTP/2, every request ends exactly once, and nothing is raised into the event loop."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from random import Random
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.wire.dial import Address, Dialer
from claudeops.wire.http2 import Http2Connection
from claudeops.wire.http2_pool import Http2Pool

REQUEST = (b"POST /v1/messages HTTP/1.1\r\nhost: api\r\nx-api-key: k\r\ncontent-length: 2\r\n\r\n", b"{}")


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no buffer."""

    def get_extra_info(self, name: str) -> None:
        return None

    def abort(self) -> None:
        self.is_closed = True

    close = abort


class Recorder:
    """What a transit is told."""

    upstream: Any = None

    def __init__(self) -> None:
        self.told: list[str] = []
        self.body = b""

    @property
    def is_over(self) -> bool:
        return bool(self.told) and self.told[-1] in ("end", "failed")

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        assert self.told == []
        self.told.append("head")
        self.more(body, is_complete)

    def more(self, body: bytes, is_complete: bool) -> None:
        assert self.told[-1] == "head"
        self.body += body
        if is_complete:
            self.told.append("end")

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        assert not self.is_over
        self.told.append("failed")


def answer_bytes(asked: bytes) -> bytes:
    """A right answer to every request in ``asked``, in small frames."""
    peer = H2Connection(H2Configuration(client_side=False))
    peer.initiate_connection()
    for event in peer.receive_data(asked):
        if isinstance(event, RequestReceived):
            peer.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/json")])
            peer.send_data(event.stream_id, b'{"a":')
            peer.send_data(event.stream_id, b"1}", end_stream=True)
    return peer.data_to_send()


def open_connection(loop: asyncio.AbstractEventLoop) -> tuple[Http2Connection, Wire]:
    pool = Http2Pool(Dialer(loop, Random(7)), Address("api", 443), limit=10, connect_timeout_s=1.0)
    connection = Http2Connection(pool)
    connection.retires_at = 1_000
    wire: Any = Wire()
    connection.connection_made(wire)
    pool.connections.append(connection)
    return connection, wire


def converse(mutate: Any, cuts: list[int]) -> list[Recorder]:
    loop = asyncio.new_event_loop()
    connection, wire = open_connection(loop)
    transits: list[Any] = [Recorder() for _ in range(3)]
    for transit in transits:
        connection.begin(transit, REQUEST)
    data = mutate(answer_bytes(wire.written))
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        if not wire.is_closed:
            connection.data_received(data[start:stop])
    connection.connection_lost(None)
    assert connection.streams == {}
    loop.close()
    return transits


def test_a_right_answer_is_told_in_order_wherever_it_is_cut() -> None:
    for cuts in ([], [1, 9, 10, 50], list(range(200))):
        for transit in converse(lambda data: data, cuts):
            assert (transit.told, transit.body) == (["head", "end"], b'{"a":1}')


@settings(max_examples=50, deadline=None)
@given(
    at=st.integers(0, 400),
    junk=st.binary(max_size=20),
    removed=st.integers(0, 20),
    cuts=st.lists(st.integers(0, 400), max_size=3),
)
def test_a_wrong_one_ends_every_request_once(at: int, junk: bytes, removed: int, cuts: list[int]) -> None:
    for transit in converse(lambda data: data[:at] + junk + data[at + removed :], cuts):
        assert transit.is_over
        assert transit.upstream is None
