"""Transcripts are played back as they are; fixed ids make equal answers of equal requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Fault, Simulator, SimulatorConfig

FOLDER = Path(__file__).parents[1] / "transcripts"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.sse"))}
HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2026-10-21"}
BODY: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
EVENTS = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "error",
}
DELTAS = {"text_delta", "input_json_delta", "citations_delta", "thinking_delta", "signature_delta", "compaction_delta"}
BLOCKS = {
    *("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result"),
    *("code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result"),
    *("tool_search_tool_result", "container_upload", "advisor_tool_result", "mcp_tool_use", "mcp_tool_result", "mcp_tool_listing"),
    *("compaction", "fallback", "connector_text"),
}
"""Source: reference anthropic-api, section 8."""
STOP_REASONS = {"end_turn", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded", "compaction"}
"""And ``max_tokens``, which every answer of the simulator's own may have."""


@pytest.fixture(scope="module")
def player() -> Iterator[Simulator]:
    with live_simulator(SimulatorConfig(speed=1e6, transcripts=TEXTS)) as running:
        yield running


def post(simulator: Simulator, **members: Any) -> tuple[int, dict[str, str], bytes]:
    return exchange(simulator.url, "POST", "/v1/messages", BODY | members, HEADERS)


def asked(name: str) -> dict[str, Any]:
    return {"metadata": {"user_id": f"transcript:{name}"}}


def datas(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("name", TEXTS)
def test_a_stream_is_the_transcript_byte_for_byte(player: Simulator, name: str) -> None:
    status, headers, data = post(player, stream=True, **asked(name))
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert data.decode() == TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_without_a_stream_it_is_one_message(player: Simulator, name: str) -> None:
    status, _, data = post(player, **asked(name))
    document = json.loads(data)
    if name.startswith("error"):
        assert (status, document["error"]["type"]) in ((529, "overloaded_error"), (500, "api_error"))
        return
    written = datas(TEXTS[name])
    assert status == 200
    assert [block["type"] for block in document["content"]] == [
        d["content_block"]["type"] for d in written if d["type"] == "content_block_start"
    ]
    assert document["usage"]["output_tokens"] == next(d for d in written if d["type"] == "message_delta")["usage"]["output_tokens"]
    assert document["stop_reason"] is not None


def test_deltas_add_up(player: Simulator) -> None:
    def content(name: str) -> list[dict[str, Any]]:
        return list(json.loads(post(player, **asked(name))[2])["content"])

    assert content("text")[0]["text"] == "The pool is warm, and it is full. — 水 🌊"
    assert content("thinking")[0] == {"type": "thinking", "thinking": "Let me look at the level.", "signature": "EqQBgoldenSignature=="}
    assert [block.get("input") for block in content("tool-use")] == [None, {"pool": "north", "depths": [1, 2.5]}, {}]
    assert len(content("citations")[0]["citations"]) == 2
    assert content("compaction")[0]["content"].startswith("The user asked")


def test_every_documented_event_delta_block_and_stop_reason_is_in_a_transcript() -> None:
    written = [data for text in TEXTS.values() for data in datas(text)]
    kinds = {data["type"] for data in written}
    deltas = {data["delta"]["type"] for data in written if data["type"] == "content_block_delta"}
    assert kinds > EVENTS
    assert deltas > DELTAS
    blocks = {data["content_block"]["type"] for data in written if data["type"] == "content_block_start"}
    assert blocks > BLOCKS
    assert {data["delta"]["stop_reason"] for data in written if data["type"] == "message_delta"} >= STOP_REASONS


def test_a_transcript_is_limited_and_booked_like_an_answer(player: Simulator) -> None:
    exchange(player.url, "POST", "/_sim/reset")
    post(player, **asked("server-tools"))
    post(player, stream=True, **asked("tool-use"))
    used = json.loads(exchange(player.url, "GET", "/_sim/stats")[2])["groups"][0]["used"]
    assert (used["requests"], used["output_tokens"]) == (2, 558)


def test_a_fault_plays_one_to_whom_it_meets(player: Simulator) -> None:
    exchange(player.url, "PUT", "/_sim/faults", [Fault("transcript", name="refusal", count=1)])
    assert json.loads(post(player)[2])["stop_reason"] == "refusal"
    assert json.loads(post(player)[2])["stop_reason"] != "refusal"


def test_transcripts_can_be_replaced() -> None:
    with live_simulator(SimulatorConfig(speed=1e6)) as simulator:
        assert post(simulator, **asked("text"))[0] == 400
        assert json.loads(exchange(simulator.url, "PUT", "/_sim/transcripts", {"text": TEXTS["text"]})[2]) == ["text"]
        assert post(simulator, **asked("text"))[0] == 200
        status, _, data = exchange(simulator.url, "PUT", "/_sim/transcripts", {"broken": "event: ping\ndata: {\n\n"})
        assert (status, json.loads(data)["error"].startswith("broken: ")) == (400, True)
        assert json.loads(exchange(simulator.url, "GET", "/_sim/transcripts")[2]) == ["text"]


def test_equal_requests_get_equal_answers_when_ids_are_fixed() -> None:
    config = SimulatorConfig(speed=1e6, has_fixed_ids=True)
    with live_simulator(config) as one, live_simulator(config) as other:
        first = [post(one), post(one, max_tokens=7), post(one, stream=True), post(one, model="claude-9")]
        again = [post(other, model="claude-9"), post(other, stream=True), post(other, max_tokens=7), post(other)][::-1]
    assert first == again
    assert first[0][1]["request-id"] != first[1][1]["request-id"]
