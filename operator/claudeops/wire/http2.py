"""One HTTP/2 connection to the upstream, shared by many requests. h2 speaks the protocol; this moves bytes and keeps the pace.

Optional: imported only where a configuration asks for HTTP/2. What goes in and out of it is what the HTTP/1.1 side takes and gives.
"""

from __future__ import annotations

from asyncio import Future, Transport
from typing import TYPE_CHECKING, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from claudeops.wire.http2_head import answer_head, request_headers, split_goaway
from claudeops.wire.transit import Carrier, Transit

if TYPE_CHECKING:
    from claudeops.wire.http2_pool import Http2Pool
    from claudeops.wire.pool import Request

STREAM_WINDOW_BYTES: Final = 262_144
"""The most that arrives for a client which does not read."""
CONNECTION_WINDOW_BYTES: Final = 16_777_216
"""For all streams together: far above what is under way, so that slow ones do not hold up the others."""
FRAME_MAX_BYTES: Final = 16_384
HEAD_MAX_BYTES: Final = 65_536
STREAMS_MAX: Final = 100
"""Requests at once on one connection, or fewer if the upstream says so: one lost connection is at most so many failed requests."""
LAST_STREAM_ID: Final = 2**30
PING_TICKS: Final = 15
"""Seconds of silence until a PING, and from there until the connection counts as dead."""


