"""Weighted max-min shares with floors (progressive filling)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What one workload asks of one capacity: demand and guaranteed floor in the same unit, weight > 0."""

    name: str
    demand: float
    floor: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Fill:
    """The grants by name; `is_guarantee_scaled` when the used guarantees alone exceed the capacity."""

    grants: dict[str, float]
    is_guarantee_scaled: bool


def waterfill(capacity: float, claims: Iterable[Claim]) -> Fill:
    """Share `capacity` out: floors first (as far as demanded), the rest by weight to whoever still wants.

    Nobody gets more than its demand; the whole capacity is granted unless all demands are met. O(n log n).
    Source: Bertsekas & Gallager, Data Networks, section 6.5.2 (max-min), with floors.
    """
    claims = list(claims)
    grants = {claim.name: max(0.0, min(claim.floor, claim.demand)) for claim in claims}
    granted = sum(grants.values())
    if granted > capacity:
        factor = max(0.0, capacity) / granted
        return Fill({name: grant * factor for name, grant in grants.items()}, True)
    needs = [(claim.demand - grants[claim.name], claim.weight, claim.name) for claim in claims]
    needs = sorted((need for need in needs if need[0] > 0.0), key=lambda need: need[0] / need[1])
    left = capacity - granted
    weight_left = sum(weight for _, weight, _ in needs)
    for need, weight, name in needs:
        share = min(need, left * weight / weight_left) if weight_left > 0.0 else 0.0
        grants[name] += share
        left = max(0.0, left - share)
        weight_left -= weight
    return Fill(grants, False)
