"""The bytes of an answer, in both forms: one JSON document, or server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from claudeops.simulator.content import CHARACTERS_PER_TOKEN, BlockKind, Content, Part
from claudeops.simulator.message import Block
from claudeops.simulator.wording import WORDS, words


def _opening_usage(content: Content) -> dict[str, Any]:
    """``usage`` but for the output: what a stream says in ``message_start`` only."""
    use, service = content.use, content.service
    return {
        "input_tokens": use.uncached,
        "cache_creation_input_tokens": use.written,
        "cache_read_input_tokens": use.read,
        "cache_creation": {"ephemeral_5m_input_tokens": use.written_5m, "ephemeral_1h_input_tokens": use.written_1h},
        "service_tier": service.tier,
        "speed": service.speed,
        "inference_geo": service.inference_geo,
    }


def _block_of(part: Part, filler: str) -> Block:
    """One finished content block."""
    if part.kind == "thinking":
        return {"type": "thinking", "thinking": words(0, part.tokens) if part.shows_thinking else "", "signature": part.signature}
    if part.kind == "tool_use":
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": msgspec.Raw(part.json_input.encode())}
    return {"type": "text", "text": words(0, part.tokens) + filler}


def message_document(content: Content) -> dict[str, Any]:
    """The whole answer as one JSON document."""
    filler = "x" * content.filler_bytes
    usage = {**_opening_usage(content), "output_tokens": content.output_tokens}
    if content.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": content.thinking_tokens}
    return {
        "id": content.id,
        "type": "message",
        "role": "assistant",
        "model": content.model,
        "content": [_block_of(part, filler) for part in content.parts],
        "stop_reason": content.stop_reason,
        "stop_sequence": content.stop_sequence,
        "stop_details": content.stop_details,
        "diagnostics": content.diagnostics,
        "usage": usage,
    }


def message_json(content: Content) -> bytes:
    """The same as bytes."""
    return msgspec.json.encode(message_document(content))


def _event(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; ``data.type`` is the event's name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **data}))


def opening(content: Content) -> bytes:
    """``message_start``."""
    message: dict[str, Any] = {
        "id": content.id,
        "type": "message",
        "role": "assistant",
        "model": content.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "diagnostics": content.diagnostics,
        "usage": {**_opening_usage(content), "output_tokens": 1},
    }
    return _event("message_start", {"message": message})


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
    delta = {"stop_reason": content.stop_reason, "stop_sequence": content.stop_sequence, "stop_details": content.stop_details}
    return _event("message_delta", {"delta": delta, "usage": usage}) + _event("message_stop", {})


def delta(index: int, kind: str, field: str, value: str) -> bytes:
    """One ``content_block_delta``."""
    return _event("content_block_delta", {"index": index, "delta": {"type": kind, field: value}})


@lru_cache(maxsize=2048)
def _text_delta(index: int, offset: int, count: int) -> bytes:
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
        yield Step(0, _block_start(index, part) + (_event("ping", {}) if index == 0 else b""))
        if part.kind == "text":
            yield from _text_steps(index, part, tokens_per_event)
        elif part.kind == "thinking":
            yield from _thinking_steps(index, part, tokens_per_event)
        else:
            yield from _tool_steps(index, part, tokens_per_event)
        yield Step(0, _event("content_block_stop", {"index": index}))


def _block_start(index: int, part: Part) -> bytes:
    """``content_block_start`` with the empty block."""
    empty: dict[BlockKind, Block] = {
        "text": {"type": "text", "text": ""},
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "tool_use": {"type": "tool_use", "id": part.id, "name": part.name, "input": {}},
    }
    return _event("content_block_start", {"index": index, "content_block": empty[part.kind]})


def _text_steps(index: int, part: Part, tokens_per_event: int) -> Iterator[Step]:
    for offset in range(0, part.tokens, tokens_per_event):
        count = min(tokens_per_event, part.tokens - offset)
        yield Step(count, _text_delta(index, offset % len(WORDS), count), True)


def _thinking_steps(index: int, part: Part, tokens_per_event: int) -> Iterator[Step]:
    for offset in range(0, part.tokens, tokens_per_event):
        count = min(tokens_per_event, part.tokens - offset)
        shown = delta(index, "thinking_delta", "thinking", words(offset % len(WORDS), count)) if part.shows_thinking else b""
        yield Step(count, shown, part.shows_thinking)
    yield Step(0, delta(index, "signature_delta", "signature", part.signature), True)


def _tool_steps(index: int, part: Part, tokens_per_event: int) -> Iterator[Step]:
    size = max(1, tokens_per_event * CHARACTERS_PER_TOKEN)
    pieces = [part.json_input[at : at + size] for at in range(0, len(part.json_input), size)]
    for number, piece in enumerate(pieces):
        share = part.tokens // len(pieces) + (1 if number < part.tokens % len(pieces) else 0)
        yield Step(share, delta(index, "input_json_delta", "partial_json", piece), True)
