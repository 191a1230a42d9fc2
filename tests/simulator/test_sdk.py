"""The real ``anthropic`` SDKs find in the simulator what they expect of the Claude API."""

from __future__ import annotations

from typing import Any

import pytest
from tests.sdk import NEW, OLD

pytestmark = pytest.mark.sdk

LIMITED = ("requests", "input-tokens", "output-tokens", "tokens")


def of(outcomes: dict[str, Any], scenario: str) -> Any:
    found = outcomes[scenario]
    assert not (isinstance(found, dict) and "failed" in found), found["failed"]
    return found


def is_ordinary(message: dict[str, Any]) -> bool:
    words = len(message["text"].split())
    return bool(message["stop_reason"] == "end_turn" and message["types"] == ["text"] and message["output_tokens"] == words > 0)


def test_the_session_spoke_with_the_wanted_sdk(outcomes: dict[str, Any], sdk_version: str) -> None:
    assert outcomes["version"] == sdk_version


def test_a_message(outcomes: dict[str, Any]) -> None:
    message = of(outcomes, "sync")
    assert is_ordinary(message)
    assert message["model"] == "claude-sonnet-5-5"
    assert message["input_tokens"] > 0
    assert message["request_id"].startswith("req_")


def test_messages_at_the_same_time(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "asynchronous")
    assert len(found["each"]) == 5
    assert all(is_ordinary(message) for message in found["each"])
    assert found["streamed"] == found["final"]["text"]
    assert is_ordinary(found["final"])


def test_a_stream_adds_up_to_its_message(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "streaming")
    assert found["streamed"] == found["final"]["text"]
    assert is_ordinary(found["final"])


def test_events_come_in_the_documented_order(outcomes: dict[str, Any]) -> None:
    events = of(outcomes, "raw_events")
    assert events[:2] == ["message_start", "content_block_start"]
    assert set(events[2:-3]) == {"content_block_delta"}
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_tool_is_called_and_answered(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "tools")
    wanted = {"pool": "example", "unit": "percent", "depth": 1}
    assert found["first"]["stop_reason"] == "tool_use"
    assert found["input"] == found["streamed"] == wanted
    assert is_ordinary(found["second"])


def test_thinking_blocks_come_first_and_are_signed(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "thinking")
    assert found["adaptive"]["types"] == found["budgeted"]["types"] == ["thinking", "text"]
    assert found["text"]
    assert all(found["signatures"])


def test_counted_tokens_are_those_that_are_billed(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "count_tokens")
    assert found["plain"] == found["billed"] > 0
    assert found["with_tool"] > found["plain"] + 286


def test_models_are_paged_through(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "models")
    assert len(found["ids"]) == len(set(found["ids"])) == 19
    assert found["one"] == "claude-haiku-4-5-20251001"


def test_a_cached_prefix_is_written_once_and_read_after(outcomes: dict[str, Any]) -> None:
    first, second = of(outcomes, "caching")
    assert first["written"] == second["read"] > 512
    assert first["read"] == second["written"] == 0
    assert first["input_tokens"] == second["input_tokens"] < 50


def test_a_batch_is_made_followed_and_read(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "batches")
    assert is_ordinary(found.pop("good"))
    assert found == {
        "created": "in_progress",
        "counts": [1, 1],
        "bad": "not_found_error",
        "listed": True,
        "deleted": "message_batch_deleted",
    }


def test_files_are_uploaded_listed_and_deleted(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "files")
    error = found.pop("download")
    assert found == {"type": "file", "size": 8, "listed": True, "deleted": ["file_deleted"] * 3}
    assert (error["status"], error["body"]["error"]["details"]) == (400, {"error_code": "file_not_downloadable"})


def test_every_transcript_reads_the_same_streamed_and_whole(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "transcripts")
    for name in ("error", "error-first"):
        assert found.pop(name) == {"failed": "APIStatusError"}
    assert len(found) >= 19
    for name, both in found.items():
        assert both["streamed"] == both["whole"], name
    assert found["unknown"]["whole"]["types"] == ["hologram", "text"]
    assert found["server-tools"]["whole"]["input_tokens"] == 10_682


