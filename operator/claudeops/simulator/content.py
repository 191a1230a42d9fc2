"""What an answer says: its blocks, its usage and the bytes of both forms, JSON and server-sent events."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import msgspec

from claudeops.simulator.message import Block, MessageRequest
from claudeops.simulator.promptcache import InputUse

TEXT = (
    "the pool is warm and the proxy keeps every stream inside its share of the limit while requests wait their turn "
    "in a short queue until a slot is free again so nothing is lost and no one is refused without a reason"
)
WORDS = TEXT.split()
"""What answers are made of: one word is one token."""
THINKING_SHARE = 0.3
CHARACTERS_PER_TOKEN = 4
SAMPLE_VALUES: dict[str, Any] = {"string": "example", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}

BlockKind = Literal["thinking", "text", "tool_use"]


class Part(msgspec.Struct, frozen=True):
    """One content block. ``json_input``: a tool's input; ``shows_thinking``: thinking text is part of the answer."""

    kind: BlockKind
    tokens: int
    id: str = ""
    name: str = ""
    json_input: str = ""
    shows_thinking: bool = False
    signature: str = ""


class Content(msgspec.Struct, frozen=True):
    """A planned answer."""

    id: str
    model: str
    parts: tuple[Part, ...]
    stop_reason: str
    use: InputUse
    filler_bytes: int = 0

    @property
    def output_tokens(self) -> int:
        """Of all blocks together."""
        return sum(part.tokens for part in self.parts)

    @property
    def thinking_tokens(self) -> int:
        """The part of the output that is thinking."""
        return sum(part.tokens for part in self.parts if part.kind == "thinking")


