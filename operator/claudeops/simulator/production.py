"""An answer being produced: time to first token, then tokens at the answer's speed, as JSON or as a stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from claudeops.simulator.call import Call
from claudeops.simulator.content import Content
from claudeops.simulator.fault import Fault
from claudeops.simulator.message import MessageRequest
from claudeops.simulator.outline import is_billed, outline, slowed
from claudeops.simulator.pace import Pace
from claudeops.simulator.reply import JSON_LINES, OVERLOADED
from claudeops.simulator.spend import price_pico
from claudeops.simulator.stream import Step, closing, delta, message_json, opening, steps
from claudeops.simulator.workspacelimit import Pool
from claudeops.simulator.world import World

INSTANT_S = 1e-3
"""Shorter waits are not worth a timer."""
STREAM_LINES = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
GARBAGE = b"\x00\xff\xfenot-http\x16\x03\x01 \r\r\n\n{]"


class Production:
    """One running answer. ``on_head(code)`` is called once, when its head leaves (0: the connection was broken)."""

    def __init__(self, call: Call, world: World, pace: Pace, dice: random.Random) -> None:
        assert isinstance(call.message, MessageRequest) and call.group is not None
        self._call = call
        self._world = world
        self._pace = slowed(pace, call.fault)
        self._fault: Fault | None = call.fault
        self._group: Pool = call.group
        self._content = content = _diagnosed(outline(call, self._pace, dice, world.config.tokens_per_event), call, world)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._drained_from_s: float | None = None
        self._steps = iter(steps(content, world.config.tokens_per_event))
        self._produced = 0
        self._content_events = 0
        self.on_head: Callable[[int], None] = lambda code: None
        self.on_end: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin: the first token comes after the time to first token."""
        self._group.record.in_flight += 1
        self._call.connection.on_gone = self._stop
        self._at(self._call.started_s + self._pace.ttft_s, self._begin)

    def _at(self, when_s: float, then: Callable[[], None]) -> None:
        if when_s - self._loop.time() < INSTANT_S:
            then()
        else:
            self._timer = self._loop.call_at(when_s, then)

    def _begin(self) -> None:
        call = self._call
        assert call.account is not None
        self._world.cache.commit(call.account.workspace_id, call.lookup.writes, call.started_s, self._loop.time())
        if call.is_stream:
            self._begin_stream()
            return
        tokens, per_s = self._content.output_tokens, self._pace.tokens_per_s
        if tokens / per_s >= INSTANT_S:
            self._group.drain(per_s)
            self._drained_from_s = self._group.updated_s
        self._at(self._loop.time() + tokens / per_s, self._finish_json)

    # -- JSON

    def _finish_json(self) -> None:
        self._settle_drain(self._content.output_tokens)
        self._produced = self._content.output_tokens
        call, body = self._call, message_json(self._content)
        lines = JSON_LINES + call.lines(has_ratelimits=True)
        self._end(200)
        kind = None if self._fault is None else self._fault.kind
        if kind == "garbage":
            call.connection.respond(200, lines, GARBAGE)
        elif kind == "half_json":
            call.connection.respond(200, lines, body[: len(body) // 2])
        elif kind == "reset":
            head = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n" % (lines, len(body))
            call.connection.write_raw(head + body[: len(body) // 2], is_last=False)
            self._loop.call_later(0.05, call.connection.reset)
        else:
            call.connection.respond(200, lines, body)

    def _settle_drain(self, tokens: int) -> None:
        """Book the difference between what was produced and what the drain has booked so far."""
        booked = 0.0
        if self._drained_from_s is not None:
            self._group.drain(-self._pace.tokens_per_s)
            booked = (self._group.updated_s - self._drained_from_s) * self._pace.tokens_per_s
            self._drained_from_s = None
        self._group.produce(tokens - booked)

    # -- stream

    def _begin_stream(self) -> None:
        call = self._call
        self.on_head(200)
        call.connection.begin_stream(STREAM_LINES + call.lines(has_ratelimits=True), opening(self._content))
        if not self._breaks_now():
            self._continue()

    def _continue(self) -> None:
        """Send what is due, and come back when the next tokens are produced."""
        begin_s = self._call.started_s + self._pace.ttft_s
        for step in self._steps:
            if step.tokens == 0:
                if not self._send(step):
                    return
                continue
            due_s = begin_s + (self._produced + step.tokens) / self._pace.tokens_per_s
            if due_s - self._loop.time() >= INSTANT_S:
                self._timer = self._loop.call_at(due_s, self._resume, step)
                return
            if not self._produce(step):
                return
        self._end(None)
        self._call.connection.end_stream(closing(self._content))

    def _resume(self, step: Step) -> None:
        if self._produce(step):
            self._continue()

    def _produce(self, step: Step) -> bool:
        self._produced += step.tokens
        self._group.produce(step.tokens)
        return self._send(step)

    def _send(self, step: Step) -> bool:
        """Write a step; False when the script ends the stream here."""
        if step.data:
            self._call.connection.write_chunk(step.data)
        if step.is_content:
            self._content_events += 1
            return not self._breaks_now()
        return True

    def _breaks_now(self) -> bool:
        """Break the stream if the script says so after this many content events."""
        fault = self._fault
        if fault is None or self._content_events != (fault.after_events or 0):
            return False
        connection = self._call.connection
        if fault.kind == "big_event":
            connection.write_chunk(delta(0, "text_delta", "text", "x" * fault.size_bytes))
            return False
        if fault.kind not in ("stream_error", "reset", "garbage", "half_json"):
            return False
        self._group.record.unreported(self._produced)
        self._end(None)
        if fault.kind == "stream_error":
            connection.end_stream(b"event: error\ndata: %b\n\n" % OVERLOADED.body(self._call.request_id))
        elif fault.kind == "half_json":
            connection.end_stream(delta(0, "text_delta", "text", "this event is cut")[:-16] + b"\n\n")
        elif fault.kind == "garbage":
            connection.write_raw(GARBAGE, is_last=True)
        else:
            self._loop.call_later(0.05, connection.reset)
        return True

    # -- end

    def _stop(self) -> None:
        """The client left: production ends at once; what was produced until now counts."""
        if self._drained_from_s is not None:
            elapsed_s = self._loop.time() - self._drained_from_s
            self._produced = min(self._content.output_tokens, int(elapsed_s * self._pace.tokens_per_s))
            self._settle_drain(self._produced)
        self._group.record.unreported(self._produced)
        self._end(499 if not self._call.is_stream else None)

    def _end(self, code: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._call.connection.on_gone = None
        self._group.record.in_flight -= 1
        self._charge()
        if code is not None:
            self.on_head(code)
        self.on_end()

    def _charge(self) -> None:
        """What was produced costs, whether or not the client got it."""
        call, content = self._call, self._content
        if call.model is not None and call.account is not None and is_billed(content):
            pico = price_pico(call.model, content.use, self._produced, content.service)
            self._world.spend.book(call.account, pico)


def _diagnosed(content: Content, call: Call, world: World) -> Content:
    """The answer with its ``diagnostics``, when the request asks for them."""
    request = call.message
    if not isinstance(request, MessageRequest) or request.diagnostics is None or call.model is None or call.account is None:
        return content
    found = world.diagnoses.diagnose(request, call.model, call.account.workspace_id, content.id)
    return content if found is None else msgspec.structs.replace(content, diagnostics=found)
