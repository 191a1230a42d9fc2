"""estimate: how many input tokens the request has, and how many of them the prompt cache will probably give.

The later stages *vision* and *context* take their places around this one: exact image tokens before it, the window after it.
"""

from __future__ import annotations

from typing import Final

from claudeops.catalogue.model import ToolPromptTokens
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.stage.pool import take_fast
from claudeops.sidecar.wireformat import UNREADABLE, BlockJson, decode_blocks

LARGE_BYTES: Final = 32_768
DOCUMENT_TOKENS_PER_BYTE: Final = 0.02
"""A PDF page is about 100 KB and 2,000 tokens."""
FORCED: Final = ("any", "tool")
RESULT_BYTES: Final = 2_048
"""A tool result that is smaller is taken to hold no image."""


def estimate(call: Call, runtime: Runtime) -> Answer | None:
    """Sets ``estimated_total`` and ``estimated_uncached``, and the pool that they are for; never refuses."""
    model = call.model
    if len(call.asked.speed):
        take_fast(call, runtime)
    total = total_tokens(call, model, runtime)
    call.estimated_total = call.estimated_uncached = total
    if call.is_marked:
        system, tools, prefixes = call.asked.system, call.asked.tools, runtime.prefixes
        numbers = prefixes.number_of(memoryview(system)), prefixes.number_of(memoryview(tools)) if len(tools) else 0
        call.prefix = hash((model.id, call.session, numbers)).to_bytes(8, "little", signed=True)
        cached = prefixes.cached_tokens(call.prefix, call.walked_at)
        call.estimated_uncached = total - cached if total > cached else 0.0
    return None


def total_tokens(call: Call, model: ModelRuntime, runtime: Runtime) -> float:
    """Estimated tokens of the whole prompt for this model. Sets ``text_bytes`` and ``extra_tokens``, what will be learned by: nothing
    where there are images or documents, whose tokens are not known apart."""
    text_bytes = size_bytes = len(call.body)
    extra = 0.0
    if size_bytes > LARGE_BYTES:
        media_bytes, extra = _media(call, runtime.catalogue.image_tier(model.model.image_tier).max_tokens)
        if media_bytes:
            size_bytes -= media_bytes
            text_bytes = 0
    if len(call.asked.tools) > 2 and model.model.tool_prompt_tokens is not None:
        extra += _tool_tokens(call, model.model.tool_prompt_tokens)
    call.text_bytes, call.extra_tokens = text_bytes, extra
    return size_bytes * model.tokens_per_byte.value + extra


def _tool_tokens(call: Call, cost: ToolPromptTokens) -> int:
    """What the API adds to a request with tools, by the choice among them."""
    choice = call.asked.tool_choice
    is_forced = choice is not None and choice.type in FORCED
    return cost.forced if is_forced and cost.forced is not None else cost.auto


def count_images(call: Call) -> int:
    """Images of the whole conversation, those in tool results too."""
    return sum(block.type == "image" for block in _sources(call))


def _media(call: Call, image_tokens: int) -> tuple[int, float]:
    """Bytes of base64 sources, and the tokens they may cost at most."""
    size_bytes, tokens = 0, 0.0
    for block in _sources(call):
        source_bytes = len(block.source)
        size_bytes += source_bytes
        if block.type == "image":
            tokens += image_tokens
        else:
            tokens += source_bytes * DOCUMENT_TOKENS_PER_BYTE
    return size_bytes, tokens


def _sources(call: Call) -> list[BlockJson]:
    """Images and documents, those in tool results too."""
    found: list[BlockJson] = []
    for turn in call.asked.messages:
        if not isinstance(turn.content, list):
            continue
        for block in turn.content:
            if len(block.source):
                found.append(block)
            elif block.type == "tool_result" and len(block.content) > RESULT_BYTES and b'"source"' in bytes(block.content):
                found += _inner_sources(block)
    return found


def _inner_sources(block: BlockJson) -> list[BlockJson]:
    try:
        inner = decode_blocks(block.content)
    except UNREADABLE:
        return []  # not the API's shape: it will say so itself
    return [] if isinstance(inner, str) else [part for part in inner if len(part.source)]