class Http2Connection:
    """Streams of one connection. ``idle_since``, ``retires_at``: ticks of the pool."""

    __slots__ = (
        "blocked", "consumed", "h2", "heard_at", "idle_since", "is_draining", "is_full", "is_open", "is_pinged", "pool", "reads", "ready",
        "refused_at", "rest", "retires_at", "served", "streams", "touched", "transport",
    )  # fmt: skip

    def __init__(self, pool: Http2Pool) -> None:
        self.pool = pool
        self.transport: Transport = None  # type: ignore[assignment]
        self.h2 = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False))
        self.streams: dict[int, Http2Stream] = {}
        self.blocked: dict[int, Http2Stream] = {}
        """Those whose request body waits for the upstream's window."""
        self.touched: list[Http2Stream] = []
        """Those that this read has brought something for."""
        self.ready: Future[None] = pool.loop.create_future()
        """Done when the upstream has said how many requests it takes; failed if it never will."""
        self.refused_at = -1
        """The tick in which the upstream last refused a request here."""
        self.rest = b""
        self.consumed = 0
        self.reads = 0
        self.served = 0
        self.heard_at = pool.tick
        self.idle_since = pool.tick
        self.retires_at = 0
        self.is_open = False
        self.is_draining = False
        self.is_full = False
        self.is_pinged = False

    @property
    def has_room(self) -> bool:
        """May another request begin here?"""
        if not self.is_open or self.is_draining or self.refused_at == self.pool.tick or self.pool.tick >= self.retires_at:
            return False
        return len(self.streams) < min(STREAMS_MAX, self.h2.remote_settings.max_concurrent_streams)

    # -- from the pool

    def begin(self, transit: Transit, request: Request) -> None:
        """Send a request; the transit hears of the answer."""
        number = self.h2.get_next_available_stream_id()
        self.is_draining = self.is_draining or number >= LAST_STREAM_ID
        stream = Http2Stream(self, number, transit, request)
        self.streams[number] = stream
        transit.upstream = stream
        body = stream.body
        scheme = b"http" if self.pool.address.tls is None else b"https"
        self.h2.send_headers(number, request_headers(bytes(request[0]), scheme), end_stream=not body)
        if body:
            self._send_body(stream)
        self.flush()

    def check(self, tick: int) -> None:
        """Once a second: is anybody there?"""
        silent = tick - self.heard_at
        if silent < PING_TICKS:
            self.is_pinged = False
        elif not self.is_pinged:
            self.is_pinged = True
            self.h2.ping(b"claudeop")
            self.flush()
        elif silent >= 2 * PING_TICKS:
            self._break("the upstream's connection is dead: it answered no PING")

    def close(self) -> None:
        """Close at once; nothing may be under way."""
        if self.is_open:
            self.is_open = False
            self.h2.close_connection()
            self.flush()
            self.transport.close()

    def flush(self) -> None:
        """Write what h2 wants written."""
        data = self.h2.data_to_send()
        if data:
            self.transport.write(data)

    # -- transport callbacks

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        self.is_open = True
        transport.set_write_buffer_limits(high=65_536)
        self.h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: FRAME_MAX_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_MAX_BYTES,
            },
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65_535)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.pool.tick
        self.reads += 1
        try:
            frames, self.rest, goaways = split_goaway(self.rest + data if self.rest else data, FRAME_MAX_BYTES)
            for event in self.h2.receive_data(frames):
                self._take(event)
        except (ProtocolError, ValueError) as error:
            self.flush()
            return self._break(f"the upstream's answer is not valid HTTP/2: {error}")
        self._deliver()
        if self.blocked and not self.is_full:
            for stream in list(self.blocked.values()):
                self._send_body(stream)
        for last_id, code in goaways:
            self._go_away(last_id, code)
        if self.is_open:
            self._open_connection_window()
            self.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._break("the upstream closed the connection")

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        for stream in list(self.blocked.values()):
            self._send_body(stream)
        self.flush()

    # -- parts

    def _take(self, event: Event) -> None:
        """Note what one event brings; nobody is told before the whole read has been looked at."""
        if isinstance(event, DataReceived):
            self.consumed += event.flow_controlled_length
        elif isinstance(event, RemoteSettingsChanged) and not self.ready.done():
            self.ready.set_result(None)
        stream = self.streams.get(getattr(event, "stream_id", 0))
        if stream is not None and self._note(stream, event) and not stream.is_touched:
            stream.is_touched = True
            self.touched.append(stream)

    def _note(self, stream: Http2Stream, event: Event) -> bool:
        """Does the event bring something for this stream's request?"""
        if isinstance(event, DataReceived):
            stream.parts.append(event.data)
            stream.owed += event.flow_controlled_length
        elif isinstance(event, ResponseReceived):
            stream.status, stream.head = answer_head(event.headers)
        elif isinstance(event, StreamEnded):
            stream.is_complete = True
        elif isinstance(event, StreamReset):
            stream.failure = event.error_code
        else:
            return False
        return True

    def _deliver(self) -> None:
        touched, self.touched = self.touched, []
        for stream in touched:
            stream.is_touched = False
            if stream.number in self.streams:  # what was told before may have ended this one
                stream.deliver()

    def _send_body(self, stream: Http2Stream) -> None:
        """As much of the request's body as the upstream and the socket take."""
        body = stream.body
        number = stream.number
        while not self.is_full:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                break
            part = body[stream.sent : stream.sent + room]
            stream.sent += len(part)
            is_last = stream.sent >= len(body)
            self.h2.send_data(number, part, end_stream=is_last)
            if is_last:
                self.blocked.pop(number, None)
                return
            if stream.sent % 65_536 < FRAME_MAX_BYTES:
                self.flush()  # so that the socket's buffer can say that it is full
        self.blocked[number] = stream

    def _open_connection_window(self) -> None:
        """What has been read may come again, whichever client has taken it: streams hold back by their own windows."""
        if self.consumed >= CONNECTION_WINDOW_BYTES // 4:
            self.h2.increment_flow_control_window(self.consumed)
            self.consumed = 0

    def end(self, stream: Http2Stream, *, code: ErrorCodes | None = None) -> None:
        """The stream is over; with a code it is reset."""
        del self.streams[stream.number]
        is_unsent = self.blocked.pop(stream.number, None) is not None
        if self.is_open and stream.failure is None and (is_unsent or (code is not None and not stream.is_complete)):
            self.h2.reset_stream(stream.number, ErrorCodes.NO_ERROR if code is None else code)
            self.flush()
        if not self.streams:
            self.idle_since = self.pool.tick
        self.pool.ended(self)

    def _go_away(self, last_id: int, code: int) -> None:
        """No new requests here. What the upstream has not begun is sent elsewhere (RFC 9113 section 6.8); the rest runs to its end."""
        self.is_draining = True
        for stream in [stream for number, stream in self.streams.items() if number > last_id]:
            if self.served:
                stream.send_again()
            else:
                stream.fail("the upstream turned the connection away")
        if not self.streams:
            self.close()
        self.pool.ended(self)

    def _break(self, reason: str) -> None:
        """The connection is gone, or of no use any longer."""
        if self.is_open:
            self.is_open = False
            self.transport.abort()
        if not self.ready.done():
            self.ready.set_exception(OSError(reason))
            self.ready.exception()  # whoever waits for it may have given up: then nobody else looks
        self.pool.lost_connection(self)
        for stream in list(self.streams.values()):
            if stream.reads_at == self.reads and self.served and not stream.head:
                stream.send_again()  # a connection that had gone stale
            else:
                stream.fail(reason)


