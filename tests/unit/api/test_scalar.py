"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.table import every

from claudeops.api import seconds
from claudeops.api.scalar import DURATION_RULE, MODEL_RULE, POSITIVE_DURATION_RULE
from claudeops.catalogue import load_catalogue


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("1m30s", 90), ("500ms", 0.5), ("0.5s", 0.5), ("24h", 86_400), ("0s", 0), ("1h2m3s4ms", 3723.004)]
)
def test_a_duration_is_so_many_seconds(text: str, expected: float) -> None:
    assert DURATION_RULE.holds(text)
    assert seconds(text) == expected


@every("text", ["", "20", "s", "-1s", "1 s", "1d", "1us", "PT1S", "1s\n", "25h", "1.s", "١s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert not DURATION_RULE.holds(text)


@pytest.mark.parametrize(("text", "holds"), [("0s", False), ("0ms0s", False), ("1ms", True)])
def test_a_positive_duration_is_over_zero(text: str, holds: bool) -> None:
    assert POSITIVE_DURATION_RULE.holds(text) is holds


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["ms", "s", "m"])), min_size=1, max_size=4))
@settings(max_examples=50)
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    unit_s = {"ms": 0.001, "s": 1, "m": 60}
    assert seconds("".join(f"{number}{unit}" for number, unit in parts)) == pytest.approx(
        sum(number * unit_s[unit] for number, unit in parts)
    )


def test_every_model_of_the_catalogue_can_be_written() -> None:
    names = [name for model in load_catalogue().models for name in (model.id, *model.aliases)]
    assert names
    assert all(MODEL_RULE.holds(name) for name in names)
