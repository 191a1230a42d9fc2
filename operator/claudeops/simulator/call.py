"""One API call on its way through the simulator: what is known of it, and how it is refused."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec

from claudeops.catalogue import Model
from claudeops.simulator.config import Account
from claudeops.simulator.fault import Fault
from claudeops.simulator.http import Connection, Request
from claudeops.simulator.identity import mint
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.pool import Group
from claudeops.simulator.promptcache import InputUse, Lookup

JSON_LINES = b"content-type: application/json\r\n"


class Answer(msgspec.Struct, frozen=True):
    """A 200: its body, and the header lines that describe it."""

    body: bytes
    lines: bytes = JSON_LINES

    @classmethod
    def of(cls, document: Any) -> Answer:
        """A JSON document."""
        return cls(msgspec.json.encode(document))


class Problem(msgspec.Struct, frozen=True):
    """A refusal in the API's shape. ``details``: the members of ``error.details``, ``error_code`` among them."""

    status: int
    type: str
    message: str
    retry_after_s: int | None = None
    has_ratelimits: bool = False
    details: dict[str, Any] | None = None

    def document(self, request_id: str) -> dict[str, Any]:
        """The documented error document."""
        error: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"type": "error", "error": error, "request_id": request_id}

    def body(self, request_id: str) -> bytes:
        """The same as bytes."""
        return msgspec.json.encode(self.document(request_id))


def invalid(message: str, **details: Any) -> Problem:
    """A 400."""
    return Problem(400, "invalid_request_error", message, details=details or None)


def not_found(message: str, **details: Any) -> Problem:
    """A 404."""
    return Problem(404, "not_found_error", message, details=details or None)


OVERLOADED = Problem(529, "overloaded_error", "Overloaded")
BROKEN = Problem(0, "", "connection broken on purpose")
"""No answer at all: the fault script breaks the connection before the API sees the request."""
TOO_LARGE = Problem(413, "request_too_large", "Request exceeds the maximum size")
INTERNAL = Problem(500, "api_error", "Internal server error")


class Call:
    """One request to an API endpoint. Stages fill it in from top to bottom."""

    __slots__ = (
        "account",
        "connection",
        "dice",
        "fault",
        "group",
        "key",
        "lookup",
        "message",
        "model",
        "names",
        "ratelimit_lines",
        "request",
        "request_id",
        "started_at",
        "started_s",
        "version",
    )

    def __init__(self, request: Request, connection: Connection, dice: random.Random, started_s: float) -> None:
        self.request = request
        self.connection = connection
        self.dice = dice
        self.request_id = mint("req", dice)
        self.names: tuple[str, ...] = ()
        self.started_s = started_s
        self.started_at = time.time()
        self.key = ""
        self.version = ""
        self.account: Account | None = None
        self.message: CountRequest | None = None
        self.model: Model | None = None
        self.group: Group | None = None
        self.fault: Fault | None = None
        self.lookup = Lookup(InputUse(0))
        self.ratelimit_lines = b""

    @property
    def is_stream(self) -> bool:
        """Whether the client asked for server-sent events."""
        return isinstance(self.message, MessageRequest) and self.message.stream

    def lines(self, *, has_ratelimits: bool) -> bytes:
        """The header lines of every answer to this call."""
        lines = f"request-id: {self.request_id}\r\n"
        if self.account is not None:
            lines += f"anthropic-organization-id: {self.account.organization_id}\r\nanthropic-workspace-id: {self.account.workspace_id}\r\n"
        return lines.encode() + (self.ratelimit_lines if has_ratelimits else b"")
