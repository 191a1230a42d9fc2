"""Refusals in the API's own error shape: the one place where a reason becomes a status, a type and headers."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from claudeops.wire.http1 import json_answer

RETRY_AFTER_MAX_S = 60.0
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    431: "invalid_request_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The API's ``error.type`` for a status; every other one is an ``api_error``."""


class Rule(NamedTuple):
    """How one reason is answered. ``status`` 0: the refusal brings its own."""

    status: int
    is_final: bool = False
    has_retry_after: bool = False


RULES = {
    "bad_request": Rule(400),
    "too_large": Rule(413),
    "no_such_path": Rule(404),
    "policy": Rule(400, is_final=True),
    "credentials": Rule(503, is_final=True),
    "quota": Rule(429, has_retry_after=True),
    "queue_full": Rule(429, has_retry_after=True),
    "deadline": Rule(429, has_retry_after=True),
    "breaker_open": Rule(529, has_retry_after=True),
    "upstream": Rule(502),
    "draining": Rule(503, has_retry_after=True),
    "not_ready": Rule(503, has_retry_after=True),
}
"""Every ``x-claudeops-reason``. ``is_final``: sent with ``x-should-retry: false``."""


class Answer:
    """A stage's decision to end the walk: a refusal in the API's error shape. ``status`` overrides the reason's own; ``code`` is the
    API's ``error.details.error_code``, where it has one for this."""

    __slots__ = ("code", "message", "reason", "retry_after_s", "status")

    def __init__(self, reason: str, message: str, *, retry_after_s: float = 0.0, status: int = 0, code: str = "") -> None:
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.status = status or RULES[reason].status
        self.code = code


PARKED = Answer("not_ready", "parked")
"""A stage's decision to wait: it will resume the walk itself."""


def error_json(status: int, message: str, request_id: str | None = None, *, code: str = "") -> bytes:
    """The API's error body for a status."""
    error: dict[str, object] = {"type": TYPES.get(status, "api_error"), "message": message}
    if code:
        error["details"] = {"error_code": code}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def refusal(answer: Answer, *, keep_alive: bool, request_id: str | None = None) -> bytes:
    """The whole response."""
    rule = RULES[answer.reason]
    extra = f"x-claudeops-reason: {answer.reason}\r\n"
    if request_id is not None:
        extra += f"request-id: {request_id}\r\n"
    if rule.is_final:
        extra += "x-should-retry: false\r\n"
    if rule.has_retry_after:
        wait_s = min(RETRY_AFTER_MAX_S, max(1.0, answer.retry_after_s))
        extra += f"retry-after: {math.ceil(wait_s)}\r\n"
    body = error_json(answer.status, answer.message, request_id, code=answer.code)
    return json_answer(answer.status, body, extra=extra.encode(), keep_alive=keep_alive)


def framing_refusal(status: int, message: str) -> bytes:
    """The answer to bytes that are not a request: the wire layer calls this, and closes."""
    reason = "too_large" if status == 413 else "bad_request"
    return refusal(Answer(reason, message, status=status), keep_alive=False)
