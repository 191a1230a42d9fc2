"""What tokens cost: the price rules of the API, as exact integers.

Amounts are picodollars (1e-12 USD). Every published price, under every combination of its factors, is a whole number of them a
token, so that sums of any length are exact; USD appear only where a figure is shown. Factors and prices are the catalogue's.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from claudeops.catalogue.model import Model, PriceRules

PICO_PER_USD = 10**12
_PICO_PER_TOKEN = 10**6
"""Of a price in USD per million tokens."""


class Terms(NamedTuple):
    """What changes the price of a whole answer. They stack; fast mode excludes batches.

    ``is_long``: the prompt passed the model's long-prompt step. ``is_us``: served under ``inference_geo: us``. ``is_fast``: served at
    ``speed: fast``. ``is_batch``: an item of a message batch. ``is_priority``: paid by a commitment, at no published price.
    """

    is_long: bool = False
    is_us: bool = False
    is_fast: bool = False
    is_batch: bool = False
    is_priority: bool = False


STANDARD = Terms()


class Tokens(NamedTuple):
    """Tokens by what they cost; or, as :func:`cost_of` answers, picodollars by what they are for.

    ``input`` is what was neither read from nor written to the prompt cache.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """The whole prompt: what decides on the long-prompt step."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def plus(self, other: Tokens) -> Tokens:
        """The sum, kind by kind."""
        return Tokens(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Rates(NamedTuple):
    """Picodollars a token, by kind."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int


def is_long_prompt(model: Model, prompt_tokens: int) -> bool:
    """Whether a prompt of this many tokens (uncached, cache reads and writes) pays the long-prompt prices."""
    return model.long_context is not None and prompt_tokens > model.long_context.threshold_tokens


def rates_of(model: Model, rules: PriceRules, terms: Terms = STANDARD) -> Rates | None:
    """What a token costs under these terms; None when no price is published for them.

    ``is_us`` costs nothing extra where the model does not take ``inference_geo`` (before 4.6).
    """
    factor = _factor(model, rules, terms)
    if factor is None:
        return None
    long = model.long_context
    prices = long.prices if terms.is_long and long is not None else model.prices
    kinds = (prices.input, prices.output, prices.cache_read, prices.cache_write_5m, prices.cache_write_1h)
    return Rates(*(round(price * factor * _PICO_PER_TOKEN) for price in kinds))


def _factor(model: Model, rules: PriceRules, terms: Terms) -> Decimal | None:
    """On every kind of token; None where one of the terms has no price."""
    if terms.is_priority:
        return None
    factor = rules.inference_geo_us if terms.is_us and model.inference_geo else Decimal(1)
    if terms.is_fast:
        if terms.is_batch or model.fast.mode not in ("ga", "beta"):
            return None
        return factor * rules.fast
    if terms.is_batch:
        return None if model.prices.batch_input is None else factor * rules.batch
    return factor


def cost_of(tokens: Tokens, rates: Rates) -> Tokens:
    """Picodollars of each kind."""
    return Tokens(*(count * rate for count, rate in zip(tokens, rates, strict=True)))


def web_search_pico(rules: PriceRules) -> int:
    """Picodollars of one web search; no term changes them."""
    return round(rules.web_search_usd_per_1000 * PICO_PER_USD / 1000)


def usd(pico: int) -> Decimal:
    """Picodollars as exact USD."""
    return Decimal(pico) / PICO_PER_USD
