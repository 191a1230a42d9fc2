"""transfer: one answer on its way from the upstream to the client, and all the ways in which it may end."""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING, Final

from claudeops.sidecar.answer import Answer, error_json
from claudeops.sidecar.call import Call
from claudeops.sidecar.caller import Caller
from claudeops.sidecar.failure import TIMED_OUT, Failure
from claudeops.sidecar.head_lines import failed_head
from claudeops.sidecar.settle import settle_answer, settle_usage
from claudeops.sidecar.stage.session import refused_key
from claudeops.sidecar.tap import Tap
from claudeops.sidecar.usage import EventReader
from claudeops.wire.body import chunk
from claudeops.wire.http1 import LAST_CHUNK, RequestHead
from claudeops.wire.pool import Opening
from claudeops.wire.server import ServerConnection

if TYPE_CHECKING:
    from claudeops.sidecar.pipeline import Pipeline

BAD_GATEWAY: Final = 502
SUSPECT_SHARE: Final = 0.25
"""Of ``timeouts.firstByte`` (or ``total``, if that is shorter): who is left waiting for so long has met an upstream that hangs, though
it did not wait to the end."""
NEARLY_ALL: Final = 0.9
"""Of the same: an attempt is sent a little later than its request arrives, from where ``total`` counts."""


class Transfer(Call):
    """A call with its two connections, as far as its end goes: :meth:`_end` is the end of all ends."""

    __slots__ = (
        "flushed_at", "held", "held_bytes", "hold_timer", "is_chunked", "last_byte_at", "pipeline", "reader", "stream_bytes", "tap",
    )  # fmt: skip

    def __init__(self, head: RequestHead, body: bytes, client: ServerConnection, *, caller: Caller, pipeline: Pipeline) -> None:
        super().__init__(head, body, client, caller=caller, now=pipeline.runtime.clock())
        self.pipeline = pipeline
        self.hold_timer: TimerHandle | None = None
        self.held: list[bytes] = []
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Forget what the attempt before has left."""
        self.answer_head = b""
        self.usual = None
        self.reader: EventReader | None = None
        self.tap: Tap | None = None
        if self.held:
            self.held = []
        self.held_bytes = 0
        self.stream_bytes = 0
        self.first_content_at = 0.0
        self.last_byte_at = 0.0
        self.flushed_at = 0.0
        self.is_chunked = False

    # -- ends

    def _succeed(self, now: float) -> None:
        pipeline = self.pipeline
        settle_usage(self, pipeline.runtime, now)
        pipeline.recovery.served(self, now)
        pipeline.admission.release(self, now)
        self._end(now)

    def _time_out(self, reason: str, now: float, *, is_impatience: bool = False) -> None:
        failure = Failure(TIMED_OUT, reason, is_counted=self._may_be_counted())
        self.drop_upstream()
        if failure.is_counted:
            self._guess_usage(now)
        failure.is_impatience = is_impatience
        self._fail(failure, now)

    def _fail(self, failure: Failure, now: float) -> None:
        """The attempt failed: the pipeline may repeat it, unless the client has seen some of it."""
        self._cancel_hold()
        if self.has_relayed:
            return self._break(failure, now)
        if self.pipeline.recovery.recover(self, failure, now):
            return
        self.status = failure.status or BAD_GATEWAY
        if failure.status == 401:
            return self.pipeline.refuse(self, refused_key(self.pipeline.runtime))
        if not failure.is_answer:
            answer = Answer("upstream", failure.message, status=self.status if self.status == TIMED_OUT else BAD_GATEWAY)
            return self.pipeline.refuse(self, answer)
        self.client.write_parts(failed_head(self, failure), failure.body)
        self._end(now)

    def _break(self, failure: Failure, now: float) -> None:
        """Part of the answer is with the client: a stream ends with an ``error`` event, a document is visibly cut."""
        self.status = failure.status or BAD_GATEWAY
        self._guess_usage(now)
        self._settle_broken(failure, now)
        reader = self.reader
        if reader is None:
            settle_answer(self, self.pipeline.runtime, now)
            return self.client.abort()
        event = b"event: error\ndata: %b\n\n" % error_json(self.status, failure.message, self.pipeline.new_request_id())
        if reader.is_inside:
            event = b"\n\n" + event
        self.client.write(self._framed(event) + (LAST_CHUNK if self.is_chunked else b""))
        self._end(now)

    def _settle_broken(self, failure: Failure, now: float) -> None:
        settle_usage(self, self.pipeline.runtime, now)
        self.pipeline.recovery.judge(self, failure, now)
        self.pipeline.admission.release(self, now)

    def _end(self, now: float) -> None:
        """The client has its whole answer."""
        settle_answer(self, self.pipeline.runtime, now)
        self.is_over = True
        self.client.finish()

    # -- parts

    def _is_upstream_hung(self, now: float) -> bool:
        """Has the upstream been silent for longer than one that works is, whoever lost patience first? A document is silent while it
        is written."""
        config = self.pipeline.runtime.config
        assert config is not None
        timeouts = config.resilience.timeouts
        patience_s = min(timeouts.first_byte_s, timeouts.total_s)
        limit_s = SUSPECT_SHARE * patience_s
        if not self.is_streamed:
            limit_s += (self.asked.max_tokens or self.model.model.max_output_tokens) / self.group.limiter.gate.slot_rate
        return now - max(self.sent_at, self.last_byte_at) >= min(NEARLY_ALL * patience_s, limit_s)

    def _flush(self, now: float) -> None:
        """Tell the limiter what the stream has produced since, by its bytes."""
        self.flushed_at = now
        produced = self.stream_bytes * self.model.stream_tokens_per_byte.value
        if produced > self.produced:
            self.group.limiter.produced(produced - self.produced, now)
            self.produced = produced

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if self.is_chunked else data

    def _is_counted(self) -> bool:
        """Has the API begun to work on it, as far as one can see?"""
        return self.first_byte_at >= self.sent_at and self.status == 200

    def _is_sent(self) -> bool:
        """There is a connection, so it has the request."""
        return self.upstream is not None and not isinstance(self.upstream, Opening)

    def _may_be_counted(self) -> bool:
        """Of an attempt that nobody waits for any longer: has the API got it, and not refused it?"""
        return self._is_sent() and (self.first_byte_at < self.sent_at or self.status == 200)

    def _guess_usage(self, now: float) -> None:
        """The end of the answer will not come: what was produced is known by the stream's bytes, or by the time that has passed."""
        usage = self.usage
        if self.is_streamed:
            self._flush(now)
            usage.guess(int(self.produced))
        else:
            limit = self.asked.max_tokens or self.model.model.max_output_tokens
            usage.guess(int(min(limit, (now - self.sent_at) * self.group.limiter.gate.slot_rate)))

    def _cancel_hold(self) -> None:
        if self.hold_timer is not None:
            self.hold_timer.cancel()
            self.hold_timer = None
