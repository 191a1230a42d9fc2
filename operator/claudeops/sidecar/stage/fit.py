"""What a model that the client did not write for cannot take is changed or left out, so that the conversation goes on.

Sampling, effort, thinking and max_tokens are the policy's; here are forced tools, prefills, ``speed``, ``inference_geo`` and thinking
blocks of another model. Every edit is a pure function of the block, so that the same history always gives the same bytes. What cannot
be made to fit (a history longer than the window, a geography) is for :func:`can_take`: then that model is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from claudeops.catalogue import Model
from claudeops.sidecar.call import Call
from claudeops.sidecar.edit import REMOVE
from claudeops.sidecar.model import FALLBACK, PRIMARY, ModelRuntime
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.stage.estimate import count_images, total_tokens
from claudeops.sidecar.thought import THINKING_TYPES
from claudeops.sidecar.wireformat import UNREADABLE, Member, Raw, TurnJson, decode_list, decode_members, decode_text, encode

_QUOTED_TYPES: Final[tuple[bytes, ...]] = (b'"thinking"', b'"redacted_thinking"')
_FAST_BETA: Final = b"fast-mode-"
LARGE_WINDOW_TOKENS: Final = 1_000_000
IMAGES_MAX_BELOW: Final = 100
"""Images a request may hold for a model with a smaller window; 600 with a large one. Source: reference anthropic-api, section 9."""


def fit_to_model(call: Call, runtime: Runtime, *, is_forced: bool, is_prefilled: bool) -> None:
    """Edits what this model would answer with 400; of a model that the client named itself, only what another model wrote."""
    model = call.model.model
    drops_prefill = False
    if call.tier == FALLBACK or call.asked.model != model.id:
        drops_prefill = is_prefilled and not model.prefill
        if is_forced and not model.forced_tool_choice:
            _free_tools(call)
    if call.tier == FALLBACK:
        _fit_members(call, model)
    _fit_turns(call, runtime, drops_prefill=drops_prefill)


def can_take(model: ModelRuntime, call: Call, runtime: Runtime) -> str:
    """Empty if this request can be made to fit a model that the client did not choose; else why not, for a person."""
    facts = model.model
    if len(call.body) * model.tokens_per_byte.value > facts.context_tokens:
        tokens = total_tokens(call, model, runtime)
        if tokens > facts.context_tokens:
            return f"the request's about {tokens:.0f} tokens are more than its window of {facts.context_tokens}"
    if facts.context_tokens < LARGE_WINDOW_TOKENS and count_images(call) > IMAGES_MAX_BELOW:
        return f"it takes at most {IMAGES_MAX_BELOW} images"
    if not facts.inference_geo and _geography(call) not in (b"", b'"global"', b"null"):
        return "it cannot be bound to a geography"
    return ""


def _geography(call: Call) -> bytes:
    """``inference_geo`` as JSON; empty where there is none."""
    if b'"inference_geo"' not in call.body:
        return b""
    try:
        return bytes(decode_members(call.body).get("inference_geo", b"")).strip()
    except UNREADABLE:
        return b""


def _takes_fast(call: Call, model: Model) -> bool:
    mode = model.fast.mode
    return mode in ("ga", "ignored") or (mode == "beta" and _FAST_BETA in call.head.values.get(b"anthropic-beta", b""))


def _fit_members(call: Call, model: Model) -> None:
    """``speed`` where the model is not sold fast, ``inference_geo: global`` where it knows none."""
    drops_speed = b'"speed"' in call.body and not _takes_fast(call, model)
    drops_geography = not model.inference_geo and b'"inference_geo"' in call.body
    if not drops_speed and not drops_geography:
        return
    try:
        members = decode_members(call.body)
    except UNREADABLE:
        return  # the API will say so itself
    for name, is_dropped in (("speed", drops_speed), ("inference_geo", drops_geography)):
        if is_dropped and name in members:
            call.edits[name] = REMOVE
            call.adjusted += (name,)


def _free_tools(call: Call) -> None:
    call.edits["tool_choice.type"] = b'"auto"'
    call.edits["tool_choice.name"] = REMOVE
    call.adjusted += ("tool_choice",)


def _fit_turns(call: Call, runtime: Runtime, *, drops_prefill: bool) -> None:
    """Takes a prefill and foreign thinking blocks out, and counts the requests whose history is bound to the serving model.

    The removal of foreign blocks is no edit in the sense of that bond: the model has never seen them, so its own blocks were written
    behind the turns without them.
    """
    may_be_foreign = call.tier == FALLBACK or runtime.thoughts.has_any
    thinks = (may_be_foreign or call.model.binds_thinking) and has_thinking(call)
    drops_thinking = thinks and may_be_foreign
    if drops_prefill or drops_thinking:
        thinks = _edit_turns(call, runtime, drops_prefill=drops_prefill, drops_thinking=drops_thinking)
    if thinks and call.model.binds_thinking and call.offered_to is None:
        call.model.counters[call.tier].bound_histories += 1


def _edit_turns(call: Call, runtime: Runtime, *, drops_prefill: bool, drops_thinking: bool) -> bool:
    """True if the history that goes out holds thinking blocks."""
    try:
        turns = decode_list(decode_members(call.body)["messages"])
        kept = _drop_thinking(call, runtime, turns) if drops_thinking else turns
    except (KeyError, *UNREADABLE):
        return False  # not the API's shape: it will say so itself
    if kept is not turns:
        call.adjusted += ("thinking_blocks",)
    if drops_prefill and kept and _is_assistants(kept[-1]):
        call.adjusted += ("prefill",)
        kept = list(kept)
        while kept and _is_assistants(kept[-1]):
            kept.pop()
    if kept is not turns:
        call.edits["messages"] = encode(kept)
    return any(map(_holds_thinking, kept))


def _drop_thinking(call: Call, runtime: Runtime, turns: list[Member]) -> list[Member]:
    """The turns without the blocks that the serving model did not write; the same list if there are none."""

    def may_stay(block: Member) -> bool:
        """A fallback's blocks are known; what nobody is known to have written is the primary's."""
        author = runtime.thoughts.author(_mark(block))
        return author == call.model.id or (author is None and call.tier == PRIMARY)

    kept = [without_thinking(turn, may_stay) for turn in turns]
    if all(old is new for old, new in zip(turns, kept, strict=True)):
        return turns
    if turns[-2:-1] != kept[-2:-1] and b'"tool_result"' in bytes(turns[-1].get("content", b"")):
        _unbind_thinking(call)
    return [turn for turn in kept if turn is not None]


def has_thinking(call: Call) -> bool:
    """Does the history hold thinking blocks?"""
    return any(_thinks(turn) for turn in call.asked.messages)  # not by map(): this one is compiled to a loop


def _thinks(turn: TurnJson) -> bool:
    if turn.role == "assistant" and isinstance(turn.content, list):
        for block in turn.content:
            if block.type in THINKING_TYPES:
                return True
    return False


def without_thinking(turn: Member, may_stay: Callable[[Member], bool]) -> Member | None:
    """The turn without the thinking blocks that may not stay; the turn itself if there are none.

    None if nothing else was in it: an assistant's turn without content is a 400, and words in its place would be put into the model's
    mouth; without the turn two user turns meet, which the API takes and reads as one. Every other block keeps its bytes.
    """
    content = bytes(turn.get("content", b""))
    if not _is_assistants(turn) or not content.startswith(b"["):
        return turn
    blocks = decode_list(content)
    kept = [block for block in blocks if not _is_thinking(block) or may_stay(block)]
    if len(kept) == len(blocks):
        return turn
    if not kept:
        return None
    return turn | {"content": Raw(encode(kept))}


def _holds_thinking(turn: Member) -> bool:
    content = bytes(turn.get("content", b""))
    return _is_assistants(turn) and content.startswith(b"[") and any(map(_is_thinking, decode_list(content)))


def _mark(block: Member) -> str:
    """What tells this thinking block from others."""
    return decode_text(block.get("signature") or block.get("data") or b'""')


def _is_thinking(block: Member) -> bool:
    return bytes(block.get("type", b"")).strip() in _QUOTED_TYPES


def _is_assistants(turn: Member) -> bool:
    return bytes(turn.get("role", b"")).strip() == b'"assistant"'


def _unbind_thinking(call: Call) -> None:
    """Budgeted thinking wants its own blocks back in a tool loop: without them it is left out."""
    thinking = call.asked.thinking
    if thinking is not None and thinking.type == "enabled" and call.edits.get("thinking") is None:
        for name in ("thinking.type", "thinking.budget_tokens"):
            call.edits.pop(name, None)
        call.edits["thinking"] = REMOVE