def test_the_admin_api_says_the_limits(outcomes: dict[str, Any], sdk_version: str) -> None:
    found = of(outcomes, "organization")
    if sdk_version != NEW:
        assert found is None
        return
    assert {"model_group", "batch", "token_count", "files"} == set(found["types"])
    assert "claude-haiku-4-5" in found["models"]
    assert {"requests_per_minute", "input_tokens_per_minute_cache_aware", "output_tokens_per_minute"} <= set(found["values"])
    [[scope, amount, spent]] = found["spend"]
    assert (scope, amount, float(spent) > 0) == ("usage_tier", "100000", True)


def test_rate_limit_headers_are_complete(outcomes: dict[str, Any]) -> None:
    headers = of(outcomes, "raw_headers")
    for dimension in LIMITED:
        for field in ("limit", "remaining", "reset"):
            assert headers[f"anthropic-ratelimit-{dimension}-{field}"]
    assert int(headers["anthropic-ratelimit-output-tokens-remaining"]) % 1000 == 0
    assert {"request-id", "anthropic-organization-id", "anthropic-workspace-id"} <= set(headers)


def test_what_each_sdk_puts_on_the_wire_is_recorded(outcomes: dict[str, Any], sdk_version: str) -> None:
    entry = of(outcomes, "wire")
    names = {name.lower() for name in entry["header_names"]}
    assert entry["user_agent"] == f"Anthropic/Python {sdk_version}"
    assert entry["stainless"]["x-stainless-package-version"] == sdk_version
    assert entry["api_version"] == ("2026-10-21" if sdk_version == NEW else "2023-06-01")
    assert ("authorization" in names, "x-api-key" in names) == ((True, False) if sdk_version == NEW else (False, True))
    assert entry["key"] == "sion"


def test_temperature_is_judged_by_version_and_model(outcomes: dict[str, Any], sdk_version: str) -> None:
    found = of(outcomes, "temperature")
    assert found["keyword"]["class"] == (None if sdk_version == OLD else "TypeError")
    if sdk_version == NEW:
        assert found["old_model"]["body"]["error"]["message"] == "temperature: Extra inputs are not permitted"
        assert found["new_model"]["body"]["error"]["message"] == "temperature: Extra inputs are not permitted"
    else:
        assert found["old_model"]["class"] is None
        assert found["new_model"]["body"]["error"]["message"] == "`temperature` is deprecated for this model."
    assert found["new_model"]["class"] == "BadRequestError"


@pytest.mark.parametrize(
    ("case", "name", "status", "kind"),
    [
        ("throttle", "RateLimitError", 429, "rate_limit_error"),
        ("overloaded", "OverloadedError", 529, "overloaded_error"),
        ("error500", "InternalServerError", 500, "api_error"),
        ("key", "AuthenticationError", 401, "authentication_error"),
        ("model", "NotFoundError", 404, "not_found_error"),
        ("forced", "BadRequestError", 400, "invalid_request_error"),
        ("stream_error_before", "APIStatusError", 200, "overloaded_error"),
        ("stream_error_after", "APIStatusError", 200, "overloaded_error"),
    ],
)
def test_errors_are_typed(outcomes: dict[str, Any], case: str, name: str, status: int, kind: str) -> None:
    error = of(outcomes, "errors")[case]
    assert (error["class"], error["status"]) == (name, status)
    assert "APIStatusError" in error["bases"]
    assert error["body"]["error"]["type"] == kind
    assert error["request_id"] == error["body"]["request_id"]


def test_a_429_says_when_to_come_back_and_what_is_left(outcomes: dict[str, Any]) -> None:
    error = of(outcomes, "errors")["throttle"]
    assert error["retry_after"] == "7"
    assert int(error["remaining"]) >= 0


@pytest.mark.parametrize("case", ["reset", "down", "garbage"])
def test_broken_connections_are_connection_errors(outcomes: dict[str, Any], case: str) -> None:
    assert of(outcomes, "errors")[case]["class"] == "APIConnectionError"


def test_broken_answers_are_no_answers(outcomes: dict[str, Any]) -> None:
    assert of(outcomes, "errors")["half_json"]["class"] == "JSONDecodeError"
    assert of(outcomes, "errors")["stream_reset"]["class"] == "ReadError"


def test_the_sdk_retries_what_it_should(outcomes: dict[str, Any]) -> None:
    found = of(outcomes, "retries")
    assert is_ordinary(found)
    assert found["codes"] == [200, 529, 429]
    assert found["counts"] == ["2", "1", "0"]
