"""A half-open probe of our own: one small request to a model that nobody asks for just now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claudeops.policy.breaker import CLOSED
from claudeops.sidecar.booking import book_probe
from claudeops.sidecar.failure import NO_CONNECTION, TIMED_OUT, Failure, failure_of_answer
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.stage.route import PROBE_EVERY_S
from claudeops.wire.pool import Opening
from claudeops.wire.transit import Transit

if TYPE_CHECKING:
    from claudeops.sidecar.pipeline import Pipeline

API_VERSION = b"2023-06-01"
OK = 200
GRACE_S = 0.5
"""How long a half-open breaker waits for a request of the application to be its probe."""


def wants_probe(model: ModelRuntime, now: float) -> bool:
    """Is it time to look whether this model serves again, with no request of the application to do it? Takes the probe."""
    breaker = model.breaker
    if breaker.state != CLOSED:
        if now < breaker.reopen_at + GRACE_S:
            return False
        return breaker.take_probe(now, not model.is_flipped or model.may_probe)
    if model.is_flipped and model.may_probe and now - model.probed_at >= PROBE_EVERY_S:
        model.probed_at = now
        return True
    return False


class Probe(Transit):
    """Asks for at most ``probeMaxTokens``. The breaker, the upstream counters, tokens and cost learn of it, the application's counters
    do not."""

    __slots__ = ("body", "deadline", "head", "model", "pipeline", "sent_at", "status")

    def __init__(self, pipeline: Pipeline, model: ModelRuntime, *, timeout_s: float, now: float) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.model = model
        self.sent_at = now
        self.deadline = now + timeout_s
        self.status = 0
        self.head = b""
        self.body = b""

    def request(self, max_tokens: int) -> tuple[bytes, bytes]:
        """Head and body."""
        target = self.pipeline.target
        assert target is not None
        body = msgspec.json.encode(
            {"model": self.model.id, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "Answer with: ok"}]}
        )
        head = (
            b"POST %b/v1/messages HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\ncontent-type: application/json\r\n"
            b"anthropic-version: %b\r\n%b%bcontent-length: %d\r\n\r\n"
        ) % (target.prefix, target.host, API_VERSION, target.beta_line, self.pipeline.runtime.auth_line, len(body))
        return head, body

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        self.status = status
        self.head = head
        self.more(body, is_complete)

    def more(self, body: bytes, is_complete: bool) -> None:
        self.body += body
        if not is_complete:
            return
        if self.status == OK:
            book_probe(self.model, self.body)
            self.pipeline.end_probe(self, None)
        else:
            wall_s = self.pipeline.runtime.wall_clock()
            self.pipeline.end_probe(self, failure_of_answer(self.status, self.head, self.body, wall_s=wall_s))

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        if self.status == OK:
            book_probe(self.model, self.body)
        self.pipeline.end_probe(self, Failure(NO_CONNECTION if is_unreachable else 502, reason))

    def check(self) -> None:
        if self.pipeline.runtime.clock() >= self.deadline:
            if not isinstance(self.upstream, Opening) and self.status in (0, OK):
                book_probe(self.model, self.body)  # the API has got it
            self.drop_upstream()
            self.pipeline.end_probe(self, Failure(TIMED_OUT, "the probe was not answered in time"))

    def client_gone(self) -> None:
        """There is no client."""

    def client_slow(self, is_slow: bool) -> None:
        """There is no client."""
