from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.slo import CELLS, SloWindow, evaluate_slo

HOUR = 3600.0


def window(*, good: int, total: int, seconds: float, until: float = 10 * HOUR) -> SloWindow:
    result = SloWindow()
    now = until - seconds
    while now < until:
        result.add(good, total, now)
        now += 60.0
    return result


def test_met_with_the_percentage_of_the_last_hour() -> None:
    verdict = evaluate_slo(window(good=99, total=100, seconds=6 * HOUR), 95.0, 10 * HOUR)
    assert verdict.is_met is True
    assert verdict.current_percent == pytest.approx(99.0)
    assert verdict.burn_rate == pytest.approx(0.2)


def test_a_total_failure_of_an_hour_burns_fast() -> None:
    verdict = evaluate_slo(window(good=0, total=10, seconds=HOUR), 95.0, 10 * HOUR)
    assert verdict.is_met is False
    assert verdict.burn_rate == pytest.approx(20.0)


def test_what_is_over_does_not_burn_any_more() -> None:
    cells = window(good=0, total=10, seconds=HOUR)
    for minute in range(32):
        cells.add(10, 10, 10 * HOUR + 60.0 * minute)
    assert evaluate_slo(cells, 95.0, 10 * HOUR + 1900.0).is_met is True


def test_a_slow_burn_is_seen_over_six_hours() -> None:
    cells = window(good=92, total=100, seconds=6 * HOUR)
    assert evaluate_slo(cells, 99.0, 10 * HOUR).is_met is False
    assert evaluate_slo(cells, 98.0, 10 * HOUR).is_met is True


def test_under_twenty_requests_an_hour_or_unobserved_nothing_is_said() -> None:
    few = SloWindow()
    few.add(0, 19, 10 * HOUR)
    assert evaluate_slo(few, 95.0, 10 * HOUR).is_met is None
    few.add(0, 1, 10 * HOUR)
    assert evaluate_slo(few, 95.0, 10 * HOUR).is_met is False
    assert evaluate_slo(few, 95.0, 10 * HOUR, is_observed=False).is_met is None
    empty = evaluate_slo(SloWindow(), 95.0, 10 * HOUR)
    assert (empty.is_met, empty.current_percent, empty.burn_rate) == (None, None, None)


def test_an_objective_of_all_burns_at_the_first_miss_without_dividing_by_zero() -> None:
    cells = SloWindow()
    cells.add(99, 100, 10 * HOUR)
    assert evaluate_slo(cells, 100.0, 10 * HOUR).is_met is False


@settings(max_examples=25)
@given(counts=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 50), st.integers(0, 50)), max_size=60))
def test_cells_are_bounded_and_come_back_from_their_list(counts: list[tuple[int, int, int]]) -> None:
    cells = SloWindow()
    for start, good, bad in counts:
        cells.merge(start, good, good + bad)
    assert len(cells.entries()) <= CELLS
    again = SloWindow()
    again.load(cells.entries())
    assert again.entries() == cells.entries()
    for window_s in (300.0, 3600.0, 21600.0):
        sums = cells.sums(window_s, 400 * 300.0)
        assert 0.0 <= sums[0] <= sums[1]
        assert again.sums(window_s, 400 * 300.0) == sums


def test_the_oldest_cell_counts_by_the_part_that_lies_in_the_window() -> None:
    cells = SloWindow()
    cells.merge(0, 100, 100)
    assert cells.sums(300.0, 450.0) == (50.0, 50.0)
    assert cells.sums(300.0, 600.0) == (0.0, 0.0)
