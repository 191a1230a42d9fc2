"""One model as one proxy sees it: its rules, breaker, estimates and counters. Looked up once a request."""

from __future__ import annotations

from typing import Final

from claudeops.catalogue import Model
from claudeops.policy.breaker import Breaker, BreakerParameters
from claudeops.policy.estimate import TokenRatio
from claudeops.policy.sampling import Adjustments, SamplingPolicy
from claudeops.sidecar.counters import ModelCounters
from claudeops.sidecar.group import GroupRuntime
from claudeops.sidecar.ledger import Used
from claudeops.wire.http1 import CLOSE_LINE

TIERS: Final[tuple[str, ...]] = ("primary", "fallback")
PRIMARY: Final = 0
FALLBACK: Final = 1


class ModelRuntime:
    """Everything per (upstream, model). Lives as long as the process: counters and breaker survive a new configuration."""

    __slots__ = (
        "adjustments",
        "answer_heads",
        "binds_thinking",
        "breaker",
        "context_tokens",
        "counters",
        "group",
        "id",
        "is_flipped",
        "long_tokens",
        "may_probe",
        "model",
        "policies",
        "probed_at",
        "quoted_id",
        "stream_tokens_per_byte",
        "tokens_per_byte",
        "used",
    )

    def __init__(self, model: Model, group: GroupRuntime, used: Used, breaker: BreakerParameters, now: float) -> None:
        self.id = model.id
        self.model = model
        self.group = group
        self.breaker = Breaker(breaker, now)
        self.is_flipped = False
        """The fleet is off this model."""
        self.may_probe = False
        """This proxy may send the half-open probe of a flipped model."""
        self.probed_at = -1.0e18
        self.policies: dict[str | None, SamplingPolicy] = {}
        """By ``anthropic-version``; compiled at first use, emptied by a new configuration."""
        self.counters = (ModelCounters(), ModelCounters())
        """By tier: PRIMARY, FALLBACK."""
        self.tokens_per_byte = TokenRatio(0.25 if model.tokenizer == "old" else 0.32)
        self.stream_tokens_per_byte = TokenRatio(0.02)
        """Output tokens per byte of an event stream: what a running stream is taken to have produced."""
        self.used = used
        self.long_tokens = model.context_tokens if model.long_context is None else model.long_context.threshold_tokens
        """Longer prompts are booked at the long-prompt prices."""
        self.context_tokens = model.context_tokens
        self.binds_thinking = model.binds_thinking
        self.adjustments: dict[tuple[object, ...], Adjustments] = {}
        """By everything that a request's adjustments depend on: an application sends few different combinations."""
        self.quoted_id = b'"' + model.id.encode() + b'"'
        self.answer_heads = tuple(
            f"x-claudeops-tier: {tier}\r\nx-claudeops-model: {model.id}\r\nx-claudeops-queue-ms: ".encode() for tier in TIERS
        )
        """What answers carry of ours, by tier, up to the first figure."""

    def end_connections(self) -> None:
        """From now on answers say that their connection ends with them. Once."""
        self.answer_heads = tuple([CLOSE_LINE + lines for lines in self.answer_heads])
