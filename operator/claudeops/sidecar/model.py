"""One model as one proxy sees it: its rules, breaker, estimates and counters. Looked up once a request."""

from __future__ import annotations

from claudeops.catalogue import Model, Prices
from claudeops.policy.breaker import Breaker, BreakerParameters
from claudeops.policy.estimate import TokenRatio
from claudeops.policy.sampling import Adjustments, SamplingPolicy
from claudeops.sidecar.counters import ModelCounters
from claudeops.sidecar.group import GroupRuntime

TIERS = ("primary", "fallback")
PRIMARY = 0
FALLBACK = 1


class PriceTable:
    """USD per token of one model, as floats: metrics, not invoices."""

    __slots__ = ("input", "output", "read", "write_1h", "write_5m")

    def __init__(self, prices: Prices) -> None:
        self.input = float(prices.input) / 1e6
        self.output = float(prices.output) / 1e6
        self.write_5m = float(prices.cache_write_5m) / 1e6
        self.write_1h = float(prices.cache_write_1h) / 1e6
        self.read = float(prices.cache_read) / 1e6


class ModelRuntime:
    """Everything per (upstream, model). Lives as long as the process: counters and breaker survive a new configuration."""

    __slots__ = (
        "adjustments",
        "answer_heads",
        "breaker",
        "context_tokens",
        "counters",
        "group",
        "id",
        "is_flipped",
        "long_prices",
        "long_tokens",
        "may_probe",
        "model",
        "policies",
        "prices",
        "probed_at",
        "quoted_id",
        "stream_tokens_per_byte",
        "tokens_per_byte",
    )

    def __init__(self, model: Model, group: GroupRuntime, breaker: BreakerParameters, now: float) -> None:
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
        self.prices = PriceTable(model.prices)
        long = model.long_context
        self.long_prices = self.prices if long is None else PriceTable(long.prices)
        """Of prompts of more than ``long_tokens``."""
        self.long_tokens = model.context_tokens if long is None else long.threshold_tokens
        self.context_tokens = model.context_tokens
        self.adjustments: dict[tuple[object, ...], Adjustments] = {}
        """By everything that a request's adjustments depend on: an application sends few different combinations."""
        self.quoted_id = b'"' + model.id.encode() + b'"'
        self.answer_heads = tuple(
            f"x-claudeops-tier: {tier}\r\nx-claudeops-model: {model.id}\r\nx-claudeops-queue-ms: ".encode() for tier in TIERS
        )
