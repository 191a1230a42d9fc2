"""Thinking blocks that are bound to their model and to the conversation before them.

A signature of the simulator says which model thought, and after which prompt. Models that check it refuse a block whose tools, system
prompt or earlier messages were changed since. Signatures that are not the simulator's are taken as they are.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from claudeops.catalogue import Model
from claudeops.simulator.message import CountRequest, Turn

BOUND_MODELS = ("claude-fable-5-1", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
"""Models that check where a thinking block comes from."""
_MARK = "simbound"
_DIGEST_BYTES = 16


def sign(request: CountRequest, model: Model) -> str | None:
    """The signature of a thinking block in the answer to this request; None for a model that binds nothing."""
    if model.id not in BOUND_MODELS:
        return None
    state = _begin(request)
    for turn in request.messages:
        _add(state, turn)
    return _signature(model, state)


def binding_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for a thinking block that does not belong to this model or no longer follows the same prompt."""
    if model.id not in BOUND_MODELS or not any(_signatures(turn) for turn in request.messages):
        return None
    state = _begin(request)
    for number, turn in enumerate(request.messages):
        for place, signature in _signatures(turn):
            if signature != _signature(model, state):
                return (
                    f"messages.{number}.content.{place}: this `thinking` block cannot be used here: it belongs to another model, "
                    "or the tools, the system prompt or a message before it were changed."
                )
        _add(state, turn)
    return None


def _signatures(turn: Turn) -> list[tuple[int, str]]:
    """The simulator's signatures in a turn, with their places."""
    if turn.role != "assistant" or isinstance(turn.content, str):
        return []
    found = [(place, block.get("signature")) for place, block in enumerate(turn.content) if block.get("type") == "thinking"]
    return [(place, signature) for place, signature in found if isinstance(signature, str) and signature.startswith(_MARK)]


def _signature(model: Model, state: Any) -> str:
    own = state.copy()
    own.update(model.id.encode())
    return f"{_MARK}{own.hexdigest()}"


def _begin(request: CountRequest) -> Any:
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    state.update(msgspec.json.encode([_unmarked(request.tools or []), _unmarked(request.system_blocks())]))
    return state


def _add(state: Any, turn: Turn) -> None:
    state.update(msgspec.json.encode([turn.role, _unmarked(turn.blocks())]))


def _unmarked(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks without their cache breakpoints, which may move."""
    return [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]
