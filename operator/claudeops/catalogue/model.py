"""The catalogue's shapes: frozen records, decoded straight from ``catalogue.json``.

Prices are exact decimals in USD per million tokens. Dates are calendar dates (UTC). ``None`` means: not published.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

ApiVersion = Literal["2023-06-01", "2026-10-21"]
EffortLevel = Literal["low", "medium", "high", "xhigh", "max"]
ThinkingType = Literal["adaptive", "enabled", "disabled", "between_tools"]
SamplingClass = Literal["locked", "pinned", "exclusive"]


class Record(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What all of the catalogue's records are: immutable, hashable where their members are, camelCase in the file."""


class ParameterRule(Record, frozen=True):
    """What the API accepts for one sampling parameter. An empty rule accepts everything."""

    is_allowed: bool = True
    only: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    default: float | None = None

    def admits(self, value: float) -> bool:
        """Whether a request that carries this value is legal."""
        if not self.is_allowed or (self.only is not None and value != self.only):
            return False
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)


class SamplingRule(Record, frozen=True):
    """Legality of ``temperature``, ``top_p`` and ``top_k`` for one class of models under one ``anthropic-version``.

    ``is_exclusive``: ``temperature`` and ``top_p`` together are a 400 even where each alone is legal.
    """

    temperature: ParameterRule
    top_p: ParameterRule
    top_k: ParameterRule
    is_exclusive: bool = False
    with_thinking: SamplingRule | None = None

    def under_thinking(self, is_thinking: bool) -> SamplingRule:
        """The rule that holds for a request with or without thinking. Exclusiveness stays."""
        if not is_thinking or self.with_thinking is None:
            return self
        return msgspec.structs.replace(self.with_thinking, is_exclusive=self.is_exclusive)


class ThinkingRule(Record, frozen=True):
    """Legality of ``thinking.type`` for one class of models.

    ``disabled_max_effort`` and ``between_tools_max_effort``: the highest effort with which that type is accepted.
    """

    accepts: tuple[ThinkingType, ...]
    rejects: tuple[ThinkingType, ...]
    default: Literal["always-on", "on", "off"]
    deprecated: tuple[ThinkingType, ...] = ()
    disabled_max_effort: EffortLevel | None = None
    between_tools_max_effort: EffortLevel | None = None


class Prices(Record, frozen=True):
    """USD per million tokens."""

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal = msgspec.field(name="cacheWrite5m")
    cache_write_1h: Decimal = msgspec.field(name="cacheWrite1h")
    cache_read: Decimal
    batch_input: Decimal | None
    batch_output: Decimal | None


class PriceRules(Record, frozen=True):
    """Factors on every token category, and what server tools cost beside the tokens."""

    batch: Decimal
    fast: Decimal
    inference_geo_us: Decimal
    web_search_usd_per_1000: Decimal = Decimal(0)


class LongContext(Record, frozen=True):
    """Prompts strictly longer than ``threshold_tokens`` pay ``prices`` on every category of the whole request."""

    threshold_tokens: int
    multiplier: int
    measure: Literal["total-input"]
    prices: Prices


class FastMode(Record, frozen=True):
    """``speed: fast``. ``beta`` needs a beta header, ``ignored`` is served at standard speed, ``error`` is a 400."""

    mode: Literal["ga", "beta", "error", "ignored", "none"]
    input: Decimal | None = None
    output: Decimal | None = None
    deprecated_at: date | None = None
    removed_at: date | None = None


class Effort(Record, frozen=True):
    """``output_config.effort``. No levels: the parameter is not supported."""

    default: EffortLevel | None
    levels: tuple[EffortLevel, ...]


class ToolPromptTokens(Record, frozen=True):
    """Extra input tokens of a request with at least one tool, by kind of ``tool_choice``. ``forced`` None: rejected."""

    auto: int
    forced: int | None


class Model(Record, frozen=True):
    """One model of the first-party Claude API and everything the product must know to send it a legal request.

    ``binds_thinking``: a thinking block is taken back only behind the very turns that it was written behind.
    """

    id: str
    aliases: tuple[str, ...]
    line: Literal["haiku", "sonnet", "opus", "fable", "mythos"]
    status: Literal["active", "deprecated", "limited"]
    released_at: date | None
    not_retired_before: date | None
    retires_at: date | None
    context_tokens: int
    max_output_tokens: int
    batch_output_beta_tokens: int | None
    prices: Prices
    fast: FastMode
    long_context: LongContext | None
    tokenizer: Literal["old", "new"]
    min_cacheable_tokens: int
    rate_limit_group: str | None
    sampling: SamplingClass
    thinking: str
    effort: Effort | None
    image_tier: Literal["standard", "high"]
    forced_tool_choice: bool
    prefill: bool
    inference_geo: bool
    tool_prompt_tokens: ToolPromptTokens | None
    binds_thinking: bool = False
    deprecated_at: date | None = None
    unverified: tuple[str, ...] = ()

    def prices_for(self, prompt_tokens: int) -> Prices:
        """The prices of a request whose whole prompt (uncached, cache writes and cache reads) has this many tokens."""
        long = self.long_context
        return long.prices if long is not None and prompt_tokens > long.threshold_tokens else self.prices


class Tokenizer(Record, frozen=True):
    """How many tokens the same text becomes, relative to the ``old`` tokenizer."""

    relative_tokens: float


class ImageTier(Record, frozen=True):
    """An image is shrunk until its longest edge and its tokens, ceil(w/28) x ceil(h/28), are within these."""

    max_edge_px: int
    max_tokens: int


class RateLimitGroup(Record, frozen=True):
    """One pool of rate limits, shared by all models of the group."""

    display_name: str
    counts_cache_reads: bool


class RateLimits(msgspec.Struct, frozen=True):
    """One group's limits in one tier, per minute. Input is uncached input unless the group counts cache reads."""

    requests_per_minute: int = msgspec.field(name="rpm")
    input_tokens_per_minute: int = msgspec.field(name="itpm")
    output_tokens_per_minute: int = msgspec.field(name="otpm")


class BatchLimits(Record, frozen=True):
    """Limits of the Message Batches API in one tier: requests to it a minute, items that wait in all batches, items in one batch."""

    requests_per_minute: int = msgspec.field(name="rpm")
    queued_requests: int
    requests_per_batch: int
