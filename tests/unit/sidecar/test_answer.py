"""Refusals: the table of the data plane's design, line by line."""

from __future__ import annotations

import json

import pytest
from tests.unit.table import every

from claudeops.sidecar.answer import RULES, Answer, framing_refusal, refusal
from claudeops.sidecar.failure import RETRY_AFTER_MAX_S, Failure, failure_of_answer, failure_of_event
from claudeops.sidecar.wireformat import ErrorBody

WALL_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
TABLE = [
    ("bad_request", 400, "invalid_request_error", False, False),
    ("too_large", 413, "request_too_large", False, False),
    ("no_such_path", 404, "not_found_error", False, False),
    ("policy", 400, "invalid_request_error", True, False),
    ("credentials", 503, "api_error", True, False),
    ("quota", 429, "rate_limit_error", False, True),
    ("queue_full", 429, "rate_limit_error", False, True),
    ("deadline", 429, "rate_limit_error", False, True),
    ("breaker_open", 529, "overloaded_error", False, True),
    ("upstream", 502, "api_error", False, False),
    ("draining", 503, "api_error", False, True),
    ("not_ready", 503, "api_error", False, True),
]


def parse(raw: bytes) -> tuple[int, dict[str, str], dict[str, object]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split(" ")[1]), dict(line.split(": ", 1) for line in lines[1:]), json.loads(body)


@every(("reason", "status", "kind", "is_final", "waits"), TABLE)
def test_every_reason_has_its_status_type_and_headers(reason: str, status: int, kind: str, is_final: bool, waits: bool) -> None:
    seen, headers, body = parse(refusal(Answer(reason, "what to do", retry_after_s=7.2), keep_alive=True, request_id="req_1"))
    assert seen == status
    assert body == {"type": "error", "error": {"type": kind, "message": "what to do"}, "request_id": "req_1"}
    assert headers["x-claudeops-reason"] == reason
    assert headers["request-id"] == "req_1"
    assert headers.get("x-should-retry") == ("false" if is_final else None)
    assert headers.get("retry-after") == ("8" if waits else None)


def test_the_table_is_whole() -> None:
    assert {row[0] for row in TABLE} == set(RULES)


@pytest.mark.parametrize(("wait_s", "header"), [(0.0, "1"), (0.2, "1"), (59.1, "60"), (500.0, "60"), (float("inf"), "60")])
def test_retry_after_is_between_one_second_and_a_minute(wait_s: float, header: str) -> None:
    assert parse(refusal(Answer("quota", "x", retry_after_s=wait_s), keep_alive=True))[1]["retry-after"] == header


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (408, "timeout_error"), (413, "request_too_large")])
def test_what_cannot_be_framed_is_refused_in_the_same_shape(status: int, kind: str) -> None:
    seen, headers, body = parse(framing_refusal(status, "no"))
    assert (seen, headers["connection"]) == (status, "close")
    assert body["error"] == {"type": kind, "message": "no"}


def answer(status: int, extra: str = "", code: str | None = None) -> Failure:
    details = {"details": {"error_code": code}} if code else {}
    body = json.dumps({"type": "error", "error": {"type": "x", "message": "m"} | details}).encode()
    return failure_of_answer(status, f"HTTP/1.1 {status} X\r\ncontent-type: application/json{extra}".encode(), body, wall_s=WALL_S)


@every("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_these_answers_are_worth_another_attempt(status: int) -> None:
    assert answer(status).is_retryable
    assert answer(status).is_upstreams


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_clients_own_error_is_not(status: int) -> None:
    assert not answer(status).is_retryable
    assert not answer(status).is_upstreams


def test_x_should_retry_wins() -> None:
    assert not answer(529, "\r\nX-Should-Retry: false").is_retryable
    assert answer(529, "\r\nX-Should-Retry: false").is_upstreams, "another model may still serve"
    assert answer(400, "\r\nx-should-retry: true").is_retryable


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_spend_limit_is_never_retried_nor_fallen_back_from(code: str) -> None:
    failure = answer(429, "\r\nx-should-retry: true", code)
    assert (failure.cause, failure.is_spend) == ("SpendLimited", True)
    assert not failure.is_retryable
    assert not failure.is_upstreams


def test_causes_of_429s_and_retry_after_are_read() -> None:
    assert answer(429).cause == "RateLimited"
    assert answer(429, code="ramp_limit_exceeded").cause == "RampLimited"


RETRY_AFTERS: list[tuple[str, float | None]] = [
    ("16", 16.0),
    ("0.5", 0.5),
    ("86400", RETRY_AFTER_MAX_S),
    ("2592000", RETRY_AFTER_MAX_S),
    ("9" * 400, RETRY_AFTER_MAX_S),
    ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
    ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
    ("Tue Nov 14 22:14:20 2023", 60.0),
    ("Thu, 14 Dec 2023 22:13:20 GMT", RETRY_AFTER_MAX_S),
    ("Tue, 14 Nov 2023 22:13:20 GMT", None),
    ("Mon, 13 Nov 2023 22:13:20 GMT", None),
    *((nonsense, None) for nonsense in ("", "0", "-1", "nan", "soon", "Tue, 14 Nov", "Tue, 14 Nov 99999999999 22:13:20 GMT", "\xff, 1")),
]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTERS)
def test_a_retry_after_is_seconds_or_a_date_and_a_very_long_one_is_a_day(value: str, seconds: float | None) -> None:
    assert answer(429, f"\r\nretry-after: {value}").retry_after_s == seconds


@pytest.mark.parametrize(
    ("kind", "status"), [("overloaded_error", 529), ("rate_limit_error", 429), ("invalid_request_error", 400), ("new", 500)]
)
def test_an_error_event_counts_as_the_status_it_would_have_had(kind: str, status: int) -> None:
    assert failure_of_event(ErrorBody(kind, "m")).status == status
