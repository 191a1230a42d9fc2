"""estimate: how many input tokens the request has, and how many of them the prompt cache will probably give.

The later stages *vision* and *context* take their places around this one: exact image tokens before it, the window after it.
"""

from __future__ import annotations

from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.runtime import Runtime

LARGE_BYTES = 32_768
DOCUMENT_TOKENS_PER_BYTE = 0.02
"""A PDF page is about 100 KB and 2,000 tokens."""


def estimate(call: Call, runtime: Runtime) -> Answer | None:
    """Sets ``estimated_total`` and ``estimated_uncached``; never refuses."""
    model = call.model
    size_bytes = len(call.body)
    extra = 0.0
    asked = call.asked
    if size_bytes > LARGE_BYTES:
        media_bytes, extra = _media(call, runtime)
        size_bytes -= media_bytes
    if len(asked.tools) > 2 and model.model.tool_prompt_tokens is not None:
        extra += model.model.tool_prompt_tokens.auto
    total = size_bytes * model.tokens_per_byte.value + extra
    call.estimated_total = call.estimated_uncached = total
    if call.is_marked:
        key = hash((model.id, call.session, bytes(asked.system), bytes(asked.tools)))
        call.prefix = key.to_bytes(8, "little", signed=True)
        cached = runtime.prefixes.cached_tokens(call.prefix, call.walked_at)
        call.estimated_uncached = total - cached if total > cached else 0.0
    return None


def _media(call: Call, runtime: Runtime) -> tuple[int, float]:
    """Bytes of base64 sources, which are no text, and the tokens they may cost at most."""
    size_bytes, tokens = 0, 0.0
    image_tokens = runtime.catalogue.image_tier(call.model.model.image_tier).max_tokens
    for turn in call.asked.messages:
        if not isinstance(turn.content, list):
            continue
        for block in turn.content:
            source_bytes = len(block.source)
            size_bytes += source_bytes
            if block.type == "image":
                tokens += image_tokens
            else:
                tokens += source_bytes * DOCUMENT_TOKENS_PER_BYTE
    return size_bytes, tokens
