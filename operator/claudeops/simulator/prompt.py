"""A request as the API prices it: counted in tokens, and laid out as the sequence that the prompt cache sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.message import Block, CacheControl, CountRequest
from claudeops.simulator.picture import image_size, image_tokens, images, page_count, page_tokens

BYTES_PER_TOKEN = 4.0
"""Of English text in the old tokenizer; a rule of thumb, not the real tokenizer."""
MESSAGE_TOKENS = 3
THINKING = ("thinking", "redacted_thinking")
FORGETS_THINKING = ("claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929")
"""Models that drop the thinking of earlier turns when the user asks anew (Haiku up to 4.5, Sonnet before 4.6)."""


class Position(msgspec.Struct, frozen=True):
    """One block in prompt order. ``tokens`` and ``digest`` are of everything up to and including it."""

    tokens: int
    digest: bytes
    ttl: str | None


def _text_tokens(text: str, relative: float) -> int:
    """About how many tokens a text is. At least 1."""
    return max(1, round(len(text) / BYTES_PER_TOKEN * relative))


def _block_tokens(block: Block, model: Model, relative: float) -> int:
    """About how many tokens one content block is."""
    kind = block.get("type")
    if kind == "text":
        return _text_tokens(str(block.get("text", "")), relative)
    if kind == "image":
        return image_tokens(image_size(block.get("source")), model)
    if kind == "document":
        return _document_tokens(block, model, relative)
    if kind == "tool_result" and isinstance(block.get("content"), list):
        return sum(_block_tokens(inner, model, relative) for inner in block["content"] if isinstance(inner, dict))
    return max(1, round(len(msgspec.json.encode(block)) / BYTES_PER_TOKEN * relative))


def _document_tokens(block: Block, model: Model, relative: float) -> int:
    """A text by its length, parts by their sum, anything else by its pages."""
    source = block.get("source")
    if not isinstance(source, dict):
        return 1
    if source.get("type") == "text":
        return _text_tokens(str(source.get("data", "")), relative)
    content = source.get("content")
    if source.get("type") == "content" and isinstance(content, list):
        return sum(_block_tokens(inner, model, relative) for inner in content if isinstance(inner, dict))
    return page_count(source) * page_tokens(model)


def _tool_overhead(request: CountRequest, model: Model) -> int:
    """The hidden tool prompt: extra input tokens of a request with at least one tool."""
    if not request.tools or model.tool_prompt_tokens is None:
        return 0
    is_forced = request.tool_choice_type() in ("any", "tool")
    return (model.tool_prompt_tokens.forced or 0) if is_forced else model.tool_prompt_tokens.auto


def _sections(request: CountRequest, model: Model) -> Iterator[tuple[str, Block, int]]:
    """Every block in prompt order (tools, system, messages), with its section and fixed overhead in tokens."""
    for tool in request.tools or ():
        yield "tools", tool, 0
    for block in request.system_blocks():
        yield "system", block, 0
    kept_from = _last_question(request) if model.id in FORGETS_THINKING else 0
    for turn_number, turn in enumerate(request.messages):
        for number, block in enumerate(turn.blocks()):
            if turn_number < kept_from and block.get("type") in THINKING:
                continue
            yield turn.role, block, MESSAGE_TOKENS if number == 0 else 0


def _last_question(request: CountRequest) -> int:
    """The place of the last user turn that is more than tool results."""
    for number in range(len(request.messages) - 1, -1, -1):
        turn = request.messages[number]
        if turn.role == "user" and any(block.get("type") != "tool_result" for block in turn.blocks()):
            return number
    return 0


def count_tokens(request: CountRequest, model: Model) -> int:
    """About how many input tokens the request is."""
    relative = load_catalogue().tokenizer(model.tokenizer).relative_tokens
    return _tool_overhead(request, model) + sum(
        _block_tokens(block, model, relative) + extra for _, block, extra in _sections(request, model)
    )


class Breakpoint(msgspec.Struct, frozen=True):
    """Where the request marks the end of a prefix to be cached, and for how long."""

    path: str
    ttl: str


def breakpoints(request: CountRequest) -> list[Breakpoint]:
    """All explicit breakpoints, in prompt order."""
    found = [*_marks(request.tools or (), "tools")]
    if isinstance(request.system, list):
        found += _marks(request.system, "system")
    for number, turn in enumerate(request.messages):
        if isinstance(turn.content, list):
            found += _marks(turn.content, f"messages.{number}.content")
    return found


def _marks(blocks: Iterable[Block], path: str) -> Iterator[Breakpoint]:
    return (Breakpoint(f"{path}.{number}", ttl) for number, block in enumerate(blocks) if (ttl := _ttl_of(block)) is not None)


def _ttl_of(block: Block) -> str | None:
    """The TTL of the block's breakpoint; None without one."""
    control = block.get("cache_control")
    return str(control.get("ttl") or "5m") if isinstance(control, dict) else None


