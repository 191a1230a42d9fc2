"""``status.effective``: what holds now, with the defaults that the stored object leaves unsaid."""

from __future__ import annotations

from typing import Any, Literal

from claudeops.api import ClaudeWorkload


def effective(workload: ClaudeWorkload, *, model: str, tier: Literal["Primary", "Fallback"]) -> dict[str, Any]:
    """The block as it goes into status. ``model`` and ``tier`` are what the fleet serves now."""
    spec = workload.spec
    written: dict[str, Any] = {
        "model": model,
        "tier": tier,
        "quota": spec.quota_ref.name,
        "placement": spec.placement,
        "clientChoice": spec.model.client_choice,
        "promptCache": spec.cache.prompt.mode,
        "weight": spec.limits.weight,
        "queue": spec.limits.queue.model_dump(by_alias=True),
        "resilience": spec.resilience.model_dump(by_alias=True),
        "connections": spec.connections.model_dump(by_alias=True),
    }
    if spec.sampling is not None:
        written["onViolation"] = spec.sampling.on_violation
    return written
