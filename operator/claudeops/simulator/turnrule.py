"""What the API refuses of messages, their blocks and prompt-cache breakpoints."""

from __future__ import annotations

from collections.abc import Sequence

from claudeops.catalogue import Model
from claudeops.simulator.message import Block, CountRequest, Turn
from claudeops.simulator.prompt import Breakpoint, breakpoints
from claudeops.simulator.samplingrule import NEWEST_VERSION

MAX_BREAKPOINTS = 4
MAX_MESSAGES = 100_000
ROLES = ("user", "assistant", "system")
TTLS = ("5m", "1h")


def turn_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for the order and roles of the messages."""
    if not request.messages:
        return "messages: at least one message is required"
    if len(request.messages) > MAX_MESSAGES:
        return f"messages: List should have at most {MAX_MESSAGES} items"
    for number, turn in enumerate(request.messages):
        if turn.role not in ROLES:
            return f"messages.{number}.role: Input should be 'user' or 'assistant'"
    if request.messages[0].role == "assistant":
        return 'messages: first message must use the "user" role'
    last = request.messages[-1]
    if last.role == "assistant" and not model.prefill and not _is_paused(last):
        return "This model does not support assistant message prefill. The conversation must end with a user message."
    return None


def _is_paused(turn: Turn) -> bool:
    """Whether this is a turn of server tools that was paused: it may come last, to be continued."""
    return any(block.get("type") == "server_tool_use" for block in turn.blocks())


def block_violation(request: CountRequest, version: str) -> str | None:
    """The message of the 400 for the form of a block, and for what the newest version does not take any more."""
    for number, turn in enumerate(request.messages):
        if isinstance(turn.content, str):
            if not turn.content:
                return "messages: text content blocks must be non-empty"
            continue
        for place, block in enumerate(turn.content):
            message = _malformed(block, f"messages.{number}.content.{place}")
            if message is None and version == NEWEST_VERSION:
                message = _newest_block_violation(turn.role, block, f"messages.{number}.content.{place}")
            if message is not None:
                return message
    return None


def _malformed(block: Block, path: str) -> str | None:
    kind = block.get("type")
    if not isinstance(kind, str):
        return f"{path}.type: Field required"
    if kind == "text" and not isinstance(block.get("text"), str):
        return f"{path}.text.text: Field required"
    if kind == "text" and not block["text"]:
        return "messages: text content blocks must be non-empty"
    if kind in ("thinking", "redacted_thinking") and "cache_control" in block:
        return f"{path}.{kind}.cache_control: Extra inputs are not permitted"
    return None


def _newest_block_violation(role: str, block: Block, path: str) -> str | None:
    """What only the newest version refuses inside messages."""
    kind = block["type"]
    if role == "assistant" and kind == "document":
        return f"{path}: `document` blocks are not permitted in assistant messages"
    if role != "user":
        return None
    inner = block.get("content") if kind == "search_result" else [block]
    for text in inner if isinstance(inner, list) else []:
        if isinstance(text, dict) and text.get("type") == "text" and text.get("citations"):
            return f"{path}.text.citations: Extra inputs are not permitted"
    return None


def cache_control_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for how prompt-cache breakpoints are placed."""
    found, automatic = breakpoints(request), request.cache_control
    if automatic is not None:
        if automatic.ttl not in TTLS:
            return "cache_control.ttl: Input should be '5m' or '1h'"
        last = _ttl_of_last(request)
        if last is not None and last != automatic.ttl:
            return f"cache_control.ttl: the last block already has a cache_control with ttl='{last}'"
    count = len(found) + (automatic is not None)
    if count > MAX_BREAKPOINTS:
        return f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {count}."
    return _misplaced(found)


def _misplaced(found: Sequence[Breakpoint]) -> str | None:
    """A lifetime that does not exist, or an hour after five minutes."""
    is_short = False
    for mark in found:
        if mark.ttl not in TTLS:
            return f"{mark.path}.cache_control.ttl: Input should be '5m' or '1h'"
        if is_short and mark.ttl == "1h":
            return (
                f"{mark.path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
                "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )
        is_short = is_short or mark.ttl == "5m"
    return None


def _ttl_of_last(request: CountRequest) -> str | None:
    """The lifetime of the breakpoint on the very last block; None when it has none."""
    content = request.messages[-1].content if request.messages else ""
    control = content[-1].get("cache_control") if isinstance(content, list) and content else None
    return str(control.get("ttl") or "5m") if isinstance(control, dict) else None
