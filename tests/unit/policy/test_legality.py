from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.catalogue.lookup import EFFORT_LEVELS, load_catalogue
from claudeops.policy.legality import effort_cap, illegal_sampling, is_thinking, known_version, legal_thinking, nearest_level

CATALOGUE = load_catalogue()
OLD, NEW = "2023-06-01", "2026-10-21"


@pytest.mark.parametrize("kind", ["locked", "pinned", "exclusive"])
def test_the_new_version_takes_no_sampling_parameter_of_any_model(kind: str) -> None:
    rule = CATALOGUE.sampling_rule(kind, NEW)
    assert illegal_sampling(rule, temperature=1.0, top_p=0.99, top_k=5) == ("temperature", "top_p", "top_k")


def test_a_locked_model_takes_none_under_the_old_version_either() -> None:
    rule = CATALOGUE.sampling_rule("locked", OLD)
    assert illegal_sampling(rule, temperature=0.2, top_p=None, top_k=None) == ("temperature",)


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [(1.0, None, ()), (0.3, None, ("temperature",)), (None, 0.99, ()), (None, 1.0, ("top_p",)), (1.0, 0.99, ("top_p",))],
)
def test_a_pinned_model_takes_only_its_own_values_and_one_of_both(
    temperature: float | None, top_p: float | None, expected: tuple[str, ...]
) -> None:
    rule = CATALOGUE.sampling_rule("pinned", OLD)
    assert illegal_sampling(rule, temperature=temperature, top_p=top_p, top_k=None) == expected
    assert illegal_sampling(rule, temperature=temperature, top_p=top_p, top_k=3) == (*expected, "top_k")


def test_an_exclusive_model_takes_one_of_both_and_the_preferred_stays() -> None:
    rule = CATALOGUE.sampling_rule("exclusive", OLD)
    assert illegal_sampling(rule, temperature=0.3, top_p=0.9, top_k=5) == ("top_p",)
    assert illegal_sampling(rule, temperature=0.3, top_p=0.9, top_k=5, prefer_top_p=True) == ("temperature",)
    assert illegal_sampling(rule, temperature=0.3, top_p=None, top_k=5) == ()


def test_with_thinking_an_exclusive_model_takes_neither_temperature_nor_top_k() -> None:
    rule = CATALOGUE.sampling_rule("exclusive", OLD).under_thinking(True)
    assert illegal_sampling(rule, temperature=1.0, top_p=0.97, top_k=5) == ("temperature", "top_k")


@pytest.mark.parametrize(
    ("asked", "held_to"), [(None, OLD), (OLD, OLD), ("2024-01-01", OLD), (NEW, NEW), ("2027-01-01", NEW), ("2020-01-01", OLD)]
)
def test_every_version_is_held_to_a_known_one(asked: str | None, held_to: str) -> None:
    assert known_version(asked, CATALOGUE.api_versions) == held_to


@settings(max_examples=25)
@given(level=st.sampled_from(EFFORT_LEVELS), allowed=st.sets(st.sampled_from(EFFORT_LEVELS), min_size=1))
def test_the_nearest_level_is_allowed_and_none_is_nearer(level: str, allowed: set[str]) -> None:
    order = [str(name) for name in EFFORT_LEVELS]
    found = nearest_level(level, allowed)
    gap = abs(order.index(found) - order.index(level))
    assert found in allowed
    assert all(abs(order.index(other) - order.index(level)) >= gap for other in allowed)


def test_ties_go_to_the_lower_level() -> None:
    assert nearest_level("high", ["xhigh", "medium"]) == "medium"


def test_no_model_is_sent_a_thinking_type_that_it_rejects() -> None:
    for model, kind in itertools.product(CATALOGUE.models, ["adaptive", "enabled", "disabled", "between_tools"]):
        rule = CATALOGUE.thinking_rule(model.thinking)
        sent = legal_thinking(rule, kind)
        assert sent is None or sent in rule.accepts, (model.id, kind)
        assert kind not in rule.accepts or sent == kind, (model.id, kind)


def test_a_type_nobody_knows_yet_is_left_to_the_api() -> None:
    assert legal_thinking(CATALOGUE.thinking_rule("budget-only"), "dreaming") == "dreaming"


def test_off_and_between_tools_cap_the_effort_where_the_model_says_so() -> None:
    assert effort_cap(CATALOGUE.thinking_rule("adaptive-on-capped"), "disabled") == "high"
    assert effort_cap(CATALOGUE.thinking_rule("between-tools"), "between_tools") == "high"
    assert effort_cap(CATALOGUE.thinking_rule("adaptive-on"), "adaptive") is None


def test_a_silent_request_thinks_where_the_model_does_so_by_itself() -> None:
    assert is_thinking(CATALOGUE.thinking_rule("adaptive-on"), None)
    assert not is_thinking(CATALOGUE.thinking_rule("adaptive-off"), None)
    assert not is_thinking(CATALOGUE.thinking_rule("adaptive-on"), "disabled")
