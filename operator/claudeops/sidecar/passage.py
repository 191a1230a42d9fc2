"""passage: what goes through without being held: batches and files, up as they come, and down as they come.

A body that is sent is gone, so nothing here is ever repeated: a failure is the client's to repeat. Both directions are as slow as their
slower side; what is in flight is a socket buffer or two. A new batch is inspected on its way: what the API gets of one that is refused
breaks off before its end, so it never was a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudeops.sidecar.answer import Answer
from claudeops.sidecar.batch_inspector import BatchInspector
from claudeops.sidecar.call import Call
from claudeops.sidecar.caller import Caller
from claudeops.sidecar.coding import CODINGS, Decoder, PacedDecoder
from claudeops.sidecar.endpoint import BODY_MAX_BYTES, NAMES, NEW_BATCH, POOLS
from claudeops.sidecar.failure import THROTTLED, TIMED_OUT, failure_of_answer
from claudeops.sidecar.head_lines import passed_head
from claudeops.sidecar.level_headers import READ_EVERY_S, read_levels
from claudeops.sidecar.results_url import ResultsUrl, rewriter_of
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.settle import GONE, count_passage, settle_usage
from claudeops.sidecar.stage.parse import undecodable, unsupported
from claudeops.sidecar.stage.session import refused_key
from claudeops.wire.body import chunk
from claudeops.wire.http1 import LAST_CHUNK, RequestHead, without_length
from claudeops.wire.pool import Pool
from claudeops.wire.server import ServerConnection
from claudeops.wire.upload import begin_upload

if TYPE_CHECKING:
    from claudeops.sidecar.pipeline import Pipeline

OK = 200
UNAUTHORIZED = 401
BAD_GATEWAY = 502
# How long a group pauses for a 429 that does not say.
PAUSE_S = 1.0


class Passage(Call):
    """One request to batches or files, with its two connections."""

    __slots__ = (
        "connection", "has_body", "inspector", "is_body_here", "is_body_sent", "is_chunked", "is_held_up", "moved_at", "pipeline",
        "received_bytes", "rewriter", "unpacker",
    )  # fmt: skip

    def __init__(self, head: RequestHead, client: ServerConnection, *, caller: Caller, pipeline: Pipeline) -> None:
        now = pipeline.runtime.clock()
        super().__init__(head, b"", client, caller=caller, now=now)
        self.pipeline = pipeline
        self.connection = client
        self.group = pipeline.runtime.group(POOLS[caller.kind], now)
        self.has_body = client.is_body_open
        self.inspector: BatchInspector | None = None
        self.unpacker: PacedDecoder | None = None
        """Of a batch that comes compressed: it goes on as what it becomes."""
        self.is_body_here = self.is_body_sent = not self.has_body
        self.is_held_up = False
        self.is_chunked = False
        self.received_bytes = 0
        self.rewriter: ResultsUrl | None = None
        """Of an answer that says where results are."""
        self.moved_at = now
        """When a byte last went either way."""

    # -- stages

    def inspect_head(self, runtime: Runtime) -> Answer | None:
        """Refuses what is not open, or too large, before a byte of the body is asked for."""
        assert runtime.config is not None
        kind, head = self.caller.kind, self.head
        name = NAMES[kind]
        if name not in runtime.config.endpoints:
            path = head.path.decode("latin-1")
            return Answer("no_such_path", f"{path} is not open here: write endpoints: [{name}] into the workload's spec to open it")
        if head.length > BODY_MAX_BYTES[kind]:
            return self._too_large()
        if kind == NEW_BATCH:
            self.inspector = BatchInspector(runtime, self.caller.api_version)
            return self._unpack(self.caller.coding) if self.caller.coding else None
        return None

    def _unpack(self, coding: bytes) -> Answer | None:
        if coding not in CODINGS:
            return unsupported(coding)
        self.unpacker = PacedDecoder(Decoder(coding, limit_bytes=BODY_MAX_BYTES[NEW_BATCH]))
        return None

    def begin(self, pool: Pool, auth_line: bytes) -> None:
        """Send the head; the body follows as it comes."""
        self.attempts = 1
        self.sent_at = self.moved_at = self.pipeline.runtime.clock()
        lines = self.caller.head_line + auth_line
        if self.has_body:
            is_chunked = self.head.is_chunked or self.unpacker is not None
            begin_upload(pool, self, lines, length_bytes=None if is_chunked else self.head.length)
        elif self.head.method == b"POST":
            pool.send(self, (lines + b"content-length: 0\r\n\r\n", b""))
        else:
            pool.send(self, (lines + b"\r\n", b""))

    # -- up

    def request_part(self, data: bytes) -> None:
        if self.upstream is None:
            return  # answered before it was whole
        self.moved_at = self.pipeline.runtime.clock()
        self.received_bytes += len(data)
        if self.received_bytes > BODY_MAX_BYTES[self.caller.kind]:
            self._give_up(self._too_large())
        elif self.unpacker is not None:
            self.unpacker.add(data)
            self._send_unpacked(self.unpacker)
        else:
            self._send(data)

    def request_end(self) -> None:
        self.is_body_here = True
        if self.unpacker is None:
            self._send_end()
        else:
            self._send_unpacked(self.unpacker)

    def upstream_slow(self, is_slow: bool) -> None:
        self.is_held_up = is_slow
        if not is_slow:
            self.moved_at = self.pipeline.runtime.clock()  # it has taken some
            if self.unpacker is not None:
                self._send_unpacked(self.unpacker)
        if not self.is_held_up or is_slow:
            self.connection.slow(is_slow)

    def _send(self, data: bytes) -> None:
        answer = None if self.inspector is None else self.inspector.feed(data)
        if answer is not None:
            self._give_up(answer)
        elif self.upstream is not None:
            self.upstream.send_part(data)

    def _send_unpacked(self, unpacker: PacedDecoder) -> None:
        """As much as the upstream takes; the rest when it takes more."""
        while self.upstream is not None and not self.is_held_up:
            data = unpacker.take()
            if data:
                self._send(data)
                continue
            if self.is_body_here:
                unpacker.decoder.end()
            if unpacker.decoder.failure:
                return self._give_up(undecodable(unpacker.decoder))
            if self.is_body_here:
                self._send_end()
            return

    def _send_end(self) -> None:
        if self.upstream is None or self.is_body_sent:
            return
        answer = None if self.inspector is None else self.inspector.end()
        if answer is not None:
            return self._give_up(answer)
        self.is_body_sent = True
        self.upstream.send_end()

    # -- down

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        runtime = self.pipeline.runtime
        now = self.first_byte_at = self.moved_at = runtime.clock()
        self.status, self.answer_head = status, head
        if now >= self.group.read_at + READ_EVERY_S or status == THROTTLED:
            read_levels(self, runtime, head, now)
        if status == UNAUTHORIZED:
            runtime.on_refused()
            return self._give_up(refused_key(runtime))
        if status == THROTTLED:
            failure = failure_of_answer(status, head, body, wall_s=runtime.wall_clock())
            self.group.limiter.pause(now + (failure.retry_after_s or PAUSE_S))
        if status == OK:
            head, body = self._rewritten(head, body, is_complete)
        lines, self.is_chunked = passed_head(self, head, size_bytes=len(body) if is_complete else None, is_last=self._is_last())
        self.has_relayed = True
        self.client.write_parts(lines, self._framed(body, is_complete))
        if is_complete:
            self._end(now)

    def more(self, body: bytes, is_complete: bool) -> None:
        self.moved_at = self.pipeline.runtime.clock()
        if self.rewriter is not None:
            body = self.rewriter.feed(body, is_complete)
        data = self._framed(body, is_complete)
        if data:
            self.client.write(data)
        if is_complete:
            self._end(self.moved_at)

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        if not self.has_relayed:
            repeat = "; nothing was repeated: send it again" if self.has_body else ""
            return self._give_up(Answer("upstream", reason + repeat))
        now = self.pipeline.runtime.clock()
        self.is_over = True
        self.status = BAD_GATEWAY
        self._release(now)
        count_passage(self, now)
        self.client.abort()

    # -- from the client and the sweep

    def client_gone(self) -> None:
        self.is_over = True
        self.status = GONE
        now = self.pipeline.runtime.clock()
        self.pipeline.forget(self)
        self.drop_upstream()
        self._release(now)
        count_passage(self, now)

    def check(self) -> None:
        config = self.pipeline.runtime.config
        if not self.is_admitted or config is None:
            return
        now = self.pipeline.runtime.clock()
        timeouts = config.resilience.timeouts
        if self.upstream is not None and self.upstream.is_held:
            self.moved_at = now  # the client reads slowly, so we do too
            return
        is_waiting = self.is_body_sent and not self.has_relayed
        if now - self.moved_at > (timeouts.first_byte_s if is_waiting else timeouts.stream_idle_s):
            if self.has_relayed:
                self.drop_upstream()
                self.failed("", is_unreachable=False)
            else:
                what = "did not begin to answer" if is_waiting else "did not take the body"
                self._give_up(Answer("upstream", f"the upstream {what} in time", status=TIMED_OUT))

    # -- ends

    def _end(self, now: float) -> None:
        self._release(now)
        count_passage(self, now)
        self.is_over = True
        self.client.finish()

    def _give_up(self, answer: Answer) -> None:
        """Before the client has had anything."""
        self.drop_upstream()
        self._release(self.pipeline.runtime.clock())
        self.pipeline.refuse(self, answer)

    def _release(self, now: float) -> None:
        if not self.is_admitted:
            return
        if self.first_byte_at:
            settle_usage(self, self.pipeline.runtime, now)
        else:
            self.group.limiter.refund(0.0, now, entered_at=self.admitted_at, is_streamed=False)
        self.pipeline.admission.release(self, now)

    # -- parts

    def _rewritten(self, head: bytes, body: bytes, is_complete: bool) -> tuple[bytes, bytes]:
        """The answer's beginning with ``results_url`` leading here; without a length where that is another one, or not known yet."""
        target = self.pipeline.target
        if target is not None:
            self.rewriter = rewriter_of(self.head, self.caller.kind, head, upstream=self.caller.host, prefix=target.prefix)
        if self.rewriter is None:
            return head, body
        rewritten = self.rewriter.feed(body, is_complete)
        return head if is_complete and rewritten == body else without_length(head), rewritten

    def _is_last(self) -> bool:
        """Does the connection to the client end with this answer?"""
        return self.connection.is_body_open or self.head.is_http10 or self.pipeline.runtime.is_draining

    def _framed(self, body: bytes, is_complete: bool) -> bytes:
        if not self.is_chunked:
            return body
        return chunk(body) + LAST_CHUNK if is_complete else chunk(body)

    def _too_large(self) -> Answer:
        limit = BODY_MAX_BYTES[self.caller.kind] // 1_048_576
        return Answer("too_large", f"the request body is larger than {limit} MB")


def examine(call: Call, runtime: Runtime) -> Answer | None:
    """examine: is this endpoint open, and may the body be so large?"""
    assert isinstance(call, Passage)
    return call.inspect_head(runtime)
