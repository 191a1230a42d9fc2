"""What the simulated API refuses, by model and version, and in which words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.table import every

from claudeops.catalogue import load_catalogue
from claudeops.simulator.legality import violation
from claudeops.simulator.message import MalformedBody, decode_count, decode_message

OLD, NEW = "2023-06-01", "2026-10-21"
USER = {"role": "user", "content": "hi"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
DEPRECATED = "`temperature` is deprecated for this model."
EXTRA = "temperature: Extra inputs are not permitted"
BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
FORCED = 'tool_choice: type "tool" and "any" are not supported for this model.'
ENABLED = (
    '"thinking.type.enabled" is not supported for this model. '
    'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
)
NO_ADAPTIVE = "adaptive thinking is not supported on this model"
CAPPED = (
    "output_config.effort 'xhigh' is not supported when thinking is disabled on this model. Use effort 'high' or below, or enable thinking."
)
ADAPTIVE: dict[str, Any] = {"thinking": {"type": "adaptive"}}
DISABLED: dict[str, Any] = {"thinking": {"type": "disabled"}}
BUDGET: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def verdict(model: str, version: str = OLD, **members: Any) -> str | None:
    body = {"model": model, "max_tokens": 100, "messages": [USER], **members}
    known = load_catalogue().model(model)
    assert known is not None
    return violation(decode_message(msgspec.json.encode(body)), known, version)


def cached(*controls: dict[str, str] | None) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "x"} | ({} if control is None else {"cache_control": control}) for control in controls]


@every("model", [model.id for model in load_catalogue().models])
@every("version", [OLD, NEW])
def test_a_plain_request_is_legal_everywhere(model: str, version: str) -> None:
    assert verdict(model, version) is None


@every("model", [model.id for model in load_catalogue().models])
@every("value", [0.0, 1.0])
def test_the_new_version_refuses_sampling_even_at_the_default(model: str, value: float) -> None:
    assert verdict(model, NEW, temperature=value) == EXTRA
    assert verdict(model, NEW, top_p=0.5) == "top_p: Extra inputs are not permitted"
    assert verdict(model, NEW, top_k=5) == "top_k: Extra inputs are not permitted"


@every(
    ("model", "members", "message"),
    [
        ("claude-sonnet-5-5", {"temperature": 0.2}, DEPRECATED),
        ("claude-sonnet-5-5", {"top_k": 3}, "`top_k` is deprecated for this model."),
        ("claude-opus-4-7", {"temperature": 0.2, **DISABLED}, DEPRECATED),
        ("claude-sonnet-4-6", {"temperature": 0.2}, None),
        ("claude-sonnet-4-6", {"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ("claude-sonnet-4-6", {"temperature": -0.5}, "temperature: Input should be greater than or equal to 0"),
        ("claude-sonnet-4-6", {"temperature": None}, "temperature: Input should be a valid number"),
        ("claude-sonnet-4-6", {"temperature": 0.2, "top_p": 0.9}, BOTH),
        ("claude-sonnet-4-6", {"top_p": 0.1, "top_k": 5}, None),
        ("claude-sonnet-4-6", {"temperature": 1, **ADAPTIVE}, "`temperature` may not be set when thinking is enabled."),
        ("claude-sonnet-4-6", {"top_p": 0.9, **ADAPTIVE}, "`top_p` must be greater than or equal to 0.95 when thinking is enabled."),
        ("claude-sonnet-4-6", {"top_p": 0.95, **ADAPTIVE}, None),
        ("claude-sonnet-4-5", {"temperature": 0.2, **DISABLED}, None),
        ("claude-haiku-5-5", {"temperature": 1}, None),
        ("claude-haiku-5-5", {"temperature": 0.9}, "`temperature` may only be set to 1 for this model."),
        ("claude-haiku-5-5", {"top_p": 0.99}, None),
        ("claude-haiku-5-5", {"top_p": 1}, "`top_p` may only be set to 0.99 for this model."),
        ("claude-haiku-5-5", {"temperature": 1, "top_p": 0.99}, BOTH),
    ],
)
def test_sampling_under_the_old_version(model: str, members: dict[str, Any], message: str | None) -> None:
    assert verdict(model, OLD, **members) == message


@every(
    ("model", "members", "message"),
    [
        ("claude-sonnet-5-5", ADAPTIVE, None),
        ("claude-sonnet-5-5", BUDGET, ENABLED),
        ("claude-sonnet-5-5", DISABLED, '"thinking.type.disabled" is not supported for this model.'),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}, None),
        ("claude-opus-5", DISABLED, None),
        ("claude-opus-5", {**DISABLED, "output_config": {"effort": "xhigh"}}, CAPPED),
        ("claude-opus-5", {**DISABLED, "output_config": {"effort": "high"}}, None),
        ("claude-sonnet-5", {**DISABLED, "output_config": {"effort": "max"}}, None),
        ("claude-sonnet-4-5", ADAPTIVE, NO_ADAPTIVE),
        ("claude-sonnet-4-5", BUDGET, None),
        ("claude-sonnet-4-5", {**BUDGET, "max_tokens": 1024}, "`max_tokens` must be greater than `thinking.budget_tokens`."),
        ("claude-sonnet-4-5", {"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
        (
            "claude-sonnet-4-5",
            {"thinking": {"type": "enabled", "budget_tokens": 1023}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            "claude-sonnet-4-6",
            {"thinking": {"type": "deep"}},
            "thinking.type: Input should be 'adaptive', 'enabled', 'disabled' or 'between_tools'",
        ),
        ("claude-sonnet-4-5", {"output_config": {"effort": "low"}}, "This model does not support the effort parameter."),
        ("claude-sonnet-4-6", {"output_config": {"effort": "xhigh"}}, "output_config.effort 'xhigh' is not supported for this model."),
        ("claude-sonnet-4-6", {"output_config": {"effort": "max"}}, None),
        (
            "claude-sonnet-4-6",
            {"output_config": {"effort": "huge"}},
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
    ],
)
def test_thinking_and_effort(model: str, members: dict[str, Any], message: str | None) -> None:
    assert verdict(model, OLD, **members) == message


@pytest.mark.parametrize(
    ("model", "choice", "message"),
    [
        ("claude-sonnet-5-5", {"type": "any"}, FORCED),
        ("claude-sonnet-5-5", {"type": "tool", "name": "look"}, FORCED),
        ("claude-sonnet-5-5", {"type": "auto"}, None),
        ("claude-sonnet-5", {"type": "tool", "name": "look"}, None),
        ("claude-sonnet-5", {"type": "tool", "name": "leap"}, "tool_choice.tool.name: Tool 'leap' not found in provided tools"),
    ],
)
def test_forced_tool_choice(model: str, choice: dict[str, str], message: str | None) -> None:
    assert verdict(model, NEW, tools=[TOOL], tool_choice=choice) == message


def test_a_forced_choice_needs_tools_and_no_budgeted_thinking() -> None:
    assert verdict("claude-sonnet-5", tool_choice={"type": "any"}) == "tool_choice: may only be specified while providing tools."
    forced: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "any"}}
    assert verdict("claude-sonnet-4-5", **forced, **BUDGET) == "Thinking may not be enabled when tool_choice forces tool use."


@every("model", [model for model in load_catalogue().models if model.status != "deprecated"])
def test_prefill_is_for_old_models(model: Any) -> None:
    turns = [USER, {"role": "assistant", "content": "Sure:"}]
    assert verdict(model.id, messages=turns) == (None if model.prefill else PREFILL)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: at least one message is required"),
        ([{"role": "assistant", "content": "x"}, USER], 'messages: first message must use the "user" role'),
        ([{"role": "robot", "content": "x"}], "messages.0.role: Input should be 'user' or 'assistant'"),
        ([{"role": "user", "content": ""}], "messages: text content blocks must be non-empty"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages.0.content.0.type: Field required"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text.text: Field required"),
        ([USER, {"role": "system", "content": "be brief"}, USER], None),
    ],
)
def test_turns(messages: list[Any], message: str | None) -> None:
    assert verdict("claude-sonnet-5-5", messages=messages) == message


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "assistant", "content": [{"type": "document", "source": {}}]}, "messages.1.content.0: `document` blocks"),
        ({"role": "user", "content": [{"type": "document", "source": {}}]}, None),
        ({"role": "user", "content": [{"type": "text", "text": "x", "citations": [{}]}]}, "messages.1.content.0.text.citations: Extra"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "citations": []}]}, None),
        (
            {"role": "user", "content": [{"type": "search_result", "content": [{"type": "text", "text": "x", "citations": [{}]}]}]},
            "messages.1.content.0.text.citations: Extra",
        ),
    ],
)
def test_what_only_the_new_version_refuses(turn: dict[str, Any], message: str | None) -> None:
    turns = [USER, turn, USER]
    assert verdict("claude-sonnet-5-5", OLD, messages=turns) is None
    found = verdict("claude-sonnet-5-5", NEW, messages=turns)
    assert found is None if message is None else found is not None and found.startswith(message)


def test_max_tokens_is_bounded_by_the_model() -> None:
    wanted = "max_tokens: 128001 > 64000, which is the maximum allowed number of output tokens for claude-opus-4-5-20251101"
    assert verdict("claude-opus-4-5", max_tokens=128_001) == wanted
    assert verdict("claude-opus-4-5", max_tokens=64_000) is None
    assert verdict("claude-opus-4-5", max_tokens=-1) == "max_tokens: Input should be greater than or equal to 0"


def test_zero_max_tokens_is_for_prewarming_only() -> None:
    assert verdict("claude-sonnet-5-5", max_tokens=0) is None
    assert verdict("claude-sonnet-5-5", max_tokens=0, stream=True) is not None
    assert verdict("claude-sonnet-5", max_tokens=0, tools=[TOOL], tool_choice={"type": "any"}) is not None


def test_at_most_four_breakpoints() -> None:
    wanted = "A maximum of 4 blocks with cache_control may be provided. Found 5."
    assert verdict("claude-sonnet-5-5", system=cached(*[EPHEMERAL] * 4)) is None
    assert verdict("claude-sonnet-5-5", system=cached(*[EPHEMERAL] * 5)) == wanted
    assert verdict("claude-sonnet-5-5", system=cached(*[EPHEMERAL] * 4), cache_control=EPHEMERAL) == wanted


def test_hours_come_before_minutes() -> None:
    assert verdict("claude-sonnet-5-5", system=cached(HOUR, EPHEMERAL)) is None
    found = verdict("claude-sonnet-5-5", system=cached(EPHEMERAL, None, HOUR))
    assert found is not None
    assert "a ttl='1h' cache_control block must not come after a ttl='5m'" in found
    assert (
        verdict("claude-sonnet-5-5", system=cached({"type": "ephemeral", "ttl": "2h"}))
        == "system.0.cache_control.ttl: Input should be '5m' or '1h'"
    )


def test_a_misplaced_hour_is_named_by_its_path() -> None:
    content = cached(None, EPHEMERAL, None, None, HOUR)
    assert verdict("claude-sonnet-5-5", messages=[{"role": "user", "content": content}]) == (
        "messages.0.content.4.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
        "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
    )
    tools = [{**TOOL, "cache_control": EPHEMERAL}]
    assert (verdict("claude-sonnet-5-5", tools=tools, system=cached(HOUR)) or "").startswith("system.0.cache_control.ttl: a ttl='1h'")


@pytest.mark.parametrize(
    ("last", "automatic", "is_legal"),
    [(None, EPHEMERAL, True), (EPHEMERAL, EPHEMERAL, True), (HOUR, EPHEMERAL, False), (None, {"type": "ephemeral", "ttl": "1d"}, False)],
)
def test_automatic_caching_must_agree_with_the_last_block(last: dict[str, str] | None, automatic: dict[str, str], is_legal: bool) -> None:
    found = verdict("claude-sonnet-5-5", messages=[{"role": "user", "content": cached(last)}], cache_control=automatic)
    assert (found is None) == is_legal


@every(
    ("members", "message"),
    [
        ({"thinking": {"type": "adaptive", "budget_tokens": 5000}}, "thinking.adaptive.budget_tokens: Extra inputs are not permitted"),
        ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.adaptive.display: Input should be 'summarized' or 'omitted'"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, None),
        ({"output_config": {"volume": 5}}, "output_config.volume: Extra inputs are not permitted"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, None),
        ({"tool_choice": {"type": "perhaps"}}, "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"),
        ({"speed": "slow"}, "speed: Input should be 'standard' or 'fast'"),
        ({"fallbacks": "default"}, "fallbacks: Extra inputs are not permitted"),
        ({"fallback_credit_token": "t"}, "fallback_credit_token: Extra inputs are not permitted"),
    ],
)
def test_members_inside_members(members: dict[str, Any], message: str | None) -> None:
    assert verdict("claude-sonnet-5-5", **members) == message


@pytest.mark.parametrize(
    ("fallbacks", "is_legal"),
    [("default", True), ([{"model": "claude-opus-5-5"}] * 3, True), ([{"model": "claude-opus-5-5"}] * 4, False), ([{}], False), (5, False)],
)
def test_fallbacks_need_their_header_and_form(fallbacks: Any, is_legal: bool) -> None:
    body = {"model": "claude-fable-5-1", "max_tokens": 100, "messages": [USER], "fallbacks": fallbacks}
    known = load_catalogue().model("claude-fable-5-1")
    assert known is not None
    found = violation(decode_message(msgspec.json.encode(body)), known, NEW, "server-side-fallback-2026-07-01")
    assert (found is None) == is_legal


def test_thinking_blocks_cannot_be_marked_and_paused_turns_may_come_last() -> None:
    marked = {"type": "thinking", "thinking": "x", "signature": "s", "cache_control": EPHEMERAL}
    turns = [USER, {"role": "assistant", "content": [marked]}, USER]
    wanted = "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted"
    assert verdict("claude-sonnet-5-5", messages=turns) == wanted
    paused = {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]}
    assert verdict("claude-sonnet-5-5", messages=[USER, paused]) is None


def test_service_options() -> None:
    assert verdict("claude-sonnet-4-5", inference_geo="us") is not None
    assert verdict("claude-sonnet-5-5", inference_geo="us") is None
    assert verdict("claude-opus-4-7", speed="fast") is not None
    assert verdict("claude-opus-5-5", speed="fast") is None
    assert verdict("claude-opus-5-5", service_tier="gold") == "service_tier: Input should be 'auto' or 'standard_only'"


@every(
    ("body", "message"),
    [
        ({"model": "m", "messages": []}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": 5}, "messages: Field required"),
        ({"model": "m", "max_tokens": "5", "messages": []}, "max_tokens: Input should be a valid integer"),
        ({"model": 5, "max_tokens": 5, "messages": []}, "model: Input should be a valid string"),
        ({"model": "m", "max_tokens": 5, "messages": [], "colour": 1}, "colour: Extra inputs are not permitted"),
        ({"model": "m", "max_tokens": 5, "messages": [{"content": "x"}]}, "messages.0.role: Field required"),
        (
            {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": 5}]},
            "messages.0.content: Input should be a valid string",
        ),
        (
            {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x", "who": 1}]},
            "messages.0.who: Extra inputs are not permitted",
        ),
        ({"model": "m", "max_tokens": 5, "messages": {}}, "messages: Input should be a valid list"),
        ({"model": "m", "max_tokens": 5, "messages": [], "stream": "yes"}, "stream: Input should be a valid boolean"),
        ([], "body: Input should be a valid dictionary"),
    ],
)
def test_malformed_bodies_are_named_by_path(body: Any, message: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        decode_message(msgspec.json.encode(body))
    assert str(raised.value) == message


@pytest.mark.parametrize("body", [b"", b"{", b'{"model": }', b"\xff\xfe"])
def test_what_is_no_json_says_so(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="not valid JSON"):
        decode_message(body)


def test_count_tokens_takes_no_max_tokens() -> None:
    body = {"model": "m", "messages": [USER], "max_tokens": 5}
    with pytest.raises(MalformedBody, match="max_tokens: Extra inputs are not permitted"):
        decode_count(msgspec.json.encode(body))
