"""One request on its way through the stages. Stages fill it from top to bottom; nothing else is per-request state."""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING

from claudeops.policy.queue import Ticket
from claudeops.sidecar.edit import Edit
from claudeops.sidecar.group import GroupRuntime
from claudeops.sidecar.model import PRIMARY, ModelRuntime
from claudeops.sidecar.usage import Usage
from claudeops.sidecar.wireformat import RequestJson
from claudeops.wire.http1 import RequestHead
from claudeops.wire.server import ServerConnection
from claudeops.wire.transit import Recipient, Transit

if TYPE_CHECKING:
    from claudeops.sidecar.caller import Caller
    from claudeops.sidecar.flight import Flight
    from claudeops.wire.pool import Request

NOTHING_ASKED = RequestJson("")
"""For paths that are relayed without being read."""


class Call(Transit):
    """The per-request context.

    A *walk* is one pass from route on: it sets model, edits and estimates anew. An *attempt* is one request to the API: it holds a
    place in its group from admission to release.

    ``fingerprint``: of what this walk would send, empty where that is not shared. ``flight``: the shared call that it leads or follows.
    """

    __slots__ = (
        "adjusted", "admitted_at", "answer_head", "arrived_at", "asked", "attempts", "body", "caller", "client", "deadline", "edits",
        "estimated_input", "estimated_total", "estimated_uncached", "extra_tokens", "fingerprint", "first_byte_at", "first_content_at",
        "flight", "floor", "group", "has_relayed", "head", "is_admitted", "is_again", "is_marked", "is_over", "is_probe", "is_streamed",
        "model", "offered_to", "prefix", "produced", "queue_s", "queued_at", "request", "sent_at", "session", "status", "text_bytes",
        "ticket", "tier", "tiers", "timer", "usage", "walked_at",
    )  # fmt: skip

    def __init__(self, head: RequestHead, body: bytes, client: ServerConnection, *, caller: Caller, now: float) -> None:  # noqa: PLR0915 - a list of fields
        self.upstream = self.usual = None
        self.head = head
        self.body = body
        """The client's own bytes, decoded where they came compressed; never changed."""
        self.client: Recipient = client
        self.caller = caller
        self.asked = NOTHING_ASKED
        self.session = b""
        self.arrived_at = now
        self.walked_at = now
        self.deadline = 0.0
        """When the client stops waiting, or ``timeouts.total`` is over: the end of queueing, retries and time to the first byte."""
        self.model: ModelRuntime = None  # type: ignore[assignment]
        self.group: GroupRuntime = None  # type: ignore[assignment]
        self.tier = PRIMARY
        self.tiers: tuple[ModelRuntime, ...] = ()
        """The models that may serve this request, in order."""
        self.floor = 0
        """Tiers before this one are used up for this request."""
        self.edits: dict[str, Edit] = {}
        """Member of the body → new JSON, b"" to leave it out; a dotted name is a member of a member."""
        self.adjusted: tuple[str, ...] = ()
        self.flight: Flight | None = None
        self.fingerprint = self.prefix = b""
        self.estimated_total = self.estimated_uncached = 0.0
        self.text_bytes = 0
        """The part of the body whose tokens are estimated by its bytes; 0 where nothing can be learned from it."""
        self.extra_tokens = 0.0
        """The part of ``estimated_total`` that is not by bytes."""
        self.estimated_input = 0.0
        """What admission took from the input bucket, as corrected by what the API says."""
        self.is_streamed = False
        self.is_probe = False
        self.offered_to: GroupRuntime | None = None
        """Whose demand it has been counted for."""
        self.is_again = False
        """A repeated attempt: goes before its class, and is not shed for the length of its wait."""
        self.is_admitted = False
        self.is_marked = False
        """It goes out with prompt-cache breakpoints."""
        self.is_over = False
        self.ticket: Ticket[Call] | None = None
        self.timer: TimerHandle | None = None
        self.queued_at = 0.0
        self.queue_s = 0.0
        self.attempts = 0
        """To the model of this walk."""
        self.request: Request = (b"", b"")
        self.answer_head = b""
        """Of this attempt's answer, as the API sent it."""
        self.admitted_at = 0.0
        self.sent_at = 0.0
        self.first_byte_at = 0.0
        self.first_content_at = 0.0
        self.status = 0
        self.has_relayed = False
        self.produced = 0.0
        """Output tokens that the limiter has been told of."""
        self.usage = Usage()

    def client_slow(self, is_slow: bool) -> None:
        if self.upstream is not None:
            self.upstream.slow(is_slow)
