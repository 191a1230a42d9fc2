"""Prices against sums worked out by hand from the published tables."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest
from tests.unit.table import every

from claudeops.catalogue import Model, load_catalogue
from claudeops.catalogue.price import STANDARD, Terms, Tokens, cost_of, is_long_prompt, rates_of, usd, web_search_pico

CATALOGUE = load_catalogue()
RULES = CATALOGUE.price_rules
US, FAST, BATCH, LONG = Terms(is_us=True), Terms(is_fast=True), Terms(is_batch=True), Terms(is_long=True)
ONE_OF_EACH = Tokens(input=1_000_000, output=1_000_000, cache_read=1_000_000, cache_write_5m=1_000_000, cache_write_1h=1_000_000)

# model, terms, tokens (input, output, read, 5m, 1h), USD
WORKED = [
    ("claude-sonnet-5-5", STANDARD, (1_000, 500, 0, 0, 0), "0.007"),  # 1,000 x $2 + 500 x $10
    ("claude-sonnet-5-5", STANDARD, (0, 0, 1_000_000, 0, 0), "0.10"),
    ("claude-opus-5-5", STANDARD, (10, 1, 3, 5, 7), "0.0001416"),  # 40 + 20 + 0.6 + 25 + 56 millionths
    ("claude-opus-5-5", FAST, (1_000_000, 1_000_000, 0, 0, 0), "48"),  # 8 + 40
    ("claude-opus-5-5", FAST, (0, 0, 1_000_000, 1_000_000, 1_000_000), "26.40"),  # twice 0.20 + 5 + 8
    ("claude-opus-5-5", US, (1_000_000, 0, 0, 0, 0), "4.40"),
    ("claude-opus-5-5", Terms(is_us=True, is_fast=True), (1_000_000, 0, 1_000_000, 0, 0), "9.24"),  # (4 + 0.20) x 2 x 1.1
    ("claude-opus-4-8", BATCH, (1_000_000, 1_000_000, 0, 0, 0), "15"),  # 2.50 + 12.50
    ("claude-opus-4-8", BATCH, (0, 0, 1_000_000, 1_000_000, 1_000_000), "8.375"),  # half of 0.50 + 6.25 + 10
    ("claude-sonnet-4-6", Terms(is_us=True, is_batch=True), (1_000_000, 0, 0, 0, 0), "1.65"),  # 3 x 0.5 x 1.1
    ("claude-sonnet-4-5", US, (1_000_000, 0, 0, 0, 0), "3"),  # takes no inference_geo: no factor
    ("claude-haiku-5-5", STANDARD, (100_000, 1_000, 0, 0, 0), "0.0105"),
    ("claude-haiku-5-5", LONG, (100_001, 1_000, 0, 0, 0), "0.0525005"),  # $0.50 and $2.50
    ("claude-haiku-5-5", Terms(is_long=True, is_us=True, is_batch=True), (0, 0, 1, 0, 0), "0.0000000275"),
    ("claude-fable-5-1", STANDARD, (1, 1, 1, 1, 1), "0.00009275"),  # 10 + 50 + 0.25 + 12.50 + 20
]


def of(name: str) -> Model:
    model = CATALOGUE.model(name)
    assert model is not None
    return model


@every(("name", "terms", "tokens", "dollars"), WORKED)
def test_worked_examples(name: str, terms: Terms, tokens: tuple[int, ...], dollars: str) -> None:
    rates = rates_of(of(name), RULES, terms)
    assert rates is not None
    assert usd(sum(cost_of(Tokens(*tokens), rates))) == Decimal(dollars)


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("claude-opus-4-7", FAST),
        ("claude-opus-4-6", FAST),
        ("claude-haiku-5-5", FAST),
        ("claude-opus-5-5", Terms(is_fast=True, is_batch=True)),
        ("claude-mythos-preview", BATCH),
        ("claude-opus-5-5", Terms(is_priority=True)),
    ],
)
def test_what_has_no_published_price_has_none(name: str, terms: Terms) -> None:
    assert rates_of(of(name), RULES, terms) is None


@every("model", CATALOGUE.models)
def test_every_rate_is_a_whole_number_of_picodollars_a_token(model: Model) -> None:
    for flags in product((False, True), repeat=4):
        terms = Terms(*flags)
        rates = rates_of(model, RULES, terms)
        if rates is None:
            continue
        prices = model.long_context.prices if terms.is_long and model.long_context else model.prices
        us = Decimal("1.1") if terms.is_us and model.inference_geo else Decimal(1)
        factor = us * (2 if terms.is_fast else 1) / (2 if terms.is_batch else 1)
        exact = [price * factor for price in (prices.input, prices.output, prices.cache_read, prices.cache_write_5m, prices.cache_write_1h)]
        assert [usd(pico) for pico in cost_of(ONE_OF_EACH, rates)] == exact


def test_a_prompt_is_long_behind_the_step_only_and_where_there_is_one() -> None:
    haiku, sonnet = of("claude-haiku-5-5"), of("claude-sonnet-5-5")
    assert not is_long_prompt(haiku, 100_000)
    assert is_long_prompt(haiku, Tokens(input=1, output=9, cache_read=50_000, cache_write_5m=49_999, cache_write_1h=1).prompt)
    assert not is_long_prompt(sonnet, 900_000)


def test_a_thousand_web_searches_cost_ten_dollars() -> None:
    assert usd(1_000 * web_search_pico(RULES)) == 10
