"""Leases: what proxies are granted, together and each."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fleet.world import (
    FALLBACK_GROUP,
    GROUP,
    LIMITS,
    SimulatedProxy,
    World,
    config,
    declared,
    key,
    quota,
    samples,
    workload,
)

from claudeops.exchange import Assignment, GroupUse, Rates, decode_assignment, encode_message
from claudeops.fleet import FleetSettings
from claudeops.fleet.known_groups import STRANGE_MAX

OUTPUT_PER_S = 2000.0


def fleet_of(*rates: float, settings: FleetSettings | None = None) -> World:
    world = World(settings=settings or FleetSettings())
    world.fleet.set_quota(quota())
    world.add(workload(), *(SimulatedProxy(f"pod-{index}", offered_per_s=rate) for index, rate in enumerate(rates)))
    world.fleet.observe(key(), expected=len(rates), replicas=None)
    return world


def test_contended_leases_sum_to_the_capacity_and_follow_demand() -> None:
    world = fleet_of(20.0, 10.0)
    world.run(60)
    assert world.leased().output_tokens == pytest.approx(0.985 * OUTPUT_PER_S, rel=0.02)
    assert world.lease(world.proxies[0]).output_tokens == pytest.approx(2 * world.lease(world.proxies[1]).output_tokens, rel=0.05)
    assert world.proxies[0].assignment is not None
    assert world.proxies[0].assignment.leases[GROUP].is_contended


def test_an_uncontended_proxy_holds_at_least_twice_its_demand() -> None:
    world = fleet_of(1.0, 1.0)
    world.run(60)
    for proxy in world.proxies:
        assert world.lease(proxy).requests >= 2.0
        assert world.lease(proxy).output_tokens >= 2 * 400.0
        assert proxy.assignment is not None
        assert not proxy.assignment.leases[GROUP].is_contended


def test_no_proxy_alone_holds_more_than_there_is() -> None:
    world = fleet_of(4.0)
    world.run(60)
    assert world.lease(world.proxies[0]).output_tokens == pytest.approx(0.985 * OUTPUT_PER_S, rel=0.001)
    assert world.lease(world.proxies[0]).requests >= 8.0


def test_what_nobody_uses_is_lent_to_those_who_do_not_queue() -> None:
    world = fleet_of(0.0, 0.0)
    world.run(30)
    assert world.leased().output_tokens == pytest.approx(0.985 * OUTPUT_PER_S, rel=0.02)


def test_the_group_of_the_fallback_is_leased_before_it_is_needed() -> None:
    world = fleet_of(5.0)
    world.run(30)
    assert world.lease(world.proxies[0], FALLBACK_GROUP).output_tokens > 1000.0


def test_a_full_bucket_raises_the_capacity_to_at_most_a_tenth_above_the_limit() -> None:
    world = fleet_of(40.0)
    world.proxies[0].queued = 50
    world.run(60, samples=samples(1.0))
    assert OUTPUT_PER_S < world.leased().output_tokens <= 1.10 * OUTPUT_PER_S + 1.0


def test_an_empty_bucket_lowers_the_capacity() -> None:
    world = fleet_of(40.0)
    world.run(20, samples=samples(1.0))
    world.run(30, samples=samples(0.1))
    assert world.leased().output_tokens < 0.8 * OUTPUT_PER_S


def test_a_reserve_is_never_leased() -> None:
    world = World()
    world.fleet.set_quota(quota(reserve_percent=40))
    world.add(workload(), SimulatedProxy("pod-0", offered_per_s=40.0, queued=50))
    world.run(60, samples=samples(1.0))
    assert world.leased().output_tokens <= 0.6 * OUTPUT_PER_S + 1.0


def test_a_lower_limit_in_the_headers_is_learned_and_shown() -> None:
    world = fleet_of(40.0)
    half = declared(300, 300_000, 60_000)
    world.run(30, samples=samples(0.8, limits=half))
    assert world.leased().output_tokens <= 1.1 * OUTPUT_PER_S / 2 + 1.0
    outputs = [
        view for view in world.fleet.quota_view("prod", world.now).groups if view.group == GROUP and view.dimension == "outputTokens"
    ]
    assert [(view.declared, view.learned) for view in outputs] == [(120_000, 60_000)]


def test_headers_do_not_correct_a_quota_that_does_not_learn() -> None:
    world = World()
    world.fleet.set_quota(quota(is_learning_from_headers=False))
    world.add(workload(), SimulatedProxy("pod-0", offered_per_s=40.0))
    world.run(30, samples=samples(0.8, limits=declared(6000, 6_000_000, 1_200_000)))
    assert world.leased().output_tokens <= 1.1 * OUTPUT_PER_S + 1.0


def test_a_run_of_429s_cuts_the_capacity() -> None:
    from tests.unit.fleet.world import results

    world = fleet_of(40.0)
    world.run(30)
    before = world.leased().output_tokens
    world.proxies[0].speak(world.fleet, world.now, results=[results(good=20, throttled=10)], is_urgent=True)
    world.run(2)
    assert world.leased().output_tokens < 0.9 * before


def test_spend_limits_do_not_cut_the_capacity() -> None:
    from tests.unit.fleet.world import results

    world = fleet_of(40.0)
    world.run(30)
    before = world.leased().output_tokens
    world.proxies[0].speak(world.fleet, world.now, results=[results(good=20, throttled=10, cause="SpendLimited")])
    world.run(2)
    assert world.leased().output_tokens == pytest.approx(before, rel=0.02)


def test_a_dead_proxys_lease_returns_after_the_ttl() -> None:
    world = fleet_of(20.0, 20.0)
    world.run(60)
    dead = world.proxies.pop()
    died_at = dead.reported_at
    assert died_at is not None
    while world.now < died_at + 14.0:
        world.run(1)
    assert world.leased().output_tokens < 0.6 * OUTPUT_PER_S
    world.run(5)
    assert world.leased().output_tokens == pytest.approx(0.985 * OUTPUT_PER_S, rel=0.02)
    assert world.fleet.workload_view(key(), world.now).stale == (dead.instance,)


def test_a_drained_proxy_is_not_stale() -> None:
    world = fleet_of(2.0, 2.0)
    world.run(20)
    drained = world.proxies.pop()
    drained.is_draining = True
    drained.speak(world.fleet, world.now)
    world.run(20)
    assert world.fleet.workload_view(key(), world.now).stale == ()
    assert world.fleet.workload_view(key(), world.now).connected == 1


def test_the_last_word_of_a_drained_proxy_frees_its_lease_at_once() -> None:
    world = fleet_of(20.0, 20.0)
    world.run(60)
    leaving = world.proxies.pop()
    leaving.is_draining, leaving.offered_per_s = True, 0.0
    leaving.speak(world.fleet, world.now, is_urgent=True)
    world.run(3)
    assert world.leased().output_tokens == pytest.approx(0.985 * OUTPUT_PER_S, rel=0.02)
    assert world.fleet.workload_view(key(), world.now).connected == 1


def test_a_group_without_any_known_limit_is_not_leased_until_headers_tell() -> None:
    world = World()
    world.fleet.set_quota(quota(limits={FALLBACK_GROUP: LIMITS}))
    world.add(workload(), SimulatedProxy("pod-0", offered_per_s=1.0))
    world.run(20)
    assert world.proxies[0].assignment is not None
    assert set(world.proxies[0].assignment.leases) == {FALLBACK_GROUP}
    world.run(6, samples=samples(1.0))
    assert set(world.proxies[0].assignment.leases) == {GROUP, FALLBACK_GROUP}


def test_an_increase_waits_until_the_decrease_has_landed() -> None:
    world = fleet_of(40.0, 0.0)
    world.run(60)
    first, second = world.proxies
    held = world.lease(first).output_tokens
    second.offered_per_s = 40.0
    second.speak(world.fleet, world.now + 0.5, is_urgent=True)
    world.fleet.tick(world.now + 0.6)
    offered = world.fleet.assignment_for(second.instance, world.now + 0.6).leases[GROUP].rates.output_tokens
    assert held + offered <= 1.03 * 0.985 * OUTPUT_PER_S
    for _ in range(6):
        world.run(1)
    assert world.lease(second).output_tokens > 0.3 * OUTPUT_PER_S


def test_the_maximum_of_a_workload_bounds_it_though_the_quota_has_room() -> None:
    world = World()
    world.fleet.set_quota(quota())
    world.add(workload(maximum=declared(60)), SimulatedProxy("pod-0", offered_per_s=3.0), SimulatedProxy("pod-1", offered_per_s=1.0))
    world.run(60)
    assert world.leased().requests == pytest.approx(1.0, rel=0.01)
    view = world.fleet.workload_view(key(), world.now)
    assert view.is_quota_satisfied


def test_the_guarantee_is_kept_against_a_neighbour_of_twenty_times_the_demand() -> None:
    world = World()
    world.fleet.set_quota(quota(max_guaranteed_percent=50))
    world.add(workload("small", guaranteed=declared(None, None, 36_000)), SimulatedProxy("small-0", key("small"), offered_per_s=1.4))
    world.add(workload("loud"), *(SimulatedProxy(f"loud-{index}", key("loud"), offered_per_s=14.0) for index in range(2)))
    world.run(60)
    assert world.lease(world.proxies[0]).output_tokens >= 1.4 * 400.0
    assert world.fleet.workload_view(key("small"), world.now).short_reason == "Sufficient"
    assert world.fleet.workload_view(key("loud"), world.now).short_reason == "Contended"


def test_guarantees_that_do_not_fit_are_scaled_alike_and_say_so() -> None:
    world = World()
    world.fleet.set_quota(quota(max_guaranteed_percent=100))
    for name in ("one", "two"):
        world.add(workload(name, guaranteed=declared(None, None, 100_000)), SimulatedProxy(f"{name}-0", key(name), offered_per_s=20.0))
    world.run(60)
    first, second = (world.lease(proxy).output_tokens for proxy in world.proxies)
    assert first == pytest.approx(second, rel=0.02)
    for name in ("one", "two"):
        view = world.fleet.workload_view(key(name), world.now)
        assert (view.is_quota_satisfied, view.short_reason, view.short_dimension) == (False, "GuaranteeNotMet", "outputTokens")


def test_weights_decide_between_two_who_both_want_everything() -> None:
    world = World()
    world.fleet.set_quota(quota())
    world.add(workload("heavy", weight=300), SimulatedProxy("heavy-0", key("heavy"), offered_per_s=30.0))
    world.add(workload("light", weight=100), SimulatedProxy("light-0", key("light"), offered_per_s=30.0))
    world.run(60)
    heavy, light = (world.lease(proxy).output_tokens for proxy in world.proxies)
    assert heavy == pytest.approx(3 * light, rel=0.05)


def test_a_dimension_that_nothing_limits_is_leased_without_bound() -> None:
    world = World()
    world.fleet.set_quota(quota(limits={GROUP: declared(600), FALLBACK_GROUP: declared(600)}))
    world.add(workload(), SimulatedProxy("pod-0", offered_per_s=2.0))
    world.run(20)
    assert world.lease(world.proxies[0]).output_tokens == 1e7
    grant = world.fleet.workload_view(key(), world.now).grant
    assert grant is not None
    assert (grant.output_tokens_per_minute, grant.input_tokens_per_minute) == (None, None)


def test_a_workload_without_a_known_quota_gets_no_lease_and_gets_one_when_it_comes() -> None:
    world = World()
    world.add(workload(), SimulatedProxy("pod-0", offered_per_s=2.0))
    world.run(20)
    assert world.proxies[0].assignment is not None
    assert world.proxies[0].assignment.leases == {}
    world.fleet.set_quota(quota())
    world.run(2)
    assert GROUP in world.proxies[0].assignment.leases
    world.fleet.drop_quota("prod")
    world.run(2)
    assert world.proxies[0].assignment.leases == {}


def test_a_key_of_another_organisation_neither_steers_nor_gets_a_lease() -> None:
    world = World()
    world.fleet.set_quota(quota(organization_id="org-a"))
    world.add(workload(), SimulatedProxy("ours", offered_per_s=20.0, organization="org-a"))
    world.add(workload("other"), SimulatedProxy("theirs", key("other"), offered_per_s=20.0, organization="org-b"))
    world.proxies[1].extra = {"samples": samples(0.0)}
    world.run(40)
    theirs = world.proxies[1].assignment
    assert theirs is not None
    assert theirs.leases == {}
    assert world.leased().output_tokens == pytest.approx(0.985 * OUTPUT_PER_S, rel=0.02)
    assert world.fleet.workload_view(key("other"), world.now).short_reason == "KeyOfOtherOrganization"
    assert world.fleet.workload_view(key(), world.now).short_reason == "Contended"
    assert world.fleet.quota_view("prod", world.now).foreign_workloads == ("shop/other",)
    world.proxies[1].organization = "org-a"
    world.run(20)
    assert GROUP in (world.proxies[1].assignment.leases if world.proxies[1].assignment else {})


def test_the_first_organisation_seen_is_kept_where_none_is_declared() -> None:
    world = World()
    world.fleet.set_quota(quota())
    world.add(workload(), SimulatedProxy("ours", organization="org-a"), SimulatedProxy("theirs", organization="org-b"))
    world.run(10)
    assert world.fleet.quota_view("prod", world.now).organization_id == "org-a"


def test_max_in_flight_is_split_by_demand_and_sums_to_the_total() -> None:
    world = World()
    world.fleet.set_quota(quota())
    world.add(workload(max_in_flight=10), SimulatedProxy("pod-0", offered_per_s=3.0), SimulatedProxy("pod-1", offered_per_s=1.0))
    world.run(40)
    parts = [proxy.assignment.max_in_flight for proxy in world.proxies if proxy.assignment]
    assert parts == [7, 3]


@settings(max_examples=25, deadline=None)
@given(
    rates=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=6),
    split=st.integers(0, 6),
    weight=st.integers(1, 1000),
    guaranteed=st.floats(0.0, 120_000.0),
    queued=st.integers(0, 200),
    level=st.one_of(st.none(), st.floats(0.0, 1.0)),
    churn=st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 60.0)), max_size=3),
)
def test_the_sum_of_charges_never_exceeds_capacity_nor_capacity_the_limit_by_more_than_a_tenth(
    rates: list[float],
    split: int,
    weight: int,
    guaranteed: float,
    queued: int,
    level: float | None,
    churn: list[tuple[int, float]],
) -> None:
    world = World()
    world.fleet.set_quota(quota())
    for name, part in (("one", rates[:split]), ("two", rates[split:])):
        world.add(
            workload(name, weight=weight if name == "one" else 100, guaranteed=declared(None, None, guaranteed)),
            *(SimulatedProxy(f"{name}-{index}", key(name), offered_per_s=rate, queued=queued) for index, rate in enumerate(part)),
        )
    changes = {} if level is None else {"samples": samples(level)}
    for index, rate in [(0, rates[0]), *churn]:
        world.proxies[index % len(world.proxies)].offered_per_s = rate
        for _ in range(8):
            world.run(1, **changes)
            views = {view.dimension: view for view in world.fleet.quota_view("prod", world.now).groups if view.group == GROUP}
            for dimension, limit in (("requests", 600), ("inputTokens", 600_000), ("outputTokens", 120_000)):
                view = views[dimension]  # type: ignore[index]
                assert view.capacity <= 1.1001 * limit
                assert view.granted <= 1.011 * view.capacity


@settings(max_examples=25, deadline=None)
@given(holds=st.lists(st.floats(0.0, 5000.0), min_size=1, max_size=5))
def test_learning_confirms_what_each_holds_but_never_more_than_the_capacity(holds: list[float]) -> None:
    from claudeops.exchange import GroupUse, Rates

    world = World()
    world.fleet.set_quota(quota())
    world.add(workload(), *(SimulatedProxy(f"pod-{index}", offered_per_s=30.0) for index in range(len(holds))))
    for proxy, output in zip(world.proxies, holds, strict=True):
        held = Rates(requests=1.0, input_tokens=100.0, output_tokens=output)
        use = GroupUse(wants=Rates(requests=30.0, output_tokens=12_000.0), holds=held, queued=20)
        world.fleet.accept(proxy.report(world.now, groups={GROUP: use}, epoch=0, version=0), world.now)
    world.now += 1.0
    world.fleet.tick(world.now)
    for proxy in world.proxies:
        proxy.listen(world.fleet, world.now)
    assert world.leased().output_tokens <= 1.0001 * 0.985 * OUTPUT_PER_S
    if sum(holds) <= 0.985 * OUTPUT_PER_S:
        assert [world.lease(proxy).output_tokens for proxy in world.proxies] == pytest.approx(holds)
    assert world.fleet.workload_view(key(), world.now).is_learning


def test_learning_ends_early_once_every_expected_proxy_spoke_and_after_a_ttl_anyway() -> None:
    world = fleet_of(20.0, 20.0)
    world.run(5)
    assert world.fleet.workload_view(key(), world.now).is_learning
    world.run(2)
    assert not world.fleet.workload_view(key(), world.now).is_learning
    alone = fleet_of(20.0)
    alone.fleet.observe(key(), expected=2, replicas=None)
    alone.run(14)
    assert alone.fleet.workload_view(key(), alone.now).is_learning
    alone.run(2)
    assert not alone.fleet.workload_view(key(), alone.now).is_learning


def test_limits_and_bursts_travel_with_the_lease_a_second() -> None:
    world = fleet_of(20.0)
    world.run(30, samples=samples(1.0, burst_s=5.0))
    assert world.proxies[0].assignment is not None
    lease = world.proxies[0].assignment.leases[GROUP]
    assert (lease.limits.requests, lease.limits.output_tokens) == (10.0, OUTPUT_PER_S)
    assert lease.full_s.output_tokens == pytest.approx(5.0)


def test_an_edited_quota_changes_leases_and_keeps_what_was_learned() -> None:
    world = fleet_of(40.0)
    world.run(20)
    world.fleet.set_quota(quota(limits={GROUP: declared(300, 300_000, 60_000), FALLBACK_GROUP: LIMITS}))
    world.run(3)
    assert world.leased().output_tokens == pytest.approx(0.985 * OUTPUT_PER_S / 2, rel=0.02)


def test_terms_that_did_not_change_push_nobody() -> None:
    world = fleet_of(5.0)
    world.run(20)
    world.fleet.take_pushes()
    world.fleet.set_workload(workload(), config(workload()))
    assert world.fleet.take_pushes() == frozenset()


def test_the_largest_figures_that_one_proxy_may_report_take_nobody_elses_lease_away() -> None:
    world = World()
    world.fleet.set_quota(quota())
    honest, other = SimulatedProxy("honest", offered_per_s=20.0), SimulatedProxy("other", workload=key("other"))
    world.add(workload(), honest)
    world.add(workload("other"), other)
    world.run(30)
    most = Rates(requests=1e15, input_tokens=1e15, output_tokens=1e15)
    use = GroupUse(wants=most, used=most, holds=most, queued=10**15, in_flight=10**15, latency_s=1e15)
    other.extra = {"interval_s": 1e15, "groups": {GROUP: use}}
    world.run(30)
    lease = world.lease(honest)
    assert lease.requests > 1.0 and decode_assignment(encode_message(honest.assignment or Assignment(epoch=0, version=0)))
    assert world.fleet.workload_view(key("other"), world.now).observed.in_flight == 10**15


def test_a_pod_that_makes_up_group_after_group_is_heard_of_the_first_few_and_of_those_that_there_are() -> None:
    world = fleet_of(20.0)
    world.run(20)
    proxy = world.proxies[0]
    for number in range(3):
        names = [f"made-up-{number}-{index}" for index in range(60)]
        made_up = [sample for name in names for sample in samples(1.0, group=name)]
        use = proxy.report(world.now).groups[GROUP]
        proxy.speak(world.fleet, world.now, groups=dict.fromkeys(names, use) | {GROUP: use}, samples=made_up)
        world.tick()
    groups = {view.group for view in world.fleet.quota_view("prod", world.now).groups}
    assert GROUP in groups and len(groups) <= STRANGE_MAX + 2
    assert world.lease(proxy).requests > 0.0
