"""relay: bytes go to the client as they arrive; usage is read beside them.

Nothing reaches the client before an attempt can no longer be repeated: an error answer is held until it is whole, a JSON answer too
(up to 256 KiB), and of a stream the head, ``message_start`` and ``ping`` until the first content, any other event, or a second.
"""

from __future__ import annotations

from typing import Final

from claudeops.policy.breaker import CLOSED
from claudeops.sidecar.endpoint import MODELS
from claudeops.sidecar.failure import NO_CONNECTION, THROTTLED, TIMED_OUT, Failure, failure_of_answer, failure_of_event
from claudeops.sidecar.head_lines import EVENT_STREAM, open_head, whole_head
from claudeops.sidecar.level_headers import READ_EVERY_S, read_levels
from claudeops.sidecar.model import FALLBACK
from claudeops.sidecar.settle import GONE, settle_answer, settle_input, settle_stream, settle_usage
from claudeops.sidecar.tap import open_tap
from claudeops.sidecar.thought import ThoughtReader
from claudeops.sidecar.transfer import BAD_GATEWAY, Transfer
from claudeops.sidecar.usage import EventReader, read_answer
from claudeops.wire.body import chunk
from claudeops.wire.http1 import LAST_CHUNK

HOLD_MAX_BYTES: Final = 262_144
ERROR_MAX_BYTES: Final = 1_048_576
"""Errors are held whole: one without an end would take all of the pod's memory."""
HOLD_HEAD_S: Final = 1.0
END_S: Final = 1.0
"""How long an answer may say nothing behind its stream's last event."""
BURST_S: Final = 0.001
BURST_BYTES: Final = 16_384
"""A stream that is read twice within so short a time, and has little to say each time, rests: its events come faster than anybody reads
them, and each of them would cost two system calls. Up to a millisecond of them goes out together then."""
# How often a running stream tells the limiter what it has produced.
FLUSH_S: Final = 0.25


