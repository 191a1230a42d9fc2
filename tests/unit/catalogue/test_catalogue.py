"""The catalogue against figures written down a second time, by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from tests.unit.table import every

from claudeops.catalogue import Catalogue, Model, load_catalogue

# id: released, retires, not retired before, context and output in thousands, USD per MTok in/out/5m/1h/read, cacheable, group
MODELS = {
    "claude-fable-5-2": ("2026-11-09", None, "2027-11-09", 1000, 128, "8 40 10 16 0.20", 512, "fable-5.x"),
    "claude-fable-5-1": ("2026-09-01", None, "2027-09-01", 1000, 128, "10 50 12.50 20 0.25", 512, "fable-5.x"),
    "claude-fable-5": ("2026-06-09", None, "2027-06-09", 1000, 128, "10 50 12.50 20 1", 512, "fable-5.x"),
    "claude-mythos-5-2": ("2026-11-09", None, None, 1000, 128, "8 40 10 16 0.20", 512, "mythos-5.x"),
    "claude-mythos-5-1": ("2026-09-01", None, "2027-09-01", 1000, 128, "10 50 12.50 20 0.25", 512, "mythos-5.x"),
    "claude-mythos-5": ("2026-06-09", None, "2027-06-09", 1000, 128, "10 50 12.50 20 1", 512, "mythos-5.x"),
    "claude-mythos-preview": (None, None, None, 1000, 128, "10 50 12.50 20 1", 2048, None),
    "claude-opus-5-5": ("2026-09-22", None, "2027-09-22", 1000, 128, "4 20 5 8 0.20", 512, "opus-5.5"),
    "claude-opus-5": ("2026-07-24", None, "2027-07-24", 1000, 128, "5 25 6.25 10 0.50", 512, "opus-5"),
    "claude-opus-4-8": ("2026-05-28", None, "2027-05-28", 1000, 128, "5 25 6.25 10 0.50", 1024, "opus-4.x"),
    "claude-opus-4-7": ("2026-04-16", None, "2027-04-16", 1000, 128, "5 25 6.25 10 0.50", 2048, "opus-4.x"),
    "claude-opus-4-6": ("2026-02-05", None, "2027-02-05", 1000, 128, "5 25 6.25 10 0.50", 4096, "opus-4.x"),
    "claude-opus-4-5-20251101": ("2025-11-24", None, "2026-11-24", 200, 64, "5 25 6.25 10 0.50", 4096, "opus-4.x"),
    "claude-sonnet-5-5": ("2026-09-28", None, "2027-09-28", 1000, 128, "2 10 2.50 4 0.10", 512, "sonnet-5.5"),
    "claude-sonnet-5": ("2026-06-30", None, "2027-06-30", 1000, 128, "2 10 2.50 4 0.20", 1024, "sonnet-5"),
    "claude-sonnet-4-6": ("2026-02-17", None, "2027-02-17", 1000, 128, "3 15 3.75 6 0.30", 1024, "sonnet-4.x"),
    "claude-sonnet-4-5-20250929": ("2025-09-29", "2026-11-30", None, 200, 64, "3 15 3.75 6 0.30", 1024, "sonnet-4.x"),
    "claude-haiku-5-5": ("2026-10-07", None, "2027-10-07", 1000, 128, "0.10 0.50 0.125 0.20 0.01", 512, "haiku-5.5"),
    "claude-haiku-4-5-20251001": ("2025-10-15", None, "2026-10-15", 200, 64, "1 5 1.25 2 0.10", 4096, "haiku-4.5"),
}
ALIASES = {
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}
# sampling class, thinking class, effort levels, tokenizer, forced tool choice, prefill, tool prompt tokens
ALL = ("low", "medium", "high", "xhigh", "max")
BEHAVIOUR = {
    "claude-fable-5-2": ("locked", "always-adaptive", ALL, "new", False, False, None),
    "claude-fable-5-1": ("locked", "always-adaptive", ALL, "new", False, False, None),
    "claude-fable-5": ("locked", "always-adaptive", ALL, "new", True, False, None),
    "claude-mythos-5-2": ("locked", "always-adaptive", ALL, "new", False, False, None),
    "claude-mythos-5-1": ("locked", "always-adaptive", ALL, "new", False, False, None),
    "claude-mythos-5": ("locked", "always-adaptive", ALL, "new", True, False, None),
    "claude-mythos-preview": ("locked", "always-adaptive-or-budget", None, "new", True, False, None),
    "claude-opus-5-5": ("locked", "always-adaptive", ALL, "new", False, False, (286, None)),
    "claude-opus-5": ("locked", "adaptive-on-capped", ALL, "new", True, False, (286, 406)),
    "claude-opus-4-8": ("locked", "adaptive-off", ALL, "new", True, False, (290, 410)),
    "claude-opus-4-7": ("locked", "adaptive-off", ALL, "new", True, False, (675, 804)),
    "claude-opus-4-6": ("exclusive", "adaptive-or-budget", ("low", "medium", "high", "max"), "old", True, False, (497, 589)),
    "claude-opus-4-5-20251101": ("exclusive", "budget-only", ("low", "medium", "high"), "old", True, True, (496, 588)),
    "claude-sonnet-5-5": ("locked", "between-tools", ALL, "new", False, False, (286, None)),
    "claude-sonnet-5": ("locked", "adaptive-on", ALL, "new", True, False, (354, 474)),
    "claude-sonnet-4-6": ("exclusive", "adaptive-or-budget", ("low", "medium", "high", "max"), "old", True, False, (497, 589)),
    "claude-sonnet-4-5-20250929": ("exclusive", "budget-only", (), "old", True, True, (496, 588)),
    "claude-haiku-5-5": ("pinned", "adaptive-on-capped", ALL, "new", True, False, (286, 406)),
    "claude-haiku-4-5-20251001": ("exclusive", "budget-only", (), "old", True, True, (496, 588)),
}
COMMON_GROUPS = ("opus-5.5", "opus-5", "opus-4.x", "sonnet-5.5", "sonnet-5", "sonnet-4.x", "haiku-5.5", "haiku-4.5")
PRESETS = {
    "Start": {"common": (1000, 2_000_000, 400_000), "fable": (1000, 500_000, 100_000), "haiku-3.5": (1000, 100_000, 20_000), "count": 2000},
    "Build": {
        "common": (5000, 5_000_000, 1_000_000),
        "fable": (2000, 1_500_000, 300_000),
        "haiku-3.5": (2000, 200_000, 40_000),
        "count": 4000,
    },
    "Scale": {
        "common": (10_000, 10_000_000, 2_000_000),
        "fable": (4000, 4_000_000, 800_000),
        "haiku-3.5": (4000, 400_000, 80_000),
        "count": 8000,
    },
}


@pytest.fixture
def catalogue() -> Catalogue:
    return load_catalogue()


def of(catalogue: Catalogue, name: str) -> Model:
    model = catalogue.model(name)
    assert model is not None
    return model


def day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def test_serves_exactly_the_known_models(catalogue: Catalogue) -> None:
    assert {model.id for model in catalogue.models} == set(MODELS) == set(BEHAVIOUR)


@every("name", MODELS)
def test_dates_sizes_prices_and_groups_are_exact(catalogue: Catalogue, name: str) -> None:
    released, retires, floor, context, output, prices, cacheable, group = MODELS[name]
    model = of(catalogue, name)
    assert (model.released_at, model.retires_at, model.not_retired_before) == (day(released), day(retires), day(floor))
    assert (model.context_tokens, model.max_output_tokens) == (context * 1000, output * 1000)
    p = model.prices
    assert (p.input, p.output, p.cache_write_5m, p.cache_write_1h, p.cache_read) == tuple(Decimal(text) for text in prices.split())
    assert (model.min_cacheable_tokens, model.rate_limit_group) == (cacheable, group)


@every("name", BEHAVIOUR)
def test_what_each_model_accepts(catalogue: Catalogue, name: str) -> None:
    sampling, thinking, levels, tokenizer, forced, prefill, tools = BEHAVIOUR[name]
    model = of(catalogue, name)
    assert (model.sampling, model.thinking, model.tokenizer) == (sampling, thinking, tokenizer)
    assert (model.effort.levels if model.effort else None) == levels
    assert (model.forced_tool_choice, model.prefill) == (forced, prefill)
    assert (None if model.tool_prompt_tokens is None else (model.tool_prompt_tokens.auto, model.tool_prompt_tokens.forced)) == tools


@every("model", load_catalogue().models)
def test_every_rule_a_model_names_exists(catalogue: Catalogue, model: Model) -> None:
    for version in catalogue.api_versions:
        catalogue.sampling_rule(model.sampling, version)
    rule = catalogue.thinking_rule(model.thinking)
    assert not set(rule.accepts) & set(rule.rejects)
    assert catalogue.tokenizer(model.tokenizer).relative_tokens >= 1
    assert catalogue.image_tier(model.image_tier).max_tokens in (4784, 1568)
    assert model.rate_limit_group is None or model.rate_limit_group in catalogue.groups


@every("model", load_catalogue().models)
def test_batch_costs_half_and_cache_writes_their_multiple(model: Model) -> None:
    p = model.prices
    assert p.batch_input in (None, p.input / 2)
    assert p.batch_output in (None, p.output / 2)
    assert p.cache_write_5m == p.input * Decimal("1.25")
    assert p.cache_write_1h == p.input * 2
    if model.fast.mode in ("ga", "beta"):
        assert (model.fast.input, model.fast.output) == (p.input * 2, p.output * 2)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases_resolve_to_the_dated_id(catalogue: Catalogue, alias: str, name: str) -> None:
    assert of(catalogue, alias) is of(catalogue, name)


def test_there_are_no_other_aliases(catalogue: Catalogue) -> None:
    assert {alias for model in catalogue.models for alias in model.aliases} == set(ALIASES)


def test_effort_defaults(catalogue: Catalogue) -> None:
    medium = {m.id for m in catalogue.models if m.effort and m.effort.default == "medium"}
    assert medium == {"claude-opus-5-5", "claude-haiku-5-5"}


def test_unknown_and_retired_models_are_none(catalogue: Catalogue) -> None:
    assert catalogue.model("gpt-oss") is None
    assert catalogue.model("claude-3-opus-20240229") is None
    assert catalogue.retired_on("claude-3-opus-20240229") == date(2026, 1, 5)
    assert catalogue.retired_on("claude-opus-4-1-20250805") == date(2026, 8, 5)
    assert catalogue.retired_on("claude-sonnet-4-5") is None


def test_a_long_haiku_prompt_pays_five_times_on_every_category(catalogue: Catalogue) -> None:
    haiku = of(catalogue, "claude-haiku-5-5")
    assert haiku.prices_for(100_000) is haiku.prices
    dear = haiku.prices_for(100_001)
    for field in haiku.prices.__struct_fields__:
        assert getattr(dear, field) == 5 * getattr(haiku.prices, field)
    sonnet = of(catalogue, "claude-sonnet-5-5")
    assert sonnet.prices_for(900_000) is sonnet.prices


@pytest.mark.parametrize("tier", PRESETS)
def test_presets_of_each_tier(catalogue: Catalogue, tier: str) -> None:
    expected = {group: PRESETS[tier]["common"] for group in COMMON_GROUPS}
    expected |= {"fable-5.x": PRESETS[tier]["fable"], "mythos-5.x": PRESETS[tier]["fable"], "haiku-3.5": PRESETS[tier]["haiku-3.5"]}
    assert set(catalogue.groups) == set(expected)
    for group, figures in expected.items():
        limits = catalogue.tier_limits(tier, group)
        assert limits is not None
        assert (limits.requests_per_minute, limits.input_tokens_per_minute, limits.output_tokens_per_minute) == figures
        assert catalogue.tier_limits(tier.lower(), group) == limits
    assert catalogue.count_tokens_limit(tier) == PRESETS[tier]["count"]


@pytest.mark.parametrize("tier", ["Evaluation", "Custom", ""])
def test_tiers_without_published_limits_have_no_preset(catalogue: Catalogue, tier: str) -> None:
    assert catalogue.tier_limits(tier, "sonnet-5.5") is None
    assert catalogue.count_tokens_limit(tier) is None


def test_no_tier_limits_for_an_unknown_group(catalogue: Catalogue) -> None:
    assert catalogue.tier_limits("Build", "gpt") is None


def test_groups_pool_their_models(catalogue: Catalogue) -> None:
    assert [m.id for m in catalogue.models_of("sonnet-4.x")] == ["claude-sonnet-4-6", "claude-sonnet-4-5-20250929"]
    assert [group for group, facts in catalogue.groups.items() if facts.counts_cache_reads] == ["haiku-3.5"]


@pytest.mark.parametrize("sampling_class", ["locked", "pinned", "exclusive"])
def test_the_new_version_forbids_all_sampling(catalogue: Catalogue, sampling_class: str) -> None:
    rule = catalogue.sampling_rule(sampling_class, "2026-10-21")
    assert not any(p.is_allowed or p.admits(1) for p in (rule.temperature, rule.top_p, rule.top_k))


def test_sampling_of_the_old_version(catalogue: Catalogue) -> None:
    locked = catalogue.sampling_rule("locked", "2023-06-01")
    assert not any(p.admits(1) for p in (locked.temperature, locked.top_p, locked.top_k))
    pinned = catalogue.sampling_rule("pinned", "2023-06-01")
    assert pinned.temperature.admits(1)
    assert not pinned.temperature.admits(0.99)
    assert pinned.top_p.admits(0.99)
    assert not pinned.top_p.admits(1)
    assert not pinned.top_k.admits(40)
    assert pinned.is_exclusive
    exclusive = catalogue.sampling_rule("exclusive", "2023-06-01")
    assert [exclusive.temperature.admits(t) for t in (-0.1, 0, 0.7, 1, 1.1)] == [False, True, True, True, False]
    assert exclusive.temperature.default == 1
    assert exclusive.top_p.admits(0.1)
    assert exclusive.top_k.admits(40)
    assert exclusive.is_exclusive


def test_thinking_narrows_sampling_and_keeps_exclusiveness(catalogue: Catalogue) -> None:
    rule = catalogue.sampling_rule("exclusive", "2023-06-01")
    assert rule.under_thinking(False) is rule
    thinking = rule.under_thinking(True)
    assert not thinking.temperature.admits(1)
    assert not thinking.top_k.admits(1)
    assert [thinking.top_p.admits(p) for p in (0.94, 0.95, 1)] == [False, True, True]
    assert thinking.is_exclusive


def test_unknown_api_version_or_class_is_a_key_error(catalogue: Catalogue) -> None:
    with pytest.raises(KeyError):
        catalogue.sampling_rule("locked", "2024-01-01")
    with pytest.raises(KeyError):
        catalogue.thinking_rule("sometimes")


def test_thinking_rules(catalogue: Catalogue) -> None:
    assert catalogue.thinking_rule("between-tools").between_tools_max_effort == "high"
    assert catalogue.thinking_rule("adaptive-on-capped").disabled_max_effort == "high"
    assert catalogue.thinking_rule("budget-only").rejects == ("adaptive",)
    assert catalogue.min_thinking_budget_tokens == 1024


def test_what_has_no_primary_source_is_marked(catalogue: Catalogue) -> None:
    assert "rateLimitGroup" in of(catalogue, "claude-fable-5-2").unverified
    assert of(catalogue, "claude-sonnet-5-5").unverified == ()


def test_the_catalogue_is_read_once_and_frozen(catalogue: Catalogue) -> None:
    assert load_catalogue() is catalogue
    with pytest.raises(AttributeError):
        catalogue.models[0].line = "opus"  # type: ignore[misc]
    with pytest.raises(TypeError):
        catalogue.groups["new"] = catalogue.groups["opus-5"]  # type: ignore[index]
