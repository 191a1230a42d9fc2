"""What a proxy may use over time: its lease, then less of it, then the baseline of its configuration."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from claudeops.policy.rates import Rates

BASELINE_MINIMUM = Rates(0.5, 1000.0, 53.0)
"""Half a request a second, and one stream's worth of output at all times."""


class LeasePhase(StrEnum):
    """Fresh: granted. Reduced: the controller is away, the last lease is used in part. Baseline: the configured share."""

    FRESH = "Fresh"
    REDUCED = "Reduced"
    BASELINE = "Baseline"


class LeaseParameters(NamedTuple):
    """Source: controlplane design, "Leases"."""

    reduced_share: float = 0.7
    reduced_s: float = 600.0
    baseline_minimum: Rates = BASELINE_MINIMUM


class HeldLease(NamedTuple):
    """The last assignment: what was leased, whether by a contended share, and when the report it answers was sent."""

    rates: Rates
    is_contended: bool
    sent_at: float
    ttl_s: float = 15.0


class EffectiveLease(NamedTuple):
    """What holds now, why, and until when (infinity for the baseline)."""

    rates: Rates
    phase: LeasePhase
    until: float


def effective_lease(
    held: HeldLease | None,
    now: float,
    *,
    baseline: Rates,
    recent_use: Rates,
    parameters: LeaseParameters | None = None,
) -> EffectiveLease:
    """The lease in force at `now`.

    Fresh until `sent_at + ttl`; then `reduced_share` of it for `reduced_s`, an uncontended one first cut to the
    proxy's own `recent_use`; then the baseline (guaranteed / scaling.max), which is never less than the minimum.
    A reduced lease is never below the baseline.
    """
    rules = parameters or LeaseParameters()
    floor = baseline.at_least(rules.baseline_minimum)
    if held is None:
        return EffectiveLease(floor, LeasePhase.BASELINE, float("inf"))
    expires_at = held.sent_at + held.ttl_s
    if now < expires_at:
        return EffectiveLease(held.rates, LeasePhase.FRESH, expires_at)
    if now < expires_at + rules.reduced_s:
        last = held.rates if held.is_contended else held.rates.at_most(recent_use)
        reduced = last.scaled(rules.reduced_share).at_least(floor)
        return EffectiveLease(reduced, LeasePhase.REDUCED, expires_at + rules.reduced_s)
    return EffectiveLease(floor, LeasePhase.BASELINE, float("inf"))
