"""The client side: frames HTTP/1.1 requests and hands each to the application. Knows nothing of Claude.

A request is handed over whole, by ``handle``. Where the context has ``handle_head``, that is asked about every request with a body
whose head has not been seen before: it may take the request before its body, by returning a :class:`Transit`, which then hears
``request_part`` and ``request_end``::

    client --data_received--> ServerConnection --request_part--> Transit --send_part--> Carrier --> upstream
    client <--pause_reading-- ServerConnection <------slow------ Transit <-upstream_slow- Carrier <-- its buffer is full

After ``slow(True)`` nothing is handed over until ``slow(False)``; what one read had brought is kept. The interim answer to
``expect: 100-continue`` is sent when the first part may come.
"""

from __future__ import annotations

from asyncio import Transport
from typing import TYPE_CHECKING, Final

from claudeops.wire.blank_lines import without_blank_lines
from claudeops.wire.body import ChunkedFraming, Framing, LengthFraming
from claudeops.wire.half_close import abort_if_reset, probe
from claudeops.wire.http1 import HEAD_END, RequestHead, read_request_head
from claudeops.wire.intake import ARRIVAL_TICKS, CONTINUE, LATE, Intake
from claudeops.wire.large import LARGE_BYTES, expect_large
from claudeops.wire.memo import REPEAT_BYTES, Repeat, memo_key, remember
from claudeops.wire.problem import BadRequest
from claudeops.wire.transit import Recipient, Transit
from claudeops.wire.unread import waiting_bytes

if TYPE_CHECKING:
    from claudeops.wire.listener import ServerContext

MAX_HEAD_BYTES: Final = 65_536
IDLE_TICKS: Final = 75
LINGER_TICKS: Final = 2


