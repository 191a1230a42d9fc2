"""One upstream connection: one request at a time."""

from __future__ import annotations

from asyncio import Transport
from typing import TYPE_CHECKING, Final

import httptools

from claudeops.wire.body import Outgoing
from claudeops.wire.http1 import HEAD_END
from claudeops.wire.transit import Carrier, Transit
from claudeops.wire.usual_head import usual_head

if TYPE_CHECKING:
    from claudeops.wire.pool import Pool, Request

MAX_HEAD_BYTES: Final = 65_536
_USUAL: Final = b"HTTP/1.1 2"
_VERSIONS: Final[tuple[bytes, ...]] = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_INTERIM: Final[tuple[bytes, ...]] = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_CLASSES: Final[tuple[bytes, ...]] = (b"", b"1", b"2", b"3", b"4", b"5")
_SWITCHING: Final[tuple[bytes, ...]] = (b"HTTP/1.1 101", b"HTTP/1.0 101")
_FRAMED: Final[tuple[bytes, ...]] = (b"\r\ncontent-length:", b"\r\ntransfer-encoding:")


class UpstreamConnection(Carrier):
    """Frames answers and tells the transit. A kept-alive connection that turns out to be closed sends its request again on another."""

    __slots__ = (
        "body_parts", "buffer", "has_head", "idle_since", "is_complete", "is_full", "is_open", "is_paused", "is_resting", "is_reusable",
        "is_reused", "is_unframed", "messages", "on_body", "outgoing", "parser", "parts", "pool", "request", "retires_at", "transit",
        "transport",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: Transport = None  # type: ignore[assignment]
        self.parts: list[bytes] = []
        self.on_body = self.parts.append
        """llhttp's callback: it comes once for every event of a stream, and this spares it a frame of Python."""
        self.body_parts = 0
        """How many parts are this answer's, once it is complete."""
        self.parser = httptools.HttpResponseParser(self)
        self.transit: Transit | None = None
        self.request: Request = (b"", b"")
        self.outgoing: Outgoing | None = None
        """Frames the body of a request that is sent in parts; the connection is for this one request then."""
        self.buffer = b""
        self.idle_since = 0
        self.retires_at = 0
        self.messages = 0
        self.has_head = False
        self.is_complete = False
        self.is_full = False
        """Much of the request is not sent yet."""
        self.is_open = False
        self.is_paused = False
        self.is_resting = False
        self.is_reusable = False
        self.is_reused = False
        self.is_unframed = False

    # -- from the pool

    def begin(self, transit: Transit, request: Request) -> None:
        """Send a request; the transit hears of the answer."""
        self.transit = transit
        transit.upstream = self
        self.request = request
        self.has_head = False
        self.is_complete = False
        self.messages = 0
        self.transport.writelines(request)

    def begin_upload(self, transit: Transit, outgoing: Outgoing, begun: bytes) -> None:
        """Send a head and what there is of its body; the rest comes by ``send_part`` and ``send_end``."""
        self.outgoing = outgoing
        self.begin(transit, (begun, b""))
        if not outgoing.is_held_up:
            transit.upstream_slow(False)

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self.is_open = False
        self.transport.abort()

    # -- from the transit

    @property
    def is_held(self) -> bool:
        return self.is_paused

    def abandon(self) -> None:
        if self.transit is not None:
            self.transit = None
            self.close()
            self.pool.lost(self, was_busy=True)

    def slow(self, is_slow: bool) -> None:
        if self.is_open and is_slow != self.is_paused:
            self.is_paused = is_slow
            if not self.is_resting:
                self._read(not is_slow)

    def rest(self) -> None:
        if self.is_open and not self.is_paused and not self.is_resting:
            self.is_resting = True
            self._read(False)
            self.pool.rest(self)

    def wake(self) -> None:
        """The rest is over."""
        self.is_resting = False
        if self.is_open and not self.is_paused:
            self._read(True)

    def send_part(self, data: bytes) -> None:
        if self.outgoing is not None:
            self.transport.write(self.outgoing.frame(data))

    def send_end(self) -> None:
        if self.outgoing is not None:
            self.transport.write(self.outgoing.end())

    # -- transport callbacks

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        transit = self.transit
        if transit is None:
            return self.close()
        end = 0
        if not self.has_head:
            if not self.buffer and self._is_usual(transit, data):
                return
            data, end = self._find_head(self.buffer + data)  # no copy where there is no buffer
            if end == 0:
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            return self._break_off(transit, data, end, f"the upstream's answer is not valid HTTP/1.1: {error}")
        parts = self.parts
        if end == 0 and not self.is_complete and len(parts) == 1:
            transit.more(parts.pop(), False)  # an event of a stream, as nearly always
        else:
            self._deliver(transit, data, end)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        transit, self.transit = self.transit, None
        if transit is None:
            return self.pool.lost(self, was_busy=False)
        self.pool.lost(self, was_busy=True)
        transit.upstream = None
        if self.is_unframed and error is None:
            transit.more(b"", True)
        elif self.is_reused and not self.has_head and not self.buffer:
            self.pool.send(transit, self.request)  # a keep-alive connection that had gone stale
        else:
            transit.failed("the upstream closed the connection", is_unreachable=False)

    def pause_writing(self) -> None:
        self._hold_up(True)

    def resume_writing(self) -> None:
        self._hold_up(False)

    # -- llhttp callbacks

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_message_complete(self) -> None:
        if not self.is_complete:
            self.is_complete = True
            self.body_parts = len(self.parts)
            self.is_reusable = self.parser.should_keep_alive()  # llhttp forgets it once the message is over

    # -- parts

    def _read(self, is_reading: bool) -> None:
        if is_reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _find_head(self, data: bytes) -> tuple[bytes, int]:
        """The data from the final head on, and where that ends; 0 while it is incomplete. Interim (1xx) heads are passed over."""
        while True:
            end = data.find(HEAD_END)
            if 0 <= end <= MAX_HEAD_BYTES and data.startswith(_USUAL):
                return data, end
            size = end if end >= 0 else len(data) - len(HEAD_END) + 1
            if size > MAX_HEAD_BYTES or not _is_answer(data):
                self._fail("the upstream's answer is not valid HTTP/1.1")
                return data, 0
            if end < 0:
                self.buffer = data
                return data, 0
            if not data.startswith(_INTERIM):
                return data, end
            data = data[end + 4 :]
            self.is_reused = False  # it is not stale: the upstream has the request, and must not get it twice

    def _is_usual(self, transit: Transit, data: bytes) -> bool:
        """Is it a whole answer that llhttp need not see? It has been delivered then."""
        usual = self.pool.usual
        head = b"" if usual is None else usual.head_of(data)
        if not head:
            return False
        self.is_complete = self.is_reusable = self.has_head = True
        self.messages = 1
        self._release()
        transit.usual = usual
        transit.response(200, head, data[len(head) + 4 :], True)
        return True

    def _deliver(self, transit: Transit, data: bytes, end: int) -> None:
        parts = self.parts
        body = b""
        if self.is_complete and len(parts) > self.body_parts:
            del parts[self.body_parts :]  # of an answer that nobody has asked for
        if parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
        is_complete = self.is_complete
        if is_complete:
            self._release()
        if end == 0:
            transit.more(body, is_complete)
            return
        self.has_head = True
        self.buffer = b""
        self._respond(transit, data[:end], body, is_complete)

    def _respond(self, transit: Transit, head: bytes, body: bytes, is_complete: bool) -> None:
        if not is_complete:
            lowered = head.lower()
            self.is_unframed = lowered.find(_FRAMED[0]) < 0 and lowered.find(_FRAMED[1]) < 0  # compiled, `in` takes three times as long
        elif self.messages == 1:
            self.pool.usual = usual_head(head, self.pool.usual) or self.pool.usual
        transit.usual = None
        # where another answer has begun behind this one, llhttp has its status
        status = self.parser.get_status_code() if self.messages == 1 else int(head[9:12])
        transit.response(status, head, body, is_complete)

    def _hold_up(self, is_held_up: bool) -> None:
        """The socket buffer is full, or has drained. Nobody is told of a request that was written whole."""
        self.is_full = is_held_up
        outgoing = self.outgoing
        if outgoing is not None:
            outgoing.is_held_up = is_held_up
            if self.transit is not None:
                self.transit.upstream_slow(is_held_up)

    def _release(self) -> None:
        transit, self.transit = self.transit, None
        if transit is not None:
            transit.upstream = None
        self.request = (b"", b"")
        self.is_reused = True
        if self.is_paused:
            self.slow(False)
        if not self.is_reusable or self.is_full or self.messages != 1 or self.outgoing is not None:
            self.close()  # is_full: it has answered before it had the request, and may never read the rest
        self.pool.release(self)

    def _break_off(self, transit: Transit, data: bytes, end: int, reason: str) -> None:
        """Nonsense in the middle of an answer, or behind it: what came before it in the same read still counts."""
        self.is_reusable = False
        if self.parts or self.is_complete:
            self._deliver(transit, data, end)
        if self.transit is transit:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        transit, self.transit = self.transit, None
        self.close()
        self.pool.lost(self, was_busy=True)
        if transit is not None:
            transit.upstream = None
            transit.failed(reason, is_unreachable=False)


def _is_answer(data: bytes) -> bool:
    """Does it begin like an answer that has been asked for?"""
    begun = data[: len(_VERSIONS[0])]
    return any(version.startswith(begun) for version in _VERSIONS) and data[9:10] in _CLASSES and not data.startswith(_SWITCHING)
