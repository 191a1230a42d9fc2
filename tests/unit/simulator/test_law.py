"""The API's legality table, model by model and version by version, written out from its documentation and not from our catalogue.

Sources: Anthropic's migration guide, thinking and pricing pages of October 2026, release notes of November 2026. A row that disagrees
with the catalogue is a finding: look up which of the two is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.unit.table import every

from claudeops.catalogue import load_catalogue
from claudeops.simulator.legality import violation
from claudeops.simulator.message import MalformedBody, decode_message

OLD, NEW = "2023-06-01", "2026-10-21"
FAST_BETA = "fast-mode-2026-02-01"
USER = {"role": "user", "content": "hi"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
LEVELS = ("low", "medium", "high", "xhigh", "max")
ALL, UP_TO_MAX, UP_TO_HIGH = LEVELS, ("low", "medium", "high", "max"), ("low", "medium", "high")
TYPES = ("adaptive", "enabled", "disabled", "between_tools")
M, K = 1_000_000, 1_000


class Row(NamedTuple):
    """One model. ``thinking``: the types it takes; ``capped``: those it takes only with an effort up to high; ``fast``: what
    ``speed: fast`` is; ``effort`` None: not known."""

    sampling: str
    thinking: tuple[str, ...]
    effort: tuple[str, ...] | None
    forced: bool
    prefill: bool
    output: int
    context: int
    fast: str
    geo: bool
    capped: tuple[str, ...] = ()


NEWEST = Row("locked", ("adaptive",), ALL, False, False, 128 * K, M, "error", True)
TABLE = {
    "claude-fable-5-2": NEWEST._replace(fast="ok"),
    "claude-mythos-5-2": NEWEST._replace(fast="ok"),
    "claude-fable-5-1": NEWEST,
    "claude-mythos-5-1": NEWEST,
    "claude-fable-5": NEWEST._replace(forced=True),
    "claude-mythos-5": NEWEST._replace(forced=True),
    "claude-mythos-preview": Row("locked", ("adaptive", "enabled"), None, True, False, 128 * K, M, "error", False),
    "claude-opus-5-5": NEWEST._replace(fast="ok"),
    "claude-opus-5": Row("locked", ("adaptive", "disabled"), ALL, True, False, 128 * K, M, "beta", True, ("disabled",)),
    "claude-opus-4-8": Row("locked", ("adaptive", "disabled"), ALL, True, False, 128 * K, M, "beta", True),
    "claude-opus-4-7": Row("locked", ("adaptive", "disabled"), ALL, True, False, 128 * K, M, "error", True),
    "claude-opus-4-6": Row("exclusive", ("adaptive", "enabled", "disabled"), UP_TO_MAX, True, False, 128 * K, M, "ok", True),
    "claude-opus-4-5": Row("exclusive", ("enabled", "disabled"), UP_TO_HIGH, True, True, 64 * K, 200 * K, "error", False),
    "claude-sonnet-5-5": NEWEST._replace(thinking=("adaptive", "between_tools"), capped=("between_tools",)),
    "claude-sonnet-5": Row("locked", ("adaptive", "disabled"), ALL, True, False, 128 * K, M, "error", True),
    "claude-sonnet-4-6": Row("exclusive", ("adaptive", "enabled", "disabled"), UP_TO_MAX, True, False, 128 * K, M, "error", True),
    "claude-sonnet-4-5": Row("exclusive", ("enabled", "disabled"), (), True, True, 64 * K, 200 * K, "error", False),
    "claude-haiku-5-5": Row("pinned", ("adaptive", "disabled"), ALL, True, False, 128 * K, M, "error", True, ("disabled",)),
    "claude-haiku-4-5": Row("exclusive", ("enabled", "disabled"), (), True, True, 64 * K, 200 * K, "error", False),
}
LOCKED = "`{}` is deprecated for this model."
BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
ENABLED = (
    '"thinking.type.enabled" is not supported for this model. '
    'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
)
CAPPED = (
    "output_config.effort '{}' is not supported when thinking is disabled on this model. Use effort 'high' or below, or enable thinking."
)
FORCED = 'tool_choice: type "tool" and "any" are not supported for this model.'
PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
MAX_TOKENS = "max_tokens: {} > {}, which is the maximum allowed number of output tokens for {}"
Case = tuple[dict[str, Any], str | bool]
"""What is sent, and what comes of it: legal, refused in words that are not known, or in these."""


def thinking(kind: str) -> dict[str, Any]:
    budget = {"budget_tokens": 1024} if kind == "enabled" else {}
    return {"thinking": {"type": kind, **budget}, "max_tokens": 2048}


def sampling_cases(row: Row, version: str) -> Iterator[Case]:
    values = ({"temperature": 1.0}, {"temperature": 0.2}, {"top_p": 0.99}, {"top_p": 0.5}, {"top_k": 5})
    for sent in values:
        name, value = next(iter(sent.items()))
        if version == NEW:
            yield sent, f"{name}: Extra inputs are not permitted"
        elif row.sampling == "locked":
            yield sent, LOCKED.format(name)
        elif row.sampling == "pinned":
            yield sent, (name, value) in (("temperature", 1.0), ("top_p", 0.99))
        else:
            yield sent, True
    both = {"temperature": 1, "top_p": 0.99}
    yield (
        both,
        "temperature: Extra inputs are not permitted"
        if version == NEW
        else LOCKED.format("temperature")
        if row.sampling == "locked"
        else BOTH,
    )
    if version == OLD and row.sampling == "exclusive":
        on = thinking("enabled")
        yield {**on, "temperature": 1}, False
        yield {**on, "top_k": 5}, False
        yield {**on, "top_p": 0.94}, False
        yield {**on, "top_p": 0.95}, True
        yield {"temperature": 1.1}, False
        yield {**thinking("disabled"), "temperature": 0.0}, True


def thinking_cases(row: Row) -> Iterator[Case]:
    for kind in TYPES:
        words: str | bool = False
        if kind in row.thinking:
            words = True
        elif kind == "enabled":
            words = ENABLED
        elif kind == "adaptive":
            words = "adaptive thinking is not supported on this model"
        yield thinking(kind), words
    for kind in row.capped:
        for level in LEVELS:
            refused: str | bool = CAPPED.format(level) if kind == "disabled" else False
            yield {**thinking(kind), "output_config": {"effort": level}}, True if level in UP_TO_HIGH else refused
    if "enabled" in row.thinking:
        yield {"thinking": {"type": "enabled", "budget_tokens": 1023}, "max_tokens": 2048}, False
        yield {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 2048}, False
        yield {"thinking": {"type": "enabled"}, "max_tokens": 2048}, False
    if "disabled" in row.thinking and "disabled" not in row.capped and "max" in (row.effort or ()):
        yield {**thinking("disabled"), "output_config": {"effort": "max"}}, True


def other_cases(row: Row, model: str) -> Iterator[Case]:
    for level in LEVELS if row.effort is not None else ():
        yield {"output_config": {"effort": level}}, level in (row.effort or ())
    for choice in ({"type": "any"}, {"type": "tool", "name": "look"}):
        yield {"tools": [TOOL], "tool_choice": choice}, True if row.forced else FORCED
    yield {"tools": [TOOL], "tool_choice": {"type": "none"}}, True
    yield {"messages": [USER, {"role": "assistant", "content": "Sure:"}]}, True if row.prefill else PREFILL
    yield {"max_tokens": row.output}, True
    yield {"max_tokens": row.output + 1}, MAX_TOKENS.format(row.output + 1, row.output, model)
    yield {"max_tokens": 0}, True
    yield {"inference_geo": "us"}, row.geo
    yield {"inference_geo": "mars"}, False
    yield {"speed": "fast"}, row.fast == "ok"
    yield {"service_tier": "standard_only"}, True
    yield {"service_tier": "priority"}, False
    yield {"colour": "red"}, "colour: Extra inputs are not permitted"


def turn_cases(version: str) -> Iterator[Case]:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    cited = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}
    is_old = version == OLD
    yield {"messages": [USER, {"role": "assistant", "content": [document]}, USER]}, is_old
    yield {"messages": [{"role": "user", "content": [document]}]}, True
    yield {"messages": [{"role": "user", "content": [cited]}]}, is_old
    yield {"messages": [{"role": "user", "content": [{"type": "search_result", "content": [cited]}]}]}, is_old
    yield {"messages": [{"role": "user", "content": [{**cited, "citations": []}]}]}, True
    yield {"messages": [USER, {"role": "assistant", "content": [cited]}, USER]}, True


def verdict(model: str, version: str, members: dict[str, Any], betas: str = "") -> str | None:
    known = load_catalogue().model(model)
    assert known is not None
    body = {"model": model, "max_tokens": 100, "messages": [USER], **members}
    try:
        return violation(decode_message(msgspec.json.encode(body)), known, version, betas)
    except MalformedBody as error:
        return str(error)


def test_the_table_has_every_model() -> None:
    assert {load_catalogue().model(name) for name in TABLE} == set(load_catalogue().models)


@every("model", TABLE)
@every("version", [OLD, NEW])
def test_the_law(model: str, version: str) -> None:
    row, known = TABLE[model], load_catalogue().model(model)
    assert known is not None
    cases = [*sampling_cases(row, version), *thinking_cases(row), *other_cases(row, known.id), *turn_cases(version)]
    for members, wanted in cases:
        found = verdict(model, version, members)
        if isinstance(wanted, bool):
            assert (found is None) == wanted, (members, found)
        else:
            assert found == wanted, members


@pytest.mark.parametrize("model", [name for name, row in TABLE.items() if row.fast == "beta"])
def test_fast_mode_in_beta_needs_its_header(model: str) -> None:
    for speed in ("fast", "standard"):
        assert verdict(model, NEW, {"speed": speed}) == "speed: Extra inputs are not permitted"
        assert verdict(model, NEW, {"speed": speed}, f"other,{FAST_BETA}") is None


@every("model", TABLE)
def test_contexts_are_as_published(model: str) -> None:
    known = load_catalogue().model(model)
    assert known is not None
    assert known.context_tokens == TABLE[model].context
