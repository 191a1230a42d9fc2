"""pool: the limits of what is no message, each a small group of its own, of requests only; and those of fast mode."""

from __future__ import annotations

from claudeops.exchange import FAST_POOL
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.group import COUNT_TOKENS, OTHER
from claudeops.sidecar.runtime import Runtime


def count_only(call: Call, runtime: Runtime) -> Answer | None:
    """count_tokens has limits of its own, and no output."""
    call.group = runtime.group(COUNT_TOKENS, call.walked_at)
    call.is_streamed = False
    return None


def take_fast(call: Call, runtime: Runtime) -> None:
    """A request with a speed: fast mode has limits of its own, where the model is sold fast."""
    model = call.model
    if bytes(call.asked.speed) == b'"fast"' and model.model.fast.mode in ("ga", "beta"):
        call.group = runtime.group(model.group.name + FAST_POOL, call.walked_at)


def relay_only(call: Call, runtime: Runtime) -> Answer | None:
    """What is relayed without being read."""
    assert runtime.primary is not None
    call.model = runtime.primary
    call.group = runtime.group(OTHER, call.walked_at)
    return None