def plan(request: MessageRequest, model_id: str, use: InputUse, *, tokens: int, cap_tokens: int, dice: random.Random) -> Content:
    """Decide the blocks of an answer that would like to be ``tokens`` long and may be ``cap_tokens``.

    A tool is called when the choice is forced, or when it is free and the last message brings no tool result.
    Thinking is shown when the request asks for it by ``thinking``; its share of the output is fixed.
    """
    message_id = f"msg_sim{dice.getrandbits(88):022x}"
    if cap_tokens == 0:
        return Content(message_id, model_id, (), "max_tokens", use)
    total = min(tokens, cap_tokens)
    parts: list[Part] = []
    if request.thinking_type() in ("adaptive", "enabled", "between_tools") and total > 1:
        thinking_tokens = max(1, int(total * THINKING_SHARE))
        is_shown = (request.thinking or {}).get("display") == "summarized"
        signature = f"{dice.getrandbits(256):064x}"
        parts.append(Part("thinking", thinking_tokens, shows_thinking=is_shown, signature=signature))
        total -= thinking_tokens
    tool = chosen_tool(request)
    if tool is None:
        parts.append(Part("text", total))
        return Content(message_id, model_id, tuple(parts), "max_tokens" if tokens > cap_tokens else "end_turn", use)
    json_input = msgspec.json.encode(sample_input(tool)).decode()
    cost = min(total, max(1, len(json_input) // CHARACTERS_PER_TOKEN))
    parts.append(Part("tool_use", cost, f"toolu_sim{dice.getrandbits(88):022x}", str(tool.get("name", "")), json_input))
    return Content(message_id, model_id, tuple(parts), "tool_use", use)


def chosen_tool(request: MessageRequest) -> Block | None:
    """The tool that the answer calls; None for a plain text."""
    if not request.tools or request.tool_choice_type() == "none":
        return None
    wanted = (request.tool_choice or {}).get("name")
    if wanted is not None:
        return next((tool for tool in request.tools if tool.get("name") == wanted), None)
    has_result = any(block.get("type") == "tool_result" for block in request.messages[-1].blocks())
    return None if has_result and request.tool_choice_type() != "any" else request.tools[0]


def sample_input(tool: Block) -> dict[str, Any]:
    """An input that the tool's schema accepts, as far as types and enums go."""
    schema = tool.get("input_schema") or {}
    properties = schema.get("properties") or {}
    return {name: sample_value(properties.get(name) or {}) for name in schema.get("required") or properties}


def sample_value(schema: dict[str, Any]) -> Any:
    """One value of this schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    return SAMPLE_VALUES.get(str(schema.get("type", "string")), "example")


@lru_cache(maxsize=512)
def words(offset: int, count: int) -> str:
    """``count`` words, beginning at a place in the text."""
    return "".join(WORDS[(offset + n) % len(WORDS)] + " " for n in range(count))


def input_usage(use: InputUse) -> dict[str, Any]:
    """The input side of ``usage``."""
    return {
        "input_tokens": use.uncached,
        "cache_creation_input_tokens": use.written,
        "cache_read_input_tokens": use.read,
        "cache_creation": {"ephemeral_5m_input_tokens": use.written_5m, "ephemeral_1h_input_tokens": use.written_1h},
    }


def block_of(part: Part, filler: str) -> Block:
    """One finished content block."""
    if part.kind == "thinking":
        return {"type": "thinking", "thinking": words(0, part.tokens) if part.shows_thinking else "", "signature": part.signature}
    if part.kind == "tool_use":
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": msgspec.Raw(part.json_input.encode())}
    return {"type": "text", "text": words(0, part.tokens) + filler}


def message_json(content: Content) -> bytes:
    """The whole answer as one JSON document."""
    filler = "x" * content.filler_bytes
    usage = {**input_usage(content.use), "output_tokens": content.output_tokens, "service_tier": "standard", "inference_geo": "global"}
    if content.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": content.thinking_tokens}
    return msgspec.json.encode(
        {
            "id": content.id,
            "type": "message",
            "role": "assistant",
            "model": content.model,
            "content": [block_of(part, filler) for part in content.parts],
            "stop_reason": content.stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }
    )


def event(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; ``data.type`` is the event's name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **data}))


def opening(content: Content) -> bytes:
    """``message_start``."""
    usage = {**input_usage(content.use), "output_tokens": 1, "service_tier": "standard", "inference_geo": "global"}
    message: dict[str, Any] = {
        "id": content.id,
        "type": "message",
        "role": "assistant",
        "model": content.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return event("message_start", {"message": message})


def closing(content: Content) -> bytes:
    """``message_delta`` with the cumulative usage, and ``message_stop``."""
    usage: dict[str, Any] = {
        "input_tokens": content.use.uncached,
        "cache_creation_input_tokens": content.use.written,
        "cache_read_input_tokens": content.use.read,
        "output_tokens": content.output_tokens,
    }
    if content.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": content.thinking_tokens}
    delta = {"stop_reason": content.stop_reason, "stop_sequence": None}
    return event("message_delta", {"delta": delta, "usage": usage}) + event("message_stop", {})


def delta(index: int, kind: str, field: str, value: str) -> bytes:
    """One ``content_block_delta``."""
    return event("content_block_delta", {"index": index, "delta": {"type": kind, field: value}})


@lru_cache(maxsize=2048)
def text_delta(index: int, offset: int, count: int) -> bytes:
    """The delta of ``count`` words; few distinct ones exist, so they are kept."""
    return delta(index, "text_delta", "text", words(offset, count))


class Step(msgspec.Struct, frozen=True, gc=False):
    """A piece of a stream: the tokens produced before it, and its bytes. ``is_content``: a client sees output in it."""

    tokens: int
    data: bytes
    is_content: bool = False


def steps(content: Content, tokens_per_event: int) -> Iterator[Step]:
    """A stream between ``message_start`` and ``message_delta``, piece by piece."""
    for index, part in enumerate(content.parts):
        yield Step(0, block_start(index, part) + (event("ping", {}) if index == 0 else b""))
        if part.kind == "text":
            yield from text_steps(index, part, tokens_per_event)
        elif part.kind == "thinking":
            yield from thinking_steps(index, part, tokens_per_event)
        else:
            yield from tool_steps(index, part, tokens_per_event)
        yield Step(0, event("content_block_stop", {"index": index}))


def block_start(index: int, part: Part) -> bytes:
    """``content_block_start`` with the empty block."""
    empty: dict[BlockKind, Block] = {
        "text": {"type": "text", "text": ""},
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "tool_use": {"type": "tool_use", "id": part.id, "name": part.name, "input": {}},
    }
    return event("content_block_start", {"index": index, "content_block": empty[part.kind]})


def text_steps(index: int, part: Part, tokens_per_event: int) -> Iterator[Step]:
    for offset in range(0, part.tokens, tokens_per_event):
        count = min(tokens_per_event, part.tokens - offset)
        yield Step(count, text_delta(index, offset % len(WORDS), count), True)


def thinking_steps(index: int, part: Part, tokens_per_event: int) -> Iterator[Step]:
    for offset in range(0, part.tokens, tokens_per_event):
        count = min(tokens_per_event, part.tokens - offset)
        shown = delta(index, "thinking_delta", "thinking", words(offset % len(WORDS), count)) if part.shows_thinking else b""
        yield Step(count, shown, part.shows_thinking)
    yield Step(0, delta(index, "signature_delta", "signature", part.signature), True)


def tool_steps(index: int, part: Part, tokens_per_event: int) -> Iterator[Step]:
    size = max(1, tokens_per_event * CHARACTERS_PER_TOKEN)
    pieces = [part.json_input[at : at + size] for at in range(0, len(part.json_input), size)]
    for number, piece in enumerate(pieces):
        share = part.tokens // len(pieces) + (1 if number < part.tokens % len(pieces) else 0)
        yield Step(share, delta(index, "input_json_delta", "partial_json", piece), True)