class Relay(Transfer):
    """What may happen to a call, from either side; each method is one such thing."""

    __slots__ = ()

    # -- from the upstream

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        runtime = self.pipeline.runtime
        now = self.first_byte_at = self.last_byte_at = runtime.clock()
        self.status = status
        self.answer_head = head
        if now >= self.group.read_at + READ_EVERY_S or status == THROTTLED:
            read_levels(self, runtime, head, now)
        if is_complete and status == 200 and not self.is_streamed and self.caller.kind != MODELS:
            self._feed_document(body, True, now)
        else:
            self._begin_body(body, is_complete)

    def more(self, body: bytes, is_complete: bool) -> None:
        before, now = self.last_byte_at, self.pipeline.runtime.clock()
        self.last_byte_at = now
        if self.tap is not None:
            return self._feed_body(self.tap.feed(body), is_complete)
        reader = self.reader
        if reader is None:
            self._feed_document(body, is_complete, now)
        elif is_complete or not self.has_relayed:
            self._feed_stream(body, is_complete, now)
        else:
            self._relay_events(reader, body, now)
            if now - before < BURST_S and len(body) < BURST_BYTES and self.upstream is not None:
                self.upstream.rest()

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        now = self.pipeline.runtime.clock()
        reader = self.reader
        if reader is not None and self.has_relayed:
            rest = reader.rest()
            if reader.is_finished:
                return self._finish_stream(rest, now)
        is_counted = self._is_counted()
        if is_counted:
            self._guess_usage(now)
        self._fail(Failure(NO_CONNECTION if is_unreachable else BAD_GATEWAY, reason, is_counted=is_counted), now)

    # -- from the client and the sweep

    def client_gone(self) -> None:
        self.is_over = True
        pipeline = self.pipeline
        now = pipeline.runtime.clock()
        pipeline.forget(self)
        self._cancel_hold()
        if self.is_admitted:
            is_sent = self._is_sent()
            if self._may_be_counted():
                self._guess_usage(now)
                settle_usage(self, pipeline.runtime, now)
            else:
                self.group.limiter.refund(self.estimated_input, now, entered_at=self.admitted_at, is_streamed=self.is_streamed)
            self.drop_upstream()
            failure = Failure(TIMED_OUT, "the client has left")
            failure.is_impatience = not (is_sent and self._is_upstream_hung(now))
            pipeline.recovery.judge(self, failure, now)
            pipeline.admission.release(self, now)
        self.status = GONE
        settle_answer(self, pipeline.runtime, now)

    def check(self) -> None:
        config = self.pipeline.runtime.config
        if not self.is_admitted or config is None:
            return
        now = self.pipeline.runtime.clock()
        timeouts = config.resilience.timeouts
        if self.first_byte_at < self.sent_at:
            if now >= min(self.deadline, self.sent_at + timeouts.first_byte_s):
                self._time_out("the upstream did not begin to answer in time", now, is_impatience=not self._is_upstream_hung(now))
        elif self.upstream is not None and self.upstream.is_held:
            self.last_byte_at = now  # the client reads slowly, so we do too: that is not the upstream's silence
        else:
            self._check_answer(timeouts.stream_idle_s, now)

    def _check_answer(self, idle_s: float, now: float) -> None:
        reader, silent_s = self.reader, now - self.last_byte_at
        if reader is not None and reader.is_finished and self.has_relayed:
            if silent_s > END_S:
                self._let_go(reader, now)
        elif silent_s > idle_s:
            self._time_out("the upstream stopped in the middle of its answer", now)
        elif not self.has_relayed and now >= self.deadline:
            self._time_out("the upstream's answer was not ready in time", now, is_impatience=not self._is_upstream_hung(now))

    def _let_go(self, reader: EventReader, now: float) -> None:
        """The stream's last event has come, but not the answer's end: nobody waits for that until ``streamIdle``."""
        self.drop_upstream()
        self._finish_stream(reader.rest(), now)

    # -- bodies that are not there at once

    def _begin_body(self, body: bytes, is_complete: bool) -> None:
        """A stream, an error, or a document that comes in parts or is not read. A whole one is looked at only if it is no JSON."""
        self.usual = None  # what goes on may change its head, or have none
        is_stream = self.is_streamed and self.status == 200 and self.answer_head.find(EVENT_STREAM) >= 0
        self.tap = tap = open_tap(self.answer_head, self._thought_reader() if is_stream else None)
        if tap is not None:
            body = tap.feed(body)
            self.answer_head = tap.head
        if is_stream and (tap is None or not tap.is_opaque):
            self.reader = EventReader(self.usage)
        elif is_stream:
            self._open_document()  # nobody here can read it: all the client can have is its bytes, at once
        self._feed_body(body, is_complete)

    def _thought_reader(self) -> ThoughtReader | None:
        return ThoughtReader(self.pipeline.runtime.thoughts, self.model.id) if self.tier == FALLBACK else None

    def _feed_body(self, body: bytes, is_complete: bool) -> None:
        """The first bytes of such an answer, and all of one that is tapped."""
        now = self.last_byte_at
        reader = self.reader
        if self.tap is not None and self.tap.failure:
            self._fail_unreadable(self.tap.failure, now)
        elif reader is None:
            self._feed_document(body, is_complete, now)
        elif is_complete or not self.has_relayed:
            self._feed_stream(body, is_complete, now)
        else:
            self._relay_events(reader, body, now)

    def _fail_unreadable(self, reason: str, now: float) -> None:
        self.drop_upstream()
        self._guess_usage(now)
        self._fail(Failure(BAD_GATEWAY, f"the upstream's answer cannot be read: {reason}", is_counted=True), now)

    # -- documents

    def _feed_document(self, body: bytes, is_complete: bool, now: float) -> None:
        """A JSON answer, whole or in parts."""
        if self.has_relayed:
            return self._relay_part(body, is_complete, now)
        if not is_complete:
            self.held.append(body)
            self.held_bytes += len(body)
            if self.held_bytes > HOLD_MAX_BYTES:
                self._stop_holding(now)
            return
        if self.held:
            self.held.append(body)
            body = b"".join(self.held)
            self.held = []
        if self.status != 200:
            return self._fail(self._refused(body), now)
        if self.caller.kind != MODELS and not self._read_usage(body):
            plain = self._undo_coding(body)
            if plain is None:
                return self._fail(Failure(BAD_GATEWAY, "the upstream's answer is not JSON", is_counted=True), now)
            body = plain
        self.has_relayed = True
        self.client.write_parts(whole_head(self, self.answer_head, len(body)), body)
        self._succeed(now)

    def _refused(self, body: bytes) -> Failure:
        return failure_of_answer(self.status, self.answer_head, body, wall_s=self.pipeline.runtime.wall_clock())

    def _stop_holding(self, now: float) -> None:
        if self.status == 200:
            self._open_document()
        elif self.held_bytes > ERROR_MAX_BYTES:
            self.drop_upstream()
            self._fail(Failure(BAD_GATEWAY, f"the upstream's {self.status} is larger than {ERROR_MAX_BYTES} bytes"), now)

    def _undo_coding(self, body: bytes) -> bytes | None:
        """What is no JSON may be compressed JSON, or in a coding unknown here (which is passed on as it is). None: neither."""
        tap = open_tap(self.answer_head, None)
        if tap is None or tap.is_opaque or self.tap is not None:
            return None if tap is None else body
        plain = tap.feed(body)
        if tap.failure or not self._read_usage(plain):
            return None
        self.answer_head = tap.head
        self.usual = None
        return plain

    def _open_document(self) -> None:
        """A document too large to be held any longer. What is relayed is kept for its usage."""
        head, self.is_chunked = open_head(self, self.answer_head)
        self.has_relayed = True
        body = b"".join(self.held)
        self.held = [body]
        self.client.write_parts(head, self._framed(body))

    def _relay_part(self, body: bytes, is_complete: bool, now: float) -> None:
        self.held.append(body)
        tail = LAST_CHUNK if is_complete and self.is_chunked else b""
        if body or tail:
            self.client.write(self._framed(body) + tail)
        if is_complete:
            self._read_usage(b"".join(self.held))
            self._succeed(now)

    def _read_usage(self, body: bytes) -> bool:
        """False if the body is not JSON."""
        if self.tier == FALLBACK:
            self.pipeline.runtime.thoughts.learn_answer(body, self.model.id)
        return read_answer(self.usage, body)

    # -- streams

    def _relay_events(self, reader: EventReader, body: bytes, now: float) -> None:
        """A stream's reads between the first ones and the last."""
        self.stream_bytes += len(body)
        out = reader.feed(body)
        if not self.first_content_at and reader.has_content:
            self._see_content(now)  # the head went out before: the hold was over
        if out:
            self.client.write(chunk(out) if self.is_chunked else out)
        if now - self.flushed_at > FLUSH_S:
            self._flush(now)

    def _feed_stream(self, body: bytes, is_complete: bool, now: float) -> None:
        """A stream's first reads, and its last one."""
        reader = self.reader
        assert reader is not None
        self.stream_bytes += len(body)
        out = reader.feed(body)
        if is_complete:
            out += reader.rest()
        if reader.has_content:
            self._see_content(now)
        if self.has_relayed:
            self._feed_last(reader, out, now)
            return
        self.held.append(out)
        if reader.error is not None:
            self._fail_held(failure_of_event(reader.error), now)
        elif is_complete and not reader.is_finished:
            self._fail(_cut_short(), now)
        elif reader.has_begun:
            self._release_head(is_complete, now)
        elif self.hold_timer is None:
            self.hold_timer = self.pipeline.loop.call_later(HOLD_HEAD_S, self._hold_is_over)

    def _feed_last(self, reader: EventReader, out: bytes, now: float) -> None:
        if reader.is_finished:
            return self._finish_stream(out, now)
        self.client.write(self._framed(out))
        self._fail(_cut_short(), now)

    def _fail_held(self, failure: Failure, now: float) -> None:
        """An error event before anything was relayed: it may be repeated; else it is passed on as it came."""
        self.drop_upstream()
        failure.head = self.answer_head
        failure.body = b"".join(self.held)
        self._fail(failure, now)

    def _hold_is_over(self) -> None:
        self.hold_timer = None
        if not self.is_over and not self.has_relayed:
            self._release_head(False, self.pipeline.runtime.clock())

    def _release_head(self, is_complete: bool, now: float) -> None:
        self._cancel_hold()
        head, self.is_chunked = open_head(self, self.answer_head)
        self.has_relayed = True
        self.flushed_at = now
        if self.usage.is_known:
            settle_input(self, now)
        body = b"".join(self.held)
        self.held = []
        if is_complete:
            self.client.write(head)
            return self._finish_stream(body, now)
        self.client.write(head + self._framed(body))

    def _see_content(self, now: float) -> None:
        if self.first_content_at:
            return
        self.first_content_at = now
        if self.model.breaker.state != CLOSED:
            self.pipeline.recovery.succeeded(self, now)

    def _finish_stream(self, rest: bytes, now: float) -> None:
        reader = self.reader
        assert reader is not None
        self.client.write(self._framed(rest) + (LAST_CHUNK if self.is_chunked else b""))
        if reader.error is None:
            settle_stream(self, self.stream_bytes)
            return self._succeed(now)
        failure = failure_of_event(reader.error)
        self.status = failure.status
        self._guess_usage(now)
        self._settle_broken(failure, now)
        self._end(now)


def _cut_short() -> Failure:
    return Failure(BAD_GATEWAY, "the upstream ended the stream before its end", is_counted=True)
