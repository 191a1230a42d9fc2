"""How an attempt failed, and what that means for retrying."""

from __future__ import annotations

from typing import Final

from claudeops.sidecar.wireformat import UNREADABLE, ErrorBody, decode_error
from claudeops.wire.http1 import header

THROTTLED: Final = 429
RETRIED: Final = frozenset((408, 409, 429))
"""And every 5xx."""
SPEND_CODES: Final[tuple[str, ...]] = ("enforced_spend_limit_reached", "contract_spend_limit_reached")
STREAM_STATUS: Final = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "api_error": 500,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "billing_error": 402,
}
NO_CONNECTION: Final = 0
TIMED_OUT: Final = 504
RETRY_AFTER_MAX_S: Final = 86_400.0
"""The longest ``retry-after`` that is obeyed as it stands; a longer one counts as this: once a day is no burden on anybody, and an
answer that was wrong is not believed for good."""


RATE_LIMITED: Final = "RateLimited"
RAMP_LIMITED: Final = "RampLimited"
SPEND_LIMITED: Final = "SpendLimited"
FAST_LIMITED: Final = "FastLimited"
"""Cause of a 429 of fast mode's own limits: it says nothing about the model's."""
THROTTLE_CAUSES: Final = (RATE_LIMITED, RAMP_LIMITED, SPEND_LIMITED, FAST_LIMITED)


class Failure:
    """One failed attempt.

    ``status``: as it is counted (0 no connection, 504 timed out here). ``head`` and ``body``: the API's answer, to be relayed if nothing
    else helps; empty where there is none. ``is_counted``: the API may have counted tokens.
    """

    __slots__ = (
        "body", "cause", "head", "is_counted", "is_final", "is_impatience", "is_spend", "is_wished", "message", "retry_after_s", "status",
    )  # fmt: skip

    def __init__(self, status: int, message: str, *, is_counted: bool = False, head: bytes = b"", body: bytes = b"") -> None:
        self.status = status
        self.message = message
        self.is_counted = is_counted
        self.head = head
        self.body = body
        self.cause = ""
        """Of a 429: RateLimited, RampLimited or SpendLimited."""
        self.is_spend = False
        self.is_final = False
        """``x-should-retry: false``."""
        self.is_wished = False
        """``x-should-retry: true``."""
        self.is_impatience = False
        """The time of this request was over, not what an upstream may take: nothing is known of that."""
        self.retry_after_s: float | None = None

    @property
    def is_upstreams(self) -> bool:
        """The API could not serve a request that was right: another attempt, or another model, may."""
        return (self.status in RETRIED or self.status >= 500 or self.status == NO_CONNECTION) and not self.is_spend

    @property
    def is_retryable(self) -> bool:
        """May the same request be sent again?"""
        return not self.is_final and not self.is_spend and (self.is_upstreams or self.is_wished)

    @property
    def is_answer(self) -> bool:
        """There is an answer of the API to relay."""
        return self.head != b""


def failure_of_answer(status: int, head: bytes, body: bytes, *, wall_s: float) -> Failure:
    """From a complete answer that is not 200 and came at ``wall_s`` (unix seconds)."""
    failure = Failure(status, "", head=head, body=body)
    lowered = head.lower()
    wish = header(head, lowered, b"x-should-retry").lower()
    failure.is_final = wish == b"false"
    failure.is_wished = wish == b"true"
    failure.retry_after_s = _wait_s(header(head, lowered, b"retry-after"), wall_s)
    if status == THROTTLED:
        _name_cause(failure, _error_code(body))
    return failure


def failure_of_event(error: ErrorBody) -> Failure:
    """From an ``error`` event inside a 200 stream."""
    failure = Failure(STREAM_STATUS.get(error.type, 500), error.message, is_counted=True)
    if failure.status == THROTTLED:
        _name_cause(failure, None if error.details is None else error.details.error_code)
    return failure


def _name_cause(failure: Failure, code: str | None) -> None:
    failure.is_spend = code in SPEND_CODES
    failure.cause = SPEND_LIMITED if failure.is_spend else RAMP_LIMITED if code == "ramp_limit_exceeded" else RATE_LIMITED


def _error_code(body: bytes) -> str | None:
    try:
        details = decode_error(body).error.details
    except UNREADABLE:
        return None
    return None if details is None else details.error_code


def _wait_s(value: bytes, wall_s: float) -> float | None:
    """What a ``retry-after`` asks for, in seconds or as a date (RFC 9110 section 10.2.3); None where that is no time to come."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _unix_s(value) - wall_s
    return min(seconds, RETRY_AFTER_MAX_S) if seconds > 0.0 else None


def _unix_s(date: bytes) -> float:
    """0 for what is no date in one of HTTP's three forms."""
    from email.utils import mktime_tz, parsedate_tz  # not at the start: the API itself speaks of seconds

    try:
        parts = parsedate_tz(date.decode("latin-1"))
        return 0.0 if parts is None else float(mktime_tz(parts))
    except (ValueError, OverflowError):
        return 0.0
