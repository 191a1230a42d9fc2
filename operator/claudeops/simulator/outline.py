"""The answer that a call gets: planned from the request, then bent by the context window and the fault it met."""

from __future__ import annotations

import random

import msgspec

from claudeops.simulator.binding import sign
from claudeops.simulator.call import Call
from claudeops.simulator.content import Content, Draft, Part, plan
from claudeops.simulator.fault import Fault
from claudeops.simulator.message import MessageRequest
from claudeops.simulator.pace import Pace

BILLED_REFUSALS = ("bio", "frontier_llm", "reasoning_extraction")
"""A refusal before any output costs nothing, but for these categories."""


def slowed(pace: Pace, fault: Fault | None) -> Pace:
    """The pace under the fault."""
    if fault is None or fault.kind != "slow":
        return pace
    return Pace(pace.ttft_s * fault.factor + fault.delay_s, pace.tokens_per_s / fault.factor, pace.output_tokens)


def outline(call: Call, pace: Pace, dice: random.Random, tokens_per_event: int) -> Content:
    """The whole answer."""
    assert isinstance(call.message, MessageRequest) and call.model is not None
    room = max(0, call.model.context_tokens - call.lookup.use.total)
    cap = min(call.message.max_tokens, room)
    signature = sign(call.message, call.model) if call.message.thinking is not None else None
    content = plan(call.message, Draft(call.model.id, call.lookup.use, pace.output_tokens, cap, call.service, signature), dice)
    if content.stop_reason == "max_tokens" and room < call.message.max_tokens:
        content = msgspec.structs.replace(content, stop_reason="model_context_window_exceeded")
    fault = call.fault
    if fault is not None and fault.kind == "big_event":
        content = msgspec.structs.replace(content, filler_bytes=fault.size_bytes)
    if fault is not None and fault.kind == "refusal":
        content = _refused(content, fault, tokens_per_event)
    return content


def _refused(content: Content, fault: Fault, tokens_per_event: int) -> Content:
    """The answer that ends in a refusal: before any output, or after some events of text."""
    tokens = min(content.output_tokens, (fault.after_events or 0) * tokens_per_event)
    explanation = None if fault.category is None else f"This request was refused: {fault.category}."
    return msgspec.structs.replace(
        content,
        parts=(Part("text", tokens),) if tokens else (),
        stop_reason="refusal",
        stop_details={"type": "refusal", "category": fault.category, "explanation": explanation},
    )


def is_billed(content: Content) -> bool:
    """Whether the answer costs anything."""
    if content.stop_reason != "refusal" or content.output_tokens:
        return True
    return (content.stop_details or {}).get("category") in BILLED_REFUSALS