class ServerConnection(Recipient):
    """One client connection; serves one request at a time, in order.

    Its states: no request (``head`` is None; ``held`` is the beginning of a head) · a body arrives (``intake``) · the application
    works (neither; what arrives meanwhile is ``held``) · lingering: the last answer is out, and what still arrives is thrown away.
    """

    __slots__ = (
        "context", "has_answered", "head", "held", "intake", "is_closed", "is_eof", "is_full", "is_lingering", "is_reading_paused",
        "is_walking", "repeat", "since", "taken_at", "transit", "transport", "waiting",
    )  # fmt: skip

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.transport: Transport = None  # type: ignore[assignment]
        self.head: RequestHead | None = None
        self.transit: Transit | None = None
        self.intake: Intake | None = None
        self.held = b""
        self.repeat: Repeat | None = None
        self.since = 0
        self.has_answered = False  # bytes of the answer to the request under way have been written
        self.is_closed = False
        self.is_eof = False  # the client sends no more, and waits for its answers
        self.is_full = False  # answers wait for the client to read: the next request waits too, or they would pile up
        self.is_lingering = False
        self.is_reading_paused = False
        self.is_walking = False
        self.waiting = 0  # bytes of answers that the client has not taken, as of the last sweep; and since when so many
        self.taken_at = 0

    @property
    def is_idle(self) -> bool:
        """No request has begun."""
        return self.head is None and not self.held and not self.is_lingering

    @property
    def is_body_open(self) -> bool:
        """Body bytes of the request under way are still to come: an answer now ends the connection and must say so."""
        return self.intake is not None

    # -- transport callbacks

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=65_536)
        self.since = self.context.tick
        self.context.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            if not self.is_lingering:
                self._begin(self.held + data if self.held else data)
        elif self.intake is not None:
            self.intake.feed(data)
        else:
            self._hold(data)

    def eof_received(self) -> bool:
        if self.head is None or self.intake is not None:
            return False
        self.is_eof = True
        if not self.has_answered and not self.head.is_http10:
            probe(self.transport)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self.context.connections.discard(self)
        self.intake = None
        self.held = b""
        transit, self.transit = self.transit, None
        if transit is not None:
            transit.client_gone()

    def pause_writing(self) -> None:
        self.is_full = True
        if self.transit is not None:
            self.transit.client_slow(True)

    def resume_writing(self) -> None:
        self.is_full = False
        if self.transit is not None:
            self.transit.client_slow(False)
        elif self.head is None and not self.is_lingering:
            self.since = self.context.tick
            self._go_on()

    # -- framing

    def _begin(self, data: bytes) -> None:
        if self._is_repeated(data):
            return
        end = data.find(HEAD_END)
        if end < 0:
            self._wait_for_head(data)
            return
        self.held = b""
        key = memo_key(data, end)
        if key is not None:
            head = self.context.memo.get(key[0])
            if head is not None:
                self.head = head
                if len(key[0]) <= REPEAT_BYTES:
                    self.repeat = Repeat(key[0], head, key[1])
                if LARGE_BYTES < len(data) == end + 4 + key[1] <= self.context.max_body_bytes:
                    expect_large(self)
                return self._expect(key[1], data[end + 4 :])
        if data.startswith(b"\r\n"):
            self._begin(without_blank_lines(data))
        elif end > MAX_HEAD_BYTES:
            self.refuse(431, "the request head is too large")
        else:
            self._read_head(data, end, key)

    def _is_repeated(self, data: bytes) -> bool:
        """Is it one request, whole and alone, with the head of the last one? As nearly always: it is under way then."""
        repeat = self.repeat
        at = 0 if repeat is None or len(data) > LARGE_BYTES else repeat.body_at(data)
        if repeat is None or not 0 < at >= len(data) - self.context.max_body_bytes:
            return False
        self.held = b""
        self.head = repeat.head
        self.context.handle(repeat.head, data[at:], self)
        return True

    def _wait_for_head(self, data: bytes) -> None:
        data = without_blank_lines(data)
        if not self.held:
            self.since = self.context.tick
        if len(data) >= MAX_HEAD_BYTES + len(HEAD_END):
            self.refuse(431, "the request head is too large")
        elif data.count(b"\n") != data.count(b"\r\n"):
            self.refuse(400, "not valid HTTP/1.1: a bare line feed")
        elif self.is_eof:
            self.transport.close()
        else:
            self.held = data

    def _read_head(self, data: bytes, end: int, key: tuple[bytes, int] | None) -> None:
        """A head not seen before."""
        context = self.context
        try:
            head = read_request_head(data[: end + 4], context.dropped)
        except BadRequest as problem:
            self.refuse(problem.status, str(problem))
            return
        self.head = head
        body = data[end + 4 :]
        if self._is_taken(head, body):
            return
        if head.wants_continue and head.length <= context.max_body_bytes:
            self.transport.write(CONTINUE)
        if head.is_chunked:
            self._collect(ChunkedFraming(), body, 0)
            return
        if key is not None and head.length and head.keep_alive and not head.wants_continue:
            remember(context.memo, key[0], head)  # with no body it has not been offered
        self._expect(head.length, body)

    def _is_taken(self, head: RequestHead, body: bytes) -> bool:
        """Does the application take the body in parts?"""
        handle_head = self.context.handle_head
        if handle_head is None or not (head.is_chunked or head.length):
            return False
        self.intake = intake = Intake(self, ChunkedFraming() if head.is_chunked else LengthFraming(head.length))
        transit = handle_head(head, self)
        if transit is None:
            self.intake = None
            return False
        if self.head is head:  # it has not been answered yet
            self.transit = transit
            intake.begin(transit, body, must_continue=head.wants_continue)
        return True

    def _expect(self, length: int, data: bytes) -> None:
        """The body has `length` bytes and begins with these."""
        over = len(data) - length
        if length > self.context.max_body_bytes:
            self.refuse(413, "the request body is too large")
        elif over < 0:
            self._collect(LengthFraming(length), data, length)
        elif over:
            self.accept(data[:length], data[length:])
        else:
            self.accept(data, b"")

    def _collect(self, framing: Framing, data: bytes, length_bytes: int) -> None:
        self.intake = intake = Intake(self, framing)
        intake.collect(data, length_bytes)

    def _hold(self, data: bytes) -> None:
        """Pipelined bytes wait until the answer before them is sent."""
        self.held += data
        if len(self.held) > MAX_HEAD_BYTES:
            self.pause_reading()

    # -- for the intake

    def accept(self, body: bytes, rest: bytes) -> None:
        """The request is whole; ``rest`` came behind it."""
        assert self.head is not None
        self.end_intake(rest)
        self.context.handle(self.head, body, self)

    def end_intake(self, rest: bytes) -> None:
        """All of the body has come; ``rest`` came behind it."""
        self.intake = None
        self.resume_reading()
        if rest:
            self._hold(rest)

    def refuse_body(self, status: int, message: str) -> None:
        """The body under way is none, or comes too slowly."""
        transit, self.transit = self.transit, None
        has_answered = self.has_answered
        if transit is not None:
            transit.client_gone()
        if has_answered:
            self.transport.abort()
        else:
            self.refuse(status, message)

    def pause_reading(self) -> None:
        """Until resume_reading."""
        if not self.is_reading_paused and not self.is_closed:
            self.is_reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on, if it was paused."""
        if self.is_reading_paused and not self.is_closed:
            self.is_reading_paused = False
            self.transport.resume_reading()

    # -- for the application

    def slow(self, is_slow: bool) -> None:
        """Stop (True) or go on (False) handing over the body that goes to the transit in parts."""
        if self.intake is not None:
            self.intake.slow(is_slow)

    def write(self, data: bytes) -> None:
        """Send bytes of the answer; nothing happens once the client has gone."""
        if not self.is_closed:
            self.has_answered = True
            self.transport.write(data)

    def write_parts(self, *parts: bytes) -> None:
        """The same with one system call for several parts, never joined."""
        if not self.is_closed:
            self.has_answered = True
            self.transport.writelines(parts)

    def finish(self) -> None:
        """The answer is complete: take the next request or close."""
        head, self.head = self.head, None
        self.transit = None
        self.has_answered = False
        self.since = self.context.tick
        if self.is_closed:
            return
        is_last = head is None or not head.keep_alive or self.context.is_draining
        if self.intake is not None or (is_last and self.held):
            self._linger()
        elif is_last:
            self.transport.close()
        else:
            self._go_on()

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not whole."""
        self.transit = None
        self.transport.abort()

    def refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be framed, and close once the client has had time to read that."""
        self.write(self.context.refuse(status, message))
        self._linger()

    # -- ends

    def _go_on(self) -> None:
        """With what has come meanwhile, once the client has read enough."""
        if self.is_full:
            self.pause_reading()
        elif self.held:
            self._walk_held()
        elif self.is_eof:
            self.transport.close()
        elif self.is_reading_paused:
            self.resume_reading()

    def _walk_held(self) -> None:
        """Pipelined requests, one after the other: answers of our own may come at once, and must not nest."""
        if self.is_walking:
            return
        self.is_walking = True
        while self.held and self.head is None and not (self.is_closed or self.is_full or self.is_lingering):
            self.resume_reading()
            held = self.held
            self._begin(held)
            if len(self.held) == len(held):
                break  # not a whole head yet
        self.is_walking = False

    def _linger(self) -> None:
        """Close once the client has had time to read what was sent: a close with unread bytes would destroy that on its way."""
        self.head = self.intake = None
        self.held = b""
        self.is_lingering = True
        self.since = self.context.tick
        if self.is_closed:
            return
        self.resume_reading()
        if self.is_eof or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    def check(self, tick: int) -> None:
        """The sweep's visit."""
        if self._is_stuck(tick):
            self.transport.abort()  # whoever answers it hears that the client has gone
        elif self.head is None:
            if not self.is_full:
                self._check_waiting(tick - self.since)
        elif self.intake is not None:
            self.intake.check()
        else:
            if self.is_eof:
                abort_if_reset(self.transport)
            if self.transit is not None:
                self.transit.check()

    def _is_stuck(self, tick: int) -> bool:
        """Has the client taken nothing of what waits for it, for too long?"""
        waiting = waiting_bytes(self.transport)
        if waiting != self.waiting:
            self.waiting = waiting
            self.taken_at = tick
        return waiting > 0 and tick - self.taken_at > self.context.patience_ticks

    def _check_waiting(self, waited: int) -> None:
        """There is no request: none has come yet, or none will."""
        if self.is_lingering:
            if self.transport.get_write_buffer_size():
                self.since = self.context.tick  # the client still reads
            elif waited >= LINGER_TICKS:
                self.transport.abort()
        elif self.held:
            if waited > ARRIVAL_TICKS:
                self.refuse(408, LATE)
        elif waited > IDLE_TICKS or self.context.is_draining:
            self.transport.close()
