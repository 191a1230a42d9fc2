"""What answers say: blocks, lengths, usage, and the same in both forms."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.catalogue import load_catalogue
from claudeops.simulator.config import SimulatorConfig
from claudeops.simulator.content import Content, Draft, plan
from claudeops.simulator.message import decode_message
from claudeops.simulator.pace import Dice
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.stream import closing, message_json, opening, steps
from claudeops.simulator.wording import WORDS

TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {"where": {"type": "string"}, "deep": {"type": "boolean"}}}}
USE = InputUse(10, 20, 30, 40)


def planned(tokens: int = 50, cap_tokens: int = 1000, **members: Any) -> Content:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **members}
    return plan(decode_message(msgspec.json.encode(body)), Draft("m", USE, tokens, cap_tokens), random.Random(1))


def events(content: Content, tokens_per_event: int = 10) -> list[dict[str, Any]]:
    data = opening(content) + b"".join(step.data for step in steps(content, tokens_per_event)) + closing(content)
    found = []
    for chunk in data.decode().split("\n\n")[:-1]:
        first, second = chunk.split("\n")
        document = json.loads(second.removeprefix("data: "))
        assert first == f"event: {document['type']}"
        found.append(document)
    return found


def test_json_usage_has_all_parts() -> None:
    usage = json.loads(message_json(planned()))["usage"]
    assert usage == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 70,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 50,
        "service_tier": "standard",
        "speed": "standard",
        "inference_geo": "global",
    }


def test_an_answer_ends_by_itself_or_at_its_cap() -> None:
    assert planned(50, 1000).stop_reason == "end_turn"
    assert planned(50, 50).stop_reason == "end_turn"
    capped = planned(50, 49)
    assert (capped.stop_reason, capped.output_tokens) == ("max_tokens", 49)


@pytest.mark.parametrize(
    ("sequences", "found", "text"),
    [
        (["keeps every", "nowhere"], "keeps every", "the pool is warm and the proxy "),
        (["proxy", "warm"], "warm", "the pool is "),
        (["oxy"], "oxy", "the pool is warm and the "),
        (["the"], "the", None),
        (["nowhere"], None, "the pool is warm and the proxy keeps every stream "),
    ],
)
def test_a_stop_sequence_ends_the_answer_before_it(sequences: list[str], found: str | None, text: str | None) -> None:
    document = json.loads(message_json(planned(10, stop_sequences=sequences)))
    assert (document["stop_sequence"], document["stop_reason"]) == (found, "stop_sequence" if found else "end_turn")
    assert (document["content"][0]["text"] if document["content"] else None) == text


def test_a_prewarm_answers_nothing() -> None:
    document = json.loads(message_json(planned(50, 0)))
    assert (document["content"], document["stop_reason"], document["usage"]["output_tokens"]) == ([], "max_tokens", 0)


def test_a_free_tool_choice_calls_the_first_tool_once() -> None:
    content = planned(tools=[TOOL])
    assert (content.stop_reason, [part.kind for part in content.parts]) == ("tool_use", ["tool_use"])
    result = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]
    assert planned(tools=[TOOL], messages=result).stop_reason == "end_turn"
    assert planned(tools=[TOOL], messages=result, tool_choice={"type": "any"}).stop_reason == "tool_use"
    assert planned(tools=[TOOL], tool_choice={"type": "none"}).stop_reason == "end_turn"


def test_thinking_is_counted_and_hidden_unless_it_is_to_be_shown() -> None:
    hidden = json.loads(message_json(planned(100, thinking={"type": "adaptive"})))
    assert hidden["usage"]["output_tokens_details"] == {"thinking_tokens": 30}
    assert hidden["usage"]["output_tokens"] == 100
    assert hidden["content"][0]["thinking"] == ""
    assert hidden["content"][0]["signature"]
    shown = json.loads(message_json(planned(100, thinking={"type": "adaptive", "display": "summarized"})))
    assert len(shown["content"][0]["thinking"].split()) == 30


@pytest.mark.parametrize("count", [1, 42, 43, 44, 45, 500])
def test_texts_are_the_same_words_wherever_they_are_cut(count: int) -> None:
    text = json.loads(message_json(planned(count)))["content"][0]["text"]
    assert len(text.split()) == count
    assert text == (" ".join(WORDS * 20)[: len(text) - 1] + " ")


def test_hidden_thinking_streams_a_signature_and_nothing_else() -> None:
    found = events(planned(100, thinking={"type": "adaptive"}))
    deltas = [event["delta"]["type"] for event in found if event["type"] == "content_block_delta" and event["index"] == 0]
    assert deltas == ["signature_delta"]


def rebuilt(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a client puts together from the events."""
    blocks: list[dict[str, Any]] = []
    partial: dict[int, str] = {}
    for event in found:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            if delta["type"] == "input_json_delta":
                partial[event["index"]] = partial.get(event["index"], "") + delta["partial_json"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            else:
                field = "text" if delta["type"] == "text_delta" else "thinking"
                block[field] += delta[field]
    for index, text in partial.items():
        blocks[index]["input"] = json.loads(text)
    return blocks


@settings(max_examples=40)
@given(
    tokens=st.integers(1, 400),
    cap=st.integers(1, 400),
    per_event=st.integers(1, 60),
    members=st.sampled_from(
        [
            {},
            {"tools": [TOOL]},
            {"thinking": {"type": "adaptive"}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "tools": [TOOL]},
        ]
    ),
)
def test_a_stream_rebuilds_the_json_answer(tokens: int, cap: int, per_event: int, members: dict[str, Any]) -> None:
    content = planned(tokens, cap, **members)
    found = events(content, per_event)
    whole = json.loads(message_json(content))
    assert rebuilt(found) == whole["content"]
    assert found[0]["message"]["usage"]["cache_creation"] == whole["usage"]["cache_creation"]
    assert found[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"] <= cap
    assert found[-2]["delta"]["stop_reason"] == whole["stop_reason"]
    assert sum(step.tokens for step in steps(content, per_event)) == content.output_tokens
    assert [event["type"] for event in found if event["type"] == "ping"] == ["ping"]


def paces(seed: int, name: str = "claude-sonnet-5-5", **settings_: Any) -> list[Any]:
    model = load_catalogue().model(name)
    assert model is not None
    dice = Dice(SimulatorConfig(seed=seed, **settings_))
    return [dice.draw(model) for _ in range(2001)]


def test_the_seed_decides_everything() -> None:
    assert paces(1) == paces(1)
    assert paces(1) != paces(2)


def test_lengths_and_latencies_have_the_wanted_medians() -> None:
    drawn = paces(3, output_median_tokens=350)
    assert sorted(pace.output_tokens for pace in drawn)[1000] == pytest.approx(350, rel=0.1)
    assert sorted(pace.ttft_s for pace in drawn)[1000] == pytest.approx(0.8, rel=0.05)
    assert sorted(pace.tokens_per_s for pace in drawn)[1000] == pytest.approx(60, rel=0.05)


def test_speed_divides_latencies_and_leaves_lengths_alone() -> None:
    slow, fast = paces(4), paces(4, speed=10)
    assert [pace.output_tokens for pace in slow] == [pace.output_tokens for pace in fast]
    assert fast[0].ttft_s == pytest.approx(slow[0].ttft_s / 10)
    assert fast[0].tokens_per_s == pytest.approx(slow[0].tokens_per_s * 10)


def test_lines_differ_and_can_be_overridden() -> None:
    haiku, opus = paces(5, "claude-haiku-5-5"), paces(5, "claude-opus-5-5")
    assert haiku[0].ttft_s < opus[0].ttft_s
    assert haiku[0].tokens_per_s > opus[0].tokens_per_s
    assert paces(5, "claude-haiku-5-5", ttft_s=2.0, tokens_per_s=5.0) == paces(5, "claude-opus-5-5", ttft_s=2.0, tokens_per_s=5.0)
