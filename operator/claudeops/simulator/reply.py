"""What the API answers: a 200 with its body, or a refusal in the documented shape."""

from __future__ import annotations

from typing import Any

import msgspec

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
