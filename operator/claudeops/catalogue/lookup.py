"""Read the package data once and answer questions about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from types import MappingProxyType

import msgspec

from claudeops.catalogue.model import (
    BatchLimits,
    EffortLevel,
    ImageTier,
    Model,
    PriceRules,
    RateLimitGroup,
    RateLimits,
    Record,
    SamplingRule,
    ThinkingRule,
    Tokenizer,
)

EFFORT_LEVELS: tuple[EffortLevel, ...] = ("low", "medium", "high", "xhigh", "max")
"""All effort levels, weakest first."""


class _Pool(Record, frozen=True):
    rpm: int


class _Tier(Record, frozen=True):
    monthly_spend_cap_usd: int
    groups: dict[str, RateLimits]
    batches: BatchLimits
    count_tokens: _Pool


class _RateLimitTables(Record, frozen=True):
    groups: dict[str, RateLimitGroup]
    tiers: dict[str, _Tier]
    files_api: _Pool


class _ThinkingBudget(Record, frozen=True):
    min_tokens: int


class _Retired(Record, frozen=True):
    retired_at: date
    ids: tuple[str, ...]


class _WebSearch(Record, frozen=True):
    usd_per_1000: Decimal = msgspec.field(name="usdPer1000")


class _ServerTools(Record, frozen=True):
    web_search: _WebSearch


class _Document(Record, frozen=True):
    """``catalogue.json`` as it is written. Members that nothing acts on yet are left unread."""

    schema_version: int
    as_of: date
    api_versions: tuple[str, ...]
    sampling_rules: dict[str, dict[str, SamplingRule]]
    thinking_rules: dict[str, ThinkingRule]
    thinking_budget: _ThinkingBudget
    image_tiers: dict[str, ImageTier]
    tokenizers: dict[str, Tokenizer]
    models: tuple[Model, ...]
    retired: tuple[_Retired, ...]
    multipliers: PriceRules
    server_tools: _ServerTools
    rate_limits: _RateLimitTables


class Catalogue:
    """Typed lookups over one edition of the catalogue. Unknown names answer None, never an exception.

    Names of rules, tokenizers and image tiers come from a ``Model`` and always resolve; a foreign one is a KeyError.
    """

    __slots__ = ("_by_name", "_document", "_retired_on", "groups", "models", "price_rules")

    def __init__(self, document: _Document) -> None:
        self._document = document
        self.models: tuple[Model, ...] = document.models
        self.groups: Mapping[str, RateLimitGroup] = MappingProxyType(document.rate_limits.groups)
        self.price_rules = msgspec.structs.replace(
            document.multipliers, web_search_usd_per_1000=document.server_tools.web_search.usd_per_1000
        )
        self._by_name = {name: model for model in document.models for name in (model.id, *model.aliases)}
        self._retired_on = {name: batch.retired_at for batch in document.retired for name in batch.ids}

    @property
    def as_of(self) -> date:
        """The day whose API this edition describes."""
        return self._document.as_of

    @property
    def api_versions(self) -> tuple[str, ...]:
        """The values of ``anthropic-version`` that are alive, oldest first."""
        return self._document.api_versions

    @property
    def tiers(self) -> Iterable[str]:
        """Names of the usage tiers that have published limits, in lower case."""
        return self._document.rate_limits.tiers.keys()

    @property
    def min_thinking_budget_tokens(self) -> int:
        """The smallest ``thinking.budget_tokens`` the API accepts."""
        return self._document.thinking_budget.min_tokens

    def model(self, name: str) -> Model | None:
        """The model with this id or alias; None when it is unknown or retired."""
        return self._by_name.get(name)

    def retired_on(self, name: str) -> date | None:
        """The day this id stopped working; None when it is not known as retired or has only an announced date."""
        return self._retired_on.get(name)

    def models_of(self, group: str) -> tuple[Model, ...]:
        """The models that share this rate-limit group, in the catalogue's order."""
        return tuple(model for model in self.models if model.rate_limit_group == group)

    def tier_limits(self, tier: str, group: str) -> RateLimits | None:
        """The preset of this tier ('Build' or 'build') for this group; None when there is none."""
        found = self._document.rate_limits.tiers.get(tier.lower())
        return None if found is None else found.groups.get(group)

    def count_tokens_limit(self, tier: str) -> int | None:
        """Requests a minute of the separate ``count_tokens`` pool; None for a tier without published limits."""
        found = self._document.rate_limits.tiers.get(tier.lower())
        return None if found is None else found.count_tokens.rpm

    def batch_limits(self, tier: str) -> BatchLimits | None:
        """The limits of the Message Batches API; None for a tier without published limits."""
        found = self._document.rate_limits.tiers.get(tier.lower())
        return None if found is None else found.batches

    @property
    def files_limit(self) -> int:
        """Requests a minute of the Files API, about; the same in every tier."""
        return self._document.rate_limits.files_api.rpm

    def monthly_spend_cap_usd(self, tier: str) -> int | None:
        """What an organisation of this tier may spend in a calendar month (UTC); None for a tier without a published cap."""
        found = self._document.rate_limits.tiers.get(tier.lower())
        return None if found is None else found.monthly_spend_cap_usd

    def sampling_rule(self, sampling_class: str, api_version: str) -> SamplingRule:
        """What a class of models accepts under one ``anthropic-version``; KeyError when either is unknown."""
        return self._document.sampling_rules[sampling_class][api_version]

    def thinking_rule(self, thinking_class: str) -> ThinkingRule:
        """Which ``thinking.type`` a class of models accepts."""
        return self._document.thinking_rules[thinking_class]

    def tokenizer(self, name: str) -> Tokenizer:
        """How many tokens this tokenizer makes of a text, relative to the old one."""
        return self._document.tokenizers[name]

    def image_tier(self, name: str) -> ImageTier:
        """The size and token limits of this image tier."""
        return self._document.image_tiers[name]


@cache
def load_catalogue() -> Catalogue:
    """The catalogue shipped with this package. Read and checked once, then shared."""
    with open(os.path.join(os.path.dirname(__file__), "catalogue.json"), "rb") as file:
        return Catalogue(msgspec.json.decode(file.read(), type=_Document))
