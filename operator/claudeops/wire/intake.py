"""The body of one request on its way in: collected, or passed on in parts as fast as they are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from claudeops.wire.body import Collector, Framing
from claudeops.wire.problem import BadRequest
from claudeops.wire.transit import Transit

if TYPE_CHECKING:
    from claudeops.wire.server import ServerConnection

ARRIVAL_TICKS: Final = 30
"""How many sweeps a head may take, and a body may rest."""
ARRIVAL_BYTES_PER_TICK: Final = 16_384
"""A body that comes more slowly than this many bytes a sweep uses its rest up too."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LATE: Final = "the request took too long to arrive"


class Intake:
    """Of one connection; ends by ``accept``, ``end_intake`` or ``refuse`` there."""

    __slots__ = ("collector", "connection", "framing", "held", "is_slow", "must_continue", "rest_ticks", "transit")

    def __init__(self, connection: ServerConnection, framing: Framing) -> None:
        self.connection = connection
        self.framing = framing
        self.collector: Collector | None = None
        self.transit: Transit | None = None
        """Who takes the body in parts."""
        self.held = b""
        self.rest_ticks = float(ARRIVAL_TICKS)
        self.is_slow = False
        self.must_continue = False

    def collect(self, data: bytes, length_bytes: int) -> None:
        """It is to be handed over whole, and begins with these. ``length_bytes``: 0 if it is not known."""
        self.collector = Collector(length_bytes)
        if data:
            self.feed(data)

    def begin(self, transit: Transit, data: bytes, *, must_continue: bool) -> None:
        """It is to be handed over in parts, and begins with these. ``must_continue``: the client waits to be asked for it."""
        self.transit = transit
        self.must_continue = must_continue
        self.held = data
        if not self.is_slow:
            self._go_on()

    def feed(self, data: bytes) -> None:
        """One read of the connection."""
        self.rest_ticks = min(ARRIVAL_TICKS, self.rest_ticks + len(data) / ARRIVAL_BYTES_PER_TICK)
        parts: list[bytes] = []
        try:
            rest = self.framing.feed(data, parts)
        except BadRequest as problem:
            self.connection.refuse_body(problem.status, f"not valid HTTP/1.1: {problem}")
            return
        if self.collector is not None:
            self._collect(self.collector, parts, rest)
        else:
            self._pass_on(parts, rest)

    def slow(self, is_slow: bool) -> None:
        """Stop (True) or go on (False) handing over."""
        if is_slow == self.is_slow:
            return
        self.is_slow = is_slow
        if is_slow:
            self.connection.pause_reading()
        else:
            self.connection.resume_reading()
            if self.transit is not None:
                self._go_on()

    def check(self) -> None:
        """The sweep's visit. What the client may not send does not count."""
        if not self.is_slow:
            self.rest_ticks -= 1.0
        if self.rest_ticks < 0.0:
            self.connection.refuse_body(408, LATE)
        elif self.transit is not None:
            self.transit.check()

    def _go_on(self) -> None:
        if self.must_continue:
            self.must_continue = False
            if not self.connection.has_answered:
                self.connection.transport.write(CONTINUE)
        if self.held:
            held, self.held = self.held, b""
            self.feed(held)

    def _collect(self, collector: Collector, parts: list[bytes], rest: bytes | None) -> None:
        for part in parts:
            collector.add(part)
        if collector.have > self.connection.context.max_body_bytes:
            self.connection.refuse(413, "the request body is too large")
        elif rest is not None:
            self.connection.accept(collector.take(), rest)

    def _pass_on(self, parts: list[bytes], rest: bytes | None) -> None:
        connection, transit = self.connection, self.transit
        assert transit is not None
        if rest is not None:
            connection.end_intake(rest)
        if parts:
            transit.request_part(parts[0] if len(parts) == 1 else b"".join(parts))
        if rest is not None and connection.transit is transit:
            transit.request_end()
