"""What is worth a write."""

import pytest

from claudeops.controller.figure import WRITES_PER_S, WriteBudget, is_due, is_figure_change, is_urgent_change

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
