"""The ``anthropic-ratelimit-*`` headers and the identity of who answered, read from upstream heads."""

from __future__ import annotations

from typing import Final

from claudeops.policy.level import Sample
from claudeops.sidecar.call import Call
from claudeops.sidecar.runtime import Runtime
from claudeops.wire.http1 import header

READ_EVERY_S: Final = 0.02
"""Of the answers to one group, this many seconds apart at least: the newest reading is all that counts."""
HIGH_LEVEL: Final = 0.25
DIGITS_MAX: Final = 12
"""Of a figure that is worth reading: a larger one would be refused by the controller, and the whole report with it."""
_NAMES: Final = tuple(
    (f"anthropic-ratelimit-{name}-limit".encode(), f"anthropic-ratelimit-{name}-remaining".encode())
    for name in ("requests", "input-tokens", "output-tokens", "tokens")
)
_SCARCEST: Final = 3
_FAST_NAMES: Final = (
    (b"anthropic-fast-requests-limit", b"anthropic-fast-requests-remaining"),
    *((f"anthropic-fast-{name}-limit".encode(), f"anthropic-fast-{name}-remaining".encode()) for name in ("input-tokens", "output-tokens")),
)
"""In the order of the dimensions. Of requests the API says nothing."""


def read_levels(call: Call, runtime: Runtime, head: bytes, now: float) -> None:
    """Let the group's gauges see this answer; tell the controller at once of a limit that has become lower."""
    group = call.group
    group.read_at = now
    lowered = head.lower()
    runtime.see_organization(
        header(head, lowered, b"anthropic-organization-id").decode("latin-1"),
        header(head, lowered, b"anthropic-workspace-id").decode("latin-1"),
    )
    is_lower = False
    for dimension, (limit_name, remaining_name) in enumerate(_FAST_NAMES if group.is_fast else _NAMES):
        limit = _number(header(head, lowered, limit_name))
        remaining = _number(header(head, lowered, remaining_name))
        if limit is None or remaining is None:
            continue
        sample = Sample(limit / 60.0, remaining, call.sent_at)
        if dimension == _SCARCEST:
            group.limiter.see_scarcest(sample, now)
        else:
            is_lower = group.limiter.see_level(dimension, sample, now) or is_lower
    if is_lower and not group.is_auxiliary:
        runtime.on_urgent("limit")


def are_levels_high(call: Call, now: float) -> bool:
    """Did the last headers show every bucket well filled? A 429 then came from somewhere else."""
    gauges = [gauge for gauge in call.group.limiter.gauges if gauge.limit_per_s > 0.0]
    return bool(gauges) and all(gauge.level(now) > HIGH_LEVEL for gauge in gauges)


def _number(value: bytes) -> float | None:
    return float(value) if value.isdigit() and len(value) <= DIGITS_MAX else None
