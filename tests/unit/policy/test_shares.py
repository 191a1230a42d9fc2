from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.shares import DemandMeter, WorkloadShare, lease_shares, probe_rate, proxy_demand, should_push
from claudeops.policy.waterfill import Claim, waterfill

demands = st.dictionaries(st.sampled_from([f"p{i}" for i in range(8)]), st.floats(0.0, 500.0), min_size=1)
fleets = st.lists(demands, min_size=1, max_size=4).map(
    lambda rows: {f"w{i}": {f"w{i}/{name}": demand for name, demand in row.items()} for i, row in enumerate(rows)}
)


def decide(capacity: float, fleet: dict[str, dict[str, float]], held: dict[str, float], probe: float = 0.0) -> dict[str, float]:
    """One round over the fleet; checks the charges and returns the leases that must be treated as held next time."""
    fill = waterfill(capacity, [Claim(name, sum(row.values())) for name, row in fleet.items()])
    shares = lease_shares(capacity, [WorkloadShare(fill.grants[name], row) for name, row in fleet.items()], held, probe)
    probes = probe * len(shares)
    assert sum(share.charge for share in shares.values()) <= capacity * (1 + 1e-9) + probes + 1e-6
    contended = {name: share.lease for name, share in shares.items() if share.is_contended}
    uncontended = sum(share.charge for share in shares.values() if not share.is_contended)
    in_use = uncontended + sum(
        max(contended.get(name, 0.0), held.get(name, 0.0)) for name in {*contended, *held} if name not in shares or name in contended
    )
    before = uncontended + sum(lease for name, lease in held.items() if name not in shares or name in contended)
    assert in_use <= max(capacity, before) * (1 + 1e-9) + probes + 1e-6
    return contended


@settings(max_examples=30)
@given(rounds=st.lists(st.tuples(st.floats(1.0, 1000.0), fleets), min_size=1, max_size=5), has_probe=st.booleans())
def test_charges_stay_within_the_capacity_while_old_leases_are_still_in_use(
    rounds: list[tuple[float, dict[str, dict[str, float]]]], has_probe: bool
) -> None:
    held: dict[str, float] = {}
    for capacity, fleet in rounds:
        proxies = sum(len(row) for row in fleet.values())
        held = decide(capacity, fleet, held, probe_rate(capacity, proxies) if has_probe else 0.0)


@settings(max_examples=25)
@given(capacity=st.floats(1.0, 1000.0), fleet=fleets)
def test_under_constant_demand_contended_leases_reach_the_whole_grant(capacity: float, fleet: dict[str, dict[str, float]]) -> None:
    held: dict[str, float] = {}
    for _ in range(4):
        held = decide(capacity, fleet, held)
    for name, row in fleet.items():
        grant = waterfill(capacity, [Claim(other, sum(rows.values())) for other, rows in fleet.items()]).grants[name]
        if grant < 0.999 * sum(row.values()):
            assert sum(held[proxy] for proxy in row) == pytest.approx(grant)


def test_who_does_not_queue_gets_twice_its_demand_and_is_charged_once() -> None:
    shares = lease_shares(100.0, [WorkloadShare(30.0, {"a": 10.0, "b": 20.0})], {})
    assert (shares["a"].lease, shares["a"].charge, shares["a"].is_contended) == (20.0, 10.0, False)


def test_contention_splits_by_demand_and_a_workload_at_its_maximum_counts_as_contended() -> None:
    shares = lease_shares(30.0, [WorkloadShare(30.0, {"a": 20.0, "b": 40.0})], {})
    assert (shares["a"].lease, shares["b"].lease) == (10.0, 20.0)
    capped = lease_shares(100.0, [WorkloadShare(30.0, {"a": 30.0}, is_capped=True)], {})
    assert (capped["a"].lease, capped["a"].is_contended) == (30.0, True)


def test_an_increase_waits_for_the_decrease_that_pays_for_it() -> None:
    first = lease_shares(30.0, [WorkloadShare(30.0, {"a": 40.0, "b": 20.0})], {"a": 30.0})
    assert (first["a"].lease, first["b"].lease) == (20.0, 0.0)
    second = lease_shares(30.0, [WorkloadShare(30.0, {"a": 40.0, "b": 20.0})], {"a": 20.0, "b": 0.0})
    assert second["b"].lease == 10.0


def test_the_lease_of_a_dead_proxy_counts_until_it_expires() -> None:
    workload = WorkloadShare(30.0, {"a": 60.0})
    assert lease_shares(30.0, [workload], {"a": 10.0, "dead": 15.0})["a"].lease == 15.0
    assert lease_shares(30.0, [workload], {"a": 10.0})["a"].lease == 30.0


def test_every_proxy_has_at_least_the_probing_minimum() -> None:
    probe = probe_rate(1000.0, 2)
    assert probe == 5.0
    shares = lease_shares(1000.0, [WorkloadShare(1000.0, {"busy": 10_000.0, "idle": 0.0})], {"busy": 1000.0}, probe)
    assert shares["idle"].lease == probe


@settings(max_examples=20)
@given(old=st.floats(0.0, 1e6), new=st.floats(0.0, 1e6))
def test_a_push_is_for_moves_of_more_than_two_percent(old: float, new: float) -> None:
    assert should_push(old, new) == (abs(old - new) > 0.02 * max(old, new))
    assert not should_push(old, old)


def test_demand_is_offered_and_queued_work_at_its_mean_cost() -> None:
    assert proxy_demand(2.0, 30.0, 100.0, 7.0) == 507.0


def test_the_meter_follows_the_offered_rate_and_forgets() -> None:
    meter = DemandMeter(0.0)
    for second in range(1, 41):
        for _ in range(10):
            meter.offer(3.0)
        meter.rate_per_s(float(second))
    assert meter.rate == pytest.approx(30.0, rel=0.01)
    assert meter.rate_per_s(40.0) == meter.rate
    assert meter.rate_per_s(80.0) < 0.02
