"""What is rounded, and what is worth a write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claudeops.controller.figure import WRITES_PER_S, WriteBudget, format_duration, is_due, is_figure_change, is_urgent_change, round_figure


@pytest.mark.parametrize(
    ("value", "rounded"), [(0, 0), (455.3, 460), (4.55, 4.5), (0.01234, 0.012), (999, 1000), (5, 5), (1234567, 1200000)]
)
def test_figures_have_two_digits(value: float, rounded: float) -> None:
    assert round_figure(value) == rounded


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_rounding_is_near_and_settles(value: float) -> None:
    rounded = round_figure(value)
    assert abs(rounded - value) <= 0.051 * value
    assert round_figure(rounded) == rounded


@pytest.mark.parametrize(("value_s", "text"), [(0.0004, "0ms"), (0.1234, "120ms"), (4.2, "4200ms"), (42.4, "42s"), (600, "600s")])
def test_durations_are_short(value_s: float, text: str) -> None:
    assert format_duration(value_s) == text


BASE = {"conditions": [{"type": "Ready"}], "grant": {"requestsPerMinute": 10}, "observed": {"requestsPerMinute": 1}, "breakers": []}


@pytest.mark.parametrize(
    "change",
    [
        {"conditions": []},
        {"effective": {"model": "x"}},
        {"replicas": 2},
        {"breakers": [{"model": "x"}]},
        {"grant": {}},
        {"slos": [{"indicator": "x"}]},
    ],
)
def test_what_matters_is_written_at_once(change: dict[str, object]) -> None:
    assert is_urgent_change({**BASE, **change}, BASE)


def test_mere_figures_wait() -> None:
    moved = {**BASE, "grant": {"requestsPerMinute": 20}, "observed": {"requestsPerMinute": 3}}
    assert not is_urgent_change(moved, BASE)
    assert is_figure_change(moved, BASE)
    assert not is_figure_change(BASE, BASE)


def test_figures_are_written_once_in_the_interval_and_what_matters_takes_them_along() -> None:
    moved = {**BASE, "observed": {"requestsPerMinute": 3}}
    assert not is_due(moved, BASE, age_s=59.9, interval_s=60.0)
    assert is_due(moved, BASE, age_s=60.0, interval_s=60.0)
    assert is_due({**moved, "replicas": 2}, BASE, age_s=0.1, interval_s=60.0)
    assert not is_due(BASE, BASE, age_s=3600.0, interval_s=60.0)


def test_an_empty_list_that_the_server_leaves_out_is_no_change() -> None:
    written = {name: value for name, value in BASE.items() if name != "breakers"}
    assert not is_urgent_change(BASE, written)


def test_the_budget_bounds_the_writes_of_a_second() -> None:
    budget = WriteBudget()
    assert sum(budget.take(100.0) for _ in range(100)) == WRITES_PER_S
    assert sum(budget.take(100.5) for _ in range(100)) == WRITES_PER_S / 2
