"""What a model that the client did not write for cannot take is changed or left out, so that the conversation goes on.

Sampling, effort, thinking and max_tokens are the policy's; here are forced tools, prefills and thinking blocks of another model.
Every edit is a pure function of the block, so that the same history always gives the same bytes.
"""

from __future__ import annotations

from claudeops.sidecar.call import Call
from claudeops.sidecar.edit import REMOVE
from claudeops.sidecar.model import FALLBACK
from claudeops.sidecar.wireformat import DecodeError, Member, Raw, decode_list, decode_members, encode

THINKING_TYPES = ("thinking", "redacted_thinking")
_QUOTED_TYPES = (b'"thinking"', b'"redacted_thinking"')


def fit_to_model(call: Call, *, is_forced: bool, is_prefilled: bool) -> None:
    """Edits ``tool_choice`` and ``messages`` where this model would answer 400; a model that the client named itself may say so."""
    model = call.model.model
    if call.tier != FALLBACK and call.asked.model == model.id:
        return
    if is_forced and not model.forced_tool_choice:
        call.edits["tool_choice.type"] = b'"auto"'
        call.edits["tool_choice.name"] = REMOVE
        call.adjusted += ("tool_choice",)
    drops_prefill = is_prefilled and not model.prefill
    drops_thinking = call.tier == FALLBACK and has_thinking(call)
    if drops_prefill or drops_thinking:
        _edit_turns(call, drops_prefill=drops_prefill, drops_thinking=drops_thinking)


def _edit_turns(call: Call, *, drops_prefill: bool, drops_thinking: bool) -> None:
    try:
        turns = decode_list(decode_members(call.body)["messages"])
        if drops_thinking:
            turns = [turn for turn in map(without_thinking, turns) if turn is not None]
            _unbind_thinking(call)
    except (DecodeError, KeyError):
        return  # not the API's shape: it will say so itself
    if drops_prefill:
        while turns and _is_assistants(turns[-1]):
            turns.pop()
    call.edits["messages"] = encode(turns)
    call.adjusted += ("prefill",) * drops_prefill + ("thinking_blocks",) * drops_thinking


def has_thinking(call: Call) -> bool:
    """Does the history hold thinking blocks?"""
    for turn in call.asked.messages:
        if turn.role == "assistant" and isinstance(turn.content, list):
            for block in turn.content:
                if block.type in THINKING_TYPES:
                    return True
    return False


def without_thinking(turn: Member) -> Member | None:
    """The turn without thinking blocks; None if nothing else was in it. Every other block keeps its bytes."""
    content = bytes(turn.get("content", b""))
    if not _is_assistants(turn) or not content.startswith(b"["):
        return turn
    blocks = decode_list(content)
    kept = [block for block in blocks if bytes(block.get("type", b"")).strip() not in _QUOTED_TYPES]
    if len(kept) == len(blocks):
        return turn
    if not kept:
        return None
    return turn | {"content": Raw(encode(kept))}


def _is_assistants(turn: Member) -> bool:
    return bytes(turn.get("role", b"")).strip() == b'"assistant"'


def _unbind_thinking(call: Call) -> None:
    """Budgeted thinking wants its own blocks back in a tool loop: without them it is left out."""
    thinking = call.asked.thinking
    if thinking is not None and thinking.type == "enabled" and call.edits.get("thinking") is None:
        for name in ("thinking.type", "thinking.budget_tokens"):
            call.edits.pop(name, None)
        call.edits["thinking"] = REMOVE
