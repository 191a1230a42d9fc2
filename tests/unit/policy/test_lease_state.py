from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.lease_state import BASELINE_MINIMUM, HeldLease, LeasePhase, effective_lease
from claudeops.policy.rates import Rates

BASELINE = Rates(1.0, 2000.0, 100.0)
USE = Rates(2.0, 3000.0, 400.0)
LEASE = Rates(10.0, 10_000.0, 2_000.0)


def at(now: float, *, is_contended: bool = True, baseline: Rates = BASELINE) -> tuple[LeasePhase, Rates]:
    lease = effective_lease(HeldLease(LEASE, is_contended, sent_at=100.0), now, baseline=baseline, recent_use=USE)
    return lease.phase, lease.rates


def test_a_lease_is_fresh_then_reduced_then_the_baseline() -> None:
    assert at(114.9) == (LeasePhase.FRESH, LEASE)
    assert at(115.0) == (LeasePhase.REDUCED, LEASE.scaled(0.7))
    assert at(714.9) == (LeasePhase.REDUCED, LEASE.scaled(0.7))
    assert at(715.0) == (LeasePhase.BASELINE, BASELINE)


def test_an_uncontended_lease_is_first_cut_to_the_proxys_own_use() -> None:
    assert at(120.0, is_contended=False) == (LeasePhase.REDUCED, USE.scaled(0.7))


def test_without_any_assignment_and_any_guarantee_one_request_at_a_time_goes() -> None:
    lease = effective_lease(None, 0.0, baseline=Rates(0.0, 0.0, 0.0), recent_use=Rates(0.0, 0.0, 0.0))
    assert lease.phase is LeasePhase.BASELINE
    assert lease.rates == BASELINE_MINIMUM
    assert lease.rates.requests == 0.5


@settings(max_examples=25)
@given(ages=st.lists(st.floats(0.0, 1000.0), min_size=2, max_size=10), is_contended=st.booleans())
def test_a_lease_never_grows_with_age_and_never_falls_below_the_baseline(ages: list[float], is_contended: bool) -> None:
    rates = [at(100.0 + age, is_contended=is_contended)[1] for age in sorted(ages)]
    for before, after in itertools.pairwise(rates):
        assert after.at_most(before) == after
    assert rates[-1].at_least(BASELINE) == rates[-1]
