from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.waterfill import Claim, waterfill

claims = st.lists(st.tuples(st.floats(0.0, 1000.0), st.floats(0.0, 300.0), st.floats(1.0, 1000.0)), min_size=1, max_size=12).map(
    lambda rows: [Claim(f"w{i}", *row) for i, row in enumerate(rows)]
)
capacities = st.floats(0.0, 3000.0)


@settings(max_examples=30)
@given(capacity=capacities, claims=claims)
def test_everything_is_granted_and_nothing_more(capacity: float, claims: list[Claim]) -> None:
    fill = waterfill(capacity, claims)
    assert sum(fill.grants.values()) == pytest.approx(min(capacity, sum(claim.demand for claim in claims)))
    assert all(-1e-9 <= fill.grants[claim.name] <= claim.demand + 1e-6 for claim in claims)


@settings(max_examples=30)
@given(capacity=capacities, claims=claims)
def test_floors_hold_or_all_are_scaled_alike(capacity: float, claims: list[Claim]) -> None:
    fill = waterfill(capacity, claims)
    used_floors = {claim.name: min(claim.floor, claim.demand) for claim in claims}
    total = sum(used_floors.values())
    assert fill.is_guarantee_scaled == (total > capacity)
    factor = capacity / total if fill.is_guarantee_scaled else 1.0
    for name, floor in used_floors.items():
        assert fill.grants[name] >= floor * factor - 1e-6


@settings(max_examples=30)
@given(capacity=capacities, more=st.floats(0.0, 1000.0), claims=claims)
def test_more_capacity_takes_from_nobody(capacity: float, more: float, claims: list[Claim]) -> None:
    before, after = waterfill(capacity, claims).grants, waterfill(capacity + more, claims).grants
    assert all(after[name] >= before[name] - 1e-6 for name in before)


@settings(max_examples=30)
@given(capacity=capacities, claims=claims)
def test_of_two_unmet_claims_the_shares_above_the_floors_are_as_the_weights(capacity: float, claims: list[Claim]) -> None:
    fill = waterfill(capacity, claims)
    if fill.is_guarantee_scaled:
        return
    unmet = [claim for claim in claims if fill.grants[claim.name] < claim.demand - 1e-3]
    levels = [(fill.grants[claim.name] - min(claim.floor, claim.demand)) / claim.weight for claim in unmet]
    assert all(level == pytest.approx(levels[0], abs=1e-3) for level in levels)


def test_the_worked_example_with_and_without_floors() -> None:
    plain = waterfill(120.0, [Claim("a", 100.0, 0.0, 1.0), Claim("b", 50.0, 0.0, 1.0), Claim("c", 10.0, 0.0, 1.0)])
    assert plain.grants == {"a": 60.0, "b": 50.0, "c": 10.0}
    floors = waterfill(120.0, [Claim("a", 100.0, 0.0, 2.0), Claim("b", 60.0, 60.0, 1.0), Claim("c", 10.0, 0.0, 1.0)])
    assert floors.grants == {"a": 50.0, "b": 60.0, "c": 10.0}
    assert not floors.is_guarantee_scaled


def test_nobody_and_nothing_are_answered() -> None:
    assert waterfill(10.0, []).grants == {}
    assert waterfill(0.0, [Claim("a", 5.0, 2.0)]).grants == {"a": 0.0}