def positions(request: CountRequest, model: Model, speed: str) -> list[Position]:
    """The request as the prompt cache sees it: cumulative tokens and hash after each block, breakpoints marked.

    What invalidates a section goes into its hash: ``speed``, web search and citations from the system prompt on; ``tool_choice``,
    thinking, effort and the number of images from the messages on. An explicit default is the same as an absent member.
    """
    relative = load_catalogue().tokenizer(model.tokenizer).relative_tokens
    digest = hashlib.blake2b(model.id.encode(), digest_size=16)
    tokens = _tool_overhead(request, model)
    found: list[Position] = []
    entered = ""
    eligible = -1
    for section, block, extra in _sections(request, model):
        if section != "tools" and not entered:
            digest.update(_system_settings(request, speed))
            entered = "system"
        if section not in ("tools", "system") and entered == "system":
            digest.update(_message_settings(request, model))
            entered = "messages"
        tokens += _block_tokens(block, model, relative) + extra
        if section != "tools" or not _is_web_search(block):
            digest.update(section.encode())
            digest.update(msgspec.json.encode({name: value for name, value in block.items() if name != "cache_control"}))
        if block.get("type") not in THINKING:
            eligible = len(found)
        found.append(Position(tokens, digest.digest(), _ttl_of(block)))
    return _with_automatic(found, eligible, request.cache_control)


def _is_web_search(tool: Block) -> bool:
    return str(tool.get("type", "")).startswith("web_search")


def _system_settings(request: CountRequest, speed: str) -> bytes:
    """What invalidates the system prompt when it changes, and leaves the tools alone."""
    searches = [tool for tool in request.tools or () if _is_web_search(tool)]
    blocks = (block for turn in request.messages if isinstance(turn.content, list) for block in turn.content)
    has_citations = any(isinstance(found := block.get("citations"), dict) and found.get("enabled") for block in blocks)
    return msgspec.json.encode([speed, searches, has_citations])


def _message_settings(request: CountRequest, model: Model) -> bytes:
    """What invalidates the messages when it changes, and leaves tools and system prompt alone."""
    default = load_catalogue().thinking_rule(model.thinking).default
    thinking = request.thinking or {"type": "disabled" if default == "off" else "adaptive"}
    effort = request.effort() or (None if model.effort is None else model.effort.default)
    image_count = sum(1 for _ in images(request))
    return msgspec.json.encode([request.tool_choice or {"type": "auto"}, thinking, effort, image_count])


def _with_automatic(found: list[Position], eligible: int, control: CacheControl | None) -> list[Position]:
    """The same with the top-level ``cache_control`` as a breakpoint on the last block that can have one, unless it already is one."""
    if control is not None and eligible >= 0 and found[eligible].ttl is None:
        found[eligible] = msgspec.structs.replace(found[eligible], ttl=control.ttl)
    return found


def has_breakpoints(request: CountRequest) -> bool:
    """Whether anything of the request asks for prompt caching."""
    return request.cache_control is not None or bool(breakpoints(request))
