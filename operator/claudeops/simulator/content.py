"""What an answer says: which blocks, how many tokens of each, and why it ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from claudeops.simulator.identity import mint
from claudeops.simulator.message import Block, MessageRequest
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.wording import words

_THINKING_SHARE = 0.3
CHARACTERS_PER_TOKEN = 4
_SAMPLE_VALUES: dict[str, Any] = {"string": "example", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}

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


class Service(msgspec.Struct, frozen=True):
    """How a request is served, as ``usage`` says it."""

    tier: Literal["standard", "priority", "batch"] = "standard"
    speed: Literal["standard", "fast"] = "standard"
    inference_geo: str = "global"


STANDARD = Service()


class Content(msgspec.Struct, frozen=True):
    """A planned answer. ``diagnostics`` and ``stop_details`` as the answer shows them."""

    id: str
    model: str
    parts: tuple[Part, ...]
    stop_reason: str
    use: InputUse
    filler_bytes: int = 0
    service: Service = STANDARD
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None

    @property
    def output_tokens(self) -> int:
        """Of all blocks together."""
        return sum(part.tokens for part in self.parts)

    @property
    def thinking_tokens(self) -> int:
        """The part of the output that is thinking."""
        return sum(part.tokens for part in self.parts if part.kind == "thinking")


class Draft(msgspec.Struct, frozen=True):
    """What is known before an answer is planned: how long it would like to be, how long it may be, and how thinking is signed."""

    model: str
    use: InputUse
    tokens: int
    cap_tokens: int
    service: Service = STANDARD
    signature: str | None = None


def plan(request: MessageRequest, draft: Draft, dice: random.Random) -> Content:
    """Decide the blocks of an answer.

    A tool is called when the choice is forced, or when it is free and the last message brings no tool result.
    Thinking is shown when the request asks for it by ``thinking``; its share of the output is fixed.
    """
    empty = Content(mint("msg", dice), draft.model, (), "max_tokens", draft.use, service=draft.service)
    if draft.cap_tokens == 0:
        return empty
    total = min(draft.tokens, draft.cap_tokens)
    parts: list[Part] = []
    thinking = _thinking(request, total, draft.signature, dice)
    if thinking is not None:
        parts.append(thinking)
        total -= thinking.tokens
    tool = _chosen_tool(request)
    if tool is None:
        ending = "max_tokens" if draft.tokens > draft.cap_tokens else "end_turn"
        found, stopped_at = _first_stop(request.stop_sequences or (), total)
        if found is not None:
            ending, total = "stop_sequence", stopped_at
        parts += [Part("text", total)] if total else []
        return msgspec.structs.replace(empty, parts=tuple(parts), stop_reason=ending, stop_sequence=found)
    json_input = msgspec.json.encode(_sample_input(tool)).decode()
    cost = min(total, max(1, len(json_input) // CHARACTERS_PER_TOKEN))
    parts.append(Part("tool_use", cost, mint("toolu", dice), str(tool.get("name", "")), json_input))
    return msgspec.structs.replace(empty, parts=tuple(parts), stop_reason="tool_use")


def _thinking(request: MessageRequest, total: int, signature: str | None, dice: random.Random) -> Part | None:
    """The thinking block, when the request has ``thinking`` and there is room for one."""
    if request.thinking_type() not in ("adaptive", "enabled", "between_tools") or total <= 1:
        return None
    is_shown = (request.thinking or {}).get("display") == "summarized"
    own = f"{dice.getrandbits(256):064x}"
    return Part("thinking", max(1, int(total * _THINKING_SHARE)), shows_thinking=is_shown, signature=signature or own)


def _first_stop(sequences: Sequence[str], total: int) -> tuple[str | None, int]:
    """The stop sequence that the text would reach first, and how many whole words come before it; None when it reaches none."""
    text = words(0, total) if sequences else ""
    found = min(((at, sequence) for sequence in sequences if (at := text.find(sequence)) >= 0), default=None)
    return (None, total) if found is None else (found[1], len(text[: found[0]].rsplit(" ", 1)[0].split()) if " " in text[: found[0]] else 0)


def _chosen_tool(request: MessageRequest) -> Block | None:
    """The tool that the answer calls; None for a plain text."""
    if not request.tools or request.tool_choice_type() == "none":
        return None
    wanted = (request.tool_choice or {}).get("name")
    if wanted is not None:
        return next((tool for tool in request.tools if tool.get("name") == wanted), None)
    has_result = any(block.get("type") == "tool_result" for block in request.messages[-1].blocks())
    return None if has_result and request.tool_choice_type() != "any" else request.tools[0]


def _sample_input(tool: Block) -> dict[str, Any]:
    """An input that the tool's schema accepts, as far as types and enums go."""
    schema = tool.get("input_schema") or {}
    properties = schema.get("properties") or {}
    return {name: _sample_value(properties.get(name) or {}) for name in schema.get("required") or properties}


def _sample_value(schema: dict[str, Any]) -> Any:
    """One value of this schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    return _SAMPLE_VALUES.get(str(schema.get("type", "string")), "example")
