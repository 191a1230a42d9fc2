"""cache: prompt-cache breakpoints as the workload wants them: the client's own, one more after the static prefix, or none."""

from __future__ import annotations

from typing import Final

from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.edit import REMOVE, Edit
from claudeops.sidecar.endpoint import COUNT_TOKENS
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.wireformat import UNREADABLE, BlockJson, Member, Raw, decode_blocks, decode_list, decode_members, encode
from claudeops.wire.transit import Part

BREAKPOINTS_MAX: Final = 4
MARK: Final = b'"cache_control"'
QUOTE: Final = ord('"')
TEXT_BLOCK: Final = b'[{"type":"text","text":'
EMPTY: Final = memoryview(b"")
SHORT: Final = b',"cache_control":{"type":"ephemeral"}}]'
LONG: Final = b',"cache_control":{"type":"ephemeral","ttl":"1h"}}]'
"""The end of a list whose last block has a breakpoint."""
PREFIX_SHARE: Final = 0.5
"""A prefix estimated at less than this share of the model's minimum gets no mark: it would not be cached."""


def cache(call: Call, runtime: Runtime) -> Answer | None:
    """Never more than four breakpoints, never moving the client's."""
    assert runtime.config is not None
    mode = runtime.config.prompt_cache
    if call.caller.kind == COUNT_TOKENS:
        return None
    if mode == "Always":
        call.is_marked = mark_prefix(call) > 0
        return None
    call.is_marked = is_marked(call)
    if mode == "Off" and call.is_marked:
        strip_marks(call)
    return None


def is_marked(call: Call) -> bool:
    """Are there breakpoints in the request? The turns were decoded for this: a search of the body costs as much as a parse."""
    asked = call.asked
    return len(asked.cache_control) > 0 or MARK in bytes(asked.system) or MARK in bytes(asked.tools) or any(_turn_marks(call))


def mark_prefix(call: Call) -> int:
    """Adds a breakpoint on the last system block, else on the last tool, if a slot is free and it has none. Returns their number
    (without those in a static prefix that is too small to be cached)."""
    asked = call.asked
    turn_marks = _turn_marks(call)
    count = (len(asked.cache_control) > 0) + len(turn_marks)
    raw_system, raw_tools = asked.system, asked.tools
    has_tools = len(raw_tools) > 0
    size_tokens = (len(raw_system) + len(raw_tools)) * call.model.tokens_per_byte.value
    if size_tokens < PREFIX_SHARE * call.model.model.min_cacheable_tokens:
        return count
    system = memoryview(raw_system)
    tools = memoryview(raw_tools) if has_tools else EMPTY
    count += _count_marks(system) + (_count_marks(tools) if has_tools else 0)
    name, prefix = ("system", system) if len(system) > 2 else ("tools", tools)
    if count >= BREAKPOINTS_MAX:
        return count
    is_long = count > 0 and any(b'"1h"' in mark for mark in (*turn_marks, bytes(asked.cache_control)))
    marked = with_mark(prefix, LONG if is_long else SHORT)
    if marked is None:
        return count
    call.edits[name] = marked
    return count + 1


def with_mark(value: memoryview, end: bytes) -> tuple[Part, ...] | None:
    """The system prompt or tool list with a breakpoint at its end; every byte before stays. None if that cannot be."""
    if _is_text(value):
        return (TEXT_BLOCK, value, end)
    prefix = bytes(value)
    inner = prefix.rstrip()[:-1].rstrip()
    if not prefix.startswith(b"[") or not inner.endswith(b"}"):
        return None
    try:
        last = decode_list(prefix)[-1]
    except UNREADABLE:
        return None
    if "cache_control" in last or bytes(last.get("text", b"-")).strip() == b'""':
        return None
    return (value[: len(inner) - 1], end)


def strip_marks(call: Call) -> None:
    """Takes every breakpoint out of the request, those inside tool results too."""
    members = decode_members(call.body)
    edits: dict[str, Edit] = {}
    if "cache_control" in members:
        edits["cache_control"] = REMOVE
    try:
        for name in ("system", "tools", "messages"):
            edit = call.edits.get(name)
            raw = edit if isinstance(edit, bytes) and edit else bytes(members.get(name, b""))
            if raw.startswith(b"[") and MARK in raw:
                edits[name] = encode([_unmarked(block) for block in decode_list(raw)])
    except UNREADABLE:
        return  # not the API's shape: it will say so itself
    call.edits.update(edits)
    call.adjusted += ("cache_control",)


def _unmarked(block: Member) -> Member:
    kept = {name: value for name, value in block.items() if name != "cache_control"}
    content = bytes(kept.get("content", b""))
    if content.startswith(b"[") and MARK in content:
        try:
            kept["content"] = Raw(encode([_unmarked(inner) for inner in decode_list(content)]))
        except UNREADABLE:
            pass  # a list of something else: it holds no breakpoints
    return kept


def _is_text(value: memoryview) -> bool:
    """A prompt that is one string, as most are: not worth a copy."""
    return len(value) > 0 and value[0] == QUOTE


def _count_marks(value: memoryview) -> int:
    if _is_text(value):
        return 0
    raw = bytes(value)
    if MARK not in raw:
        return 0
    try:
        blocks = decode_blocks(raw)
    except UNREADABLE:
        return 0
    return 0 if isinstance(blocks, str) else sum(map(_has_mark, blocks))


def _has_mark(block: BlockJson) -> bool:
    mark = bytes(block.cache_control)
    return mark != b"" and mark != b"null"


def _turn_marks(call: Call) -> list[bytes]:
    """The breakpoints in the conversation, as JSON; one in a tool result's content counts as its block's."""
    marks = []
    for turn in call.asked.messages:
        if isinstance(turn.content, list):
            for block in turn.content:
                if _has_mark(block):
                    marks.append(bytes(block.cache_control))
                elif block.type == "tool_result" and MARK in bytes(block.content):
                    marks.append(bytes(block.content))
    return marks