class Http2Stream(Carrier):
    """One request on a shared connection."""

    __slots__ = (
        "body", "connection", "failure", "has_head", "head", "is_complete", "is_paused", "is_touched", "number", "owed", "parts",
        "reads_at", "request", "sent", "status", "transit",
    )  # fmt: skip

    def __init__(self, connection: Http2Connection, number: int, transit: Transit, request: Request) -> None:
        self.connection = connection
        self.number = number
        self.transit = transit
        self.request = request
        self.body = b"".join(request[1:])
        self.reads_at = connection.reads
        self.status = 0
        self.head = b""
        self.parts: list[bytes] = []
        self.owed = 0
        """Bytes read that the upstream has not been given the room for again."""
        self.sent = 0
        self.failure: ErrorCodes | int | None = None
        self.has_head = False
        self.is_complete = False
        self.is_paused = False
        self.is_touched = False

    @property
    def is_held(self) -> bool:
        return self.is_paused

    def abandon(self) -> None:
        if self.number in self.connection.streams:
            self.connection.end(self, code=ErrorCodes.CANCEL)

    def slow(self, is_slow: bool) -> None:
        self.is_paused = is_slow
        if not is_slow and self.number in self.connection.streams:
            self._open_window()
            self.connection.flush()

    def deliver(self) -> None:
        """Tell the transit what has come."""
        if self.failure is not None and not self.is_complete:
            return self._reset()
        parts = self.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        transit = self.transit
        if self.is_complete:
            transit.upstream = None
            self.connection.served += 1
            self.connection.end(self)
        elif not self.is_paused:
            self._open_window()
        if self.has_head:
            transit.more(body, self.is_complete)
        elif self.head:
            self.has_head = True
            transit.response(self.status, self.head, body, self.is_complete)

    def send_again(self) -> None:
        """The upstream has not begun to work on it."""
        transit = self.transit
        transit.upstream = None
        self.connection.end(self)
        self.connection.pool.send(transit, self.request)

    def fail(self, reason: str) -> None:
        """Nothing more will come."""
        transit = self.transit
        transit.upstream = None
        self.connection.end(self)
        transit.failed(reason, is_unreachable=False)

    def _reset(self) -> None:
        connection = self.connection
        if self.failure == ErrorCodes.REFUSED_STREAM and not self.head and connection.served:
            connection.refused_at = connection.pool.tick  # at once it would refuse the next one too
            return self.send_again()
        body = b"".join(self.parts)
        if body and self.has_head:
            self.transit.more(body, False)
        if self.number in self.connection.streams:
            self.fail(f"the upstream reset the stream: {_name(self.failure)}")

    def _open_window(self) -> None:
        if self.owed >= STREAM_WINDOW_BYTES // 4 and not self.is_complete:
            self.connection.h2.increment_flow_control_window(self.owed, self.number)
            self.owed = 0


def _name(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)
