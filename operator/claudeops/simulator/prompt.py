"""A request as the API prices it: counted in tokens, and laid out as the sequence that the prompt cache sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.message import Block, CacheControl, CountRequest

BYTES_PER_TOKEN = 4.0
"""Of English text in the old tokenizer; a rule of thumb, not the real tokenizer."""
IMAGE_TOKENS = 1296
"""What every image counts: the simulator does not look inside (a 1000 x 1000 image is exact)."""
DOCUMENT_TOKENS = 3000
MESSAGE_TOKENS = 3


class Position(msgspec.Struct, frozen=True):
    """One block in prompt order. ``tokens`` and ``digest`` are of everything up to and including it."""

    tokens: int
    digest: bytes
    ttl: str | None


def _text_tokens(text: str, relative: float) -> int:
    """About how many tokens a text is. At least 1."""
    return max(1, round(len(text) / BYTES_PER_TOKEN * relative))


def _block_tokens(block: Block, relative: float) -> int:
    """About how many tokens one content block is."""
    kind = block.get("type")
    if kind == "text":
        return _text_tokens(str(block.get("text", "")), relative)
    if kind == "image":
        return IMAGE_TOKENS
    if kind == "document":
        return DOCUMENT_TOKENS
    if kind == "tool_result" and isinstance(block.get("content"), list):
        return sum(_block_tokens(inner, relative) for inner in block["content"] if isinstance(inner, dict))
    return max(1, round(len(msgspec.json.encode(block)) / BYTES_PER_TOKEN * relative))


def _tool_overhead(request: CountRequest, model: Model) -> int:
    """The hidden tool prompt: extra input tokens of a request with at least one tool."""
    if not request.tools or model.tool_prompt_tokens is None:
        return 0
    is_forced = request.tool_choice_type() in ("any", "tool")
    return (model.tool_prompt_tokens.forced or 0) if is_forced else model.tool_prompt_tokens.auto


def _sections(request: CountRequest) -> Iterator[tuple[str, Block, int]]:
    """Every block in prompt order (tools, system, messages), with its section and fixed overhead in tokens."""
    for tool in request.tools or ():
        yield "tools", tool, 0
    for block in request.system_blocks():
        yield "system", block, 0
    for turn in request.messages:
        for number, block in enumerate(turn.blocks()):
            yield turn.role, block, MESSAGE_TOKENS if number == 0 else 0


def count_tokens(request: CountRequest, model: Model) -> int:
    """About how many input tokens the request is."""
    relative = load_catalogue().tokenizer(model.tokenizer).relative_tokens
    return _tool_overhead(request, model) + sum(_block_tokens(block, relative) + extra for _, block, extra in _sections(request))


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

    What invalidates a section goes into its hash: ``speed`` from the system prompt on; ``tool_choice``, thinking and
    effort from the messages on.
    """
    relative = load_catalogue().tokenizer(model.tokenizer).relative_tokens
    digest = hashlib.blake2b(model.id.encode(), digest_size=16)
    tokens = _tool_overhead(request, model)
    message_settings = msgspec.json.encode([request.tool_choice, request.thinking, request.effort()])
    found: list[Position] = []
    entered = ""
    for section, block, extra in _sections(request):
        if section != "tools" and not entered:
            digest.update(speed.encode())
            entered = "system"
        if section not in ("tools", "system") and entered == "system":
            digest.update(message_settings)
            entered = "messages"
        tokens += _block_tokens(block, relative) + extra
        digest.update(section.encode())
        digest.update(msgspec.json.encode({name: value for name, value in block.items() if name != "cache_control"}))
        found.append(Position(tokens, digest.digest(), _ttl_of(block)))
    return _with_automatic(found, request.cache_control)


def _with_automatic(found: list[Position], control: CacheControl | None) -> list[Position]:
    """The same with the top-level ``cache_control`` as a breakpoint on the last block, unless it already is one."""
    if control is not None and found and found[-1].ttl is None:
        found[-1] = msgspec.structs.replace(found[-1], ttl=control.ttl)
    return found


def has_breakpoints(request: CountRequest) -> bool:
    """Whether anything of the request asks for prompt caching."""
    return request.cache_control is not None or any(_ttl_of(block) is not None for _, block, _ in _sections(request))
