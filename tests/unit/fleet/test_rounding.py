"""What is rounded, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claudeops.fleet.rounding import format_duration, round_figure


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
