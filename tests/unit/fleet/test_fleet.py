"""Reports in, assignments out: order, epochs, config, and what changes push or show."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from tests.unit.fleet.world import (
    FALLBACK,
    GROUP,
    PRIMARY,
    SimulatedProxy,
    World,
    breaker,
    config,
    key,
    objective,
    quota,
    results,
    samples,
    scaling,
    workload,
)

from claudeops.exchange import decode_assignment, encode_message
from claudeops.fleet import Fleet, FleetSettings
from claudeops.policy.sketch import Sketch


def small_world(count: int = 1, rate: float = 2.0, **terms: Any) -> World:
    world = World()
    world.fleet.set_quota(quota())
    world.add(workload(**terms), *(SimulatedProxy(f"pod-{index}", offered_per_s=rate) for index in range(count)))
    world.run(20)
    return world


# -- order


def test_an_older_or_repeated_report_changes_nothing() -> None:
    world = small_world()
    proxy = world.proxies[0]
    report = proxy.report(world.now)
    assert world.fleet.accept(report, world.now)
    assert not world.fleet.accept(report, world.now)
    assert not world.fleet.accept(proxy.report(world.now, sequence=1), world.now)


def test_a_sidecar_that_starts_again_in_its_pod_is_heard() -> None:
    world = small_world()
    proxy = world.proxies[0]
    held = proxy.assignment
    assert held is not None
    proxy.sequence, proxy.assignment = 0, None
    assert world.fleet.accept(proxy.report(world.now), world.now)
    proxy.listen(world.fleet, world.now)
    assert world.fleet.assignment_for("pod-0", world.now).version >= held.version


def test_versions_grow_only_with_what_is_told() -> None:
    world = small_world()
    first = world.fleet.assignment_for("pod-0", world.now)
    assert world.fleet.assignment_for("pod-0", world.now) == first
    world.fleet.set_quota(quota(limits={GROUP: quota().limits[GROUP]}))
    world.tick()
    assert world.fleet.assignment_for("pod-0", world.now).version > first.version


def test_a_new_leader_answers_in_its_own_epoch_and_at_once() -> None:
    world = small_world()
    proxy = world.proxies[0]
    successor = Fleet(FleetSettings())
    successor.begin(2, world.now)
    successor.set_quota(quota())
    successor.set_workload(workload(), config(workload()))
    successor.accept(proxy.report(world.now + 1), world.now + 1)
    assert successor.has_news("pod-0", world.now + 1)
    assert successor.assignment_for("pod-0", world.now + 1).epoch == 2
    assert not successor.has_news("pod-0", world.now + 1)


def test_a_version_that_a_proxy_already_holds_is_never_given_again() -> None:
    fleet = Fleet()
    fleet.begin(7, 0.0)
    fleet.set_workload(workload(), config(workload()))
    fleet.accept(SimulatedProxy("pod-0").report(1.0, epoch=7, version=41), 1.0)
    assert fleet.assignment_for("pod-0", 1.0).version == 42


def test_a_lost_answer_is_given_again_but_not_in_a_circle() -> None:
    world = small_world()
    proxy = world.proxies[0]
    stale = proxy.report(world.now + 3, version=0)
    world.fleet.accept(stale, world.now + 3)
    assert world.fleet.has_news("pod-0", world.now + 3)
    world.fleet.assignment_for("pod-0", world.now + 3)
    world.fleet.accept(proxy.report(world.now + 3.1, version=0), world.now + 3.1)
    assert not world.fleet.has_news("pod-0", world.now + 3.1)


def test_an_instance_too_many_is_refused() -> None:
    fleet = Fleet(FleetSettings(max_instances=1))
    assert fleet.accept(SimulatedProxy("one").report(0.0), 0.0)
    assert not fleet.accept(SimulatedProxy("two").report(0.0), 0.0)


def test_a_pod_of_a_workload_that_is_not_known_yet_is_taken_over_when_it_comes() -> None:
    world = World()
    world.fleet.set_quota(quota())
    proxy = SimulatedProxy("pod-0", offered_per_s=1.0, revision=0)
    proxy.speak(world.fleet, world.now)
    assert proxy.assignment is not None
    assert (proxy.assignment.leases, proxy.assignment.config) == ({}, None)
    world.add(workload(), proxy)
    assert world.fleet.take_pushes() == {"pod-0"}
    world.run(8)
    assert world.fleet.workload_view(key(), world.now).connected == 1
    assert proxy.revision == 1


def test_a_dropped_workload_leaves_its_proxies_without_leases() -> None:
    world = small_world()
    world.fleet.drop_workload(key())
    assert world.fleet.take_pushes() == {"pod-0"}
    assert world.fleet.assignment_for("pod-0", world.now).leases == {}
    assert world.fleet.workload_view(key(), world.now).connected == 0


# -- config


def test_the_config_travels_only_to_a_proxy_that_runs_an_older_one() -> None:
    world = small_world()
    proxy = world.proxies[0]
    assert world.fleet.assignment_for("pod-0", world.now).config is None
    world.fleet.set_workload(workload(), config(workload(), revision=2))
    assert world.fleet.take_pushes() == {"pod-0"}
    assert world.fleet.workload_view(key(), world.now).converged == 0
    proxy.listen(world.fleet, world.now)
    assert proxy.revision == 2
    proxy.speak(world.fleet, world.now + 0.1)
    assert proxy.assignment is not None
    assert proxy.assignment.config is None
    assert world.fleet.workload_view(key(), world.now).converged == 1


def test_a_proxy_ahead_of_the_controller_is_left_alone() -> None:
    world = small_world()
    world.fleet.accept(world.proxies[0].report(world.now, revision=9), world.now)
    assert not world.fleet.has_news("pod-0", world.now)
    assert world.fleet.assignment_for("pod-0", world.now).config is None


def test_a_proxy_that_refuses_a_config_is_not_answered_in_a_circle() -> None:
    world = small_world()
    proxy = world.proxies[0]
    world.fleet.set_workload(workload(), config(workload(), revision=2))
    world.fleet.take_pushes()
    world.fleet.assignment_for("pod-0", world.now)
    world.fleet.accept(proxy.report(world.now + 0.1, revision=1), world.now + 0.1)
    assert not world.fleet.has_news("pod-0", world.now + 0.1)
    assert world.fleet.assignment_for("pod-0", world.now + 5).config is not None


def test_an_assignment_survives_the_wire() -> None:
    world = small_world(max_in_flight=8)
    told = world.fleet.assignment_for("pod-0", world.now)
    assert decode_assignment(encode_message(told)) == told


# -- the clock


def test_an_urgent_report_brings_the_next_decision_forward_but_not_below_the_bound() -> None:
    world = small_world()
    assert world.fleet.next_tick_at(world.now) == world.now + 1.0
    world.proxies[0].speak(world.fleet, world.now + 0.1, is_urgent=True)
    assert world.fleet.next_tick_at(world.now + 0.1) == pytest.approx(world.now + 0.3)
    world.fleet.tick(world.now + 0.3)
    assert world.fleet.next_tick_at(world.now + 0.3) == pytest.approx(world.now + 1.3)


def test_a_lease_that_hardly_moves_waits_for_the_next_report() -> None:
    world = small_world(2, rate=20.0)
    world.run(60)
    world.fleet.take_pushes()
    world.proxies[0].speak(world.fleet, world.now)
    world.fleet.tick(world.now + 0.5)
    assert world.fleet.take_pushes() == frozenset()


# -- sizes


def test_connections_follow_the_grant_within_their_bounds() -> None:
    world = small_world(rate=40.0)
    world.run(60, samples=samples(1.0))
    before = world.fleet.workload_view(key(), world.now).connections_per_proxy
    world.run(60, samples=samples(0.3))
    after = world.fleet.workload_view(key(), world.now).connections_per_proxy
    assert before is not None
    assert after is not None
    assert 4 <= after < before <= 50


def test_adaptive_replicas_go_up_with_the_load_and_say_when_the_quota_caps_them() -> None:
    world = World()
    world.fleet.set_quota(quota())
    world.add(workload(scaling=scaling(target=4)), SimulatedProxy("pod-0", offered_per_s=20.0, queued=60))
    world.fleet.observe(key(), expected=1, replicas=1)
    world.run(150)
    view = world.fleet.workload_view(key(), world.now)
    assert view.desired_replicas is not None
    assert 4 <= view.desired_replicas < 20
    assert view.is_capped_by_quota
    assert view.wanted_replicas is not None
    assert view.wanted_replicas > view.desired_replicas


def test_nothing_is_decided_about_replicas_before_the_present_count_is_known() -> None:
    world = small_world(scaling=scaling())
    assert world.fleet.workload_view(key(), world.now).desired_replicas is None
    world.fleet.observe(key(), expected=1, replicas=5)
    world.run(1)
    assert world.fleet.workload_view(key(), world.now).desired_replicas == 5


def test_without_scaling_no_replica_count_is_touched() -> None:
    world = small_world()
    assert world.fleet.workload_view(key(), world.now).desired_replicas is None


@pytest.mark.parametrize(("mode", "replicas", "desired"), [("Fixed", 50, 50), ("External", 7, 7), ("External", 50, 20)])
def test_the_other_modes_pass_the_wish_through(mode: str, replicas: int, desired: int) -> None:
    world = small_world(scaling=scaling(mode, replicas=replicas))
    assert world.fleet.workload_view(key(), world.now).desired_replicas == desired


def test_an_external_wish_is_capped_by_what_the_quota_can_feed() -> None:
    world = World()
    world.fleet.set_quota(quota())
    terms = workload(scaling=scaling("External", replicas=20, target=4))
    world.add(terms, SimulatedProxy("pod-0", offered_per_s=20.0, queued=60))
    world.run(30)
    view = world.fleet.workload_view(key(), world.now)
    assert view.desired_replicas is not None
    assert view.desired_replicas < 20
    assert view.is_capped_by_quota


# -- views


def test_an_unknown_workload_or_quota_has_an_empty_view() -> None:
    fleet = Fleet()
    assert fleet.workload_view(key("nobody"), 0.0).connected == 0
    assert fleet.quota_view("nobody", 0.0).groups == ()


def test_figures_are_over_the_last_minute() -> None:
    world = small_world()
    sketch = Sketch()
    for _ in range(100):
        sketch.add(0.5)
    sketches = {"latency": sketch.to_list(), "time_to_first_token": [], "queue_wait": sketch.to_list()}
    from claudeops.exchange import Sketches

    world.proxies[0].speak(
        world.fleet,
        world.now,
        sketches=Sketches(**sketches),
        results=[results(good=90, throttled=6)],
        requests=100,
        fallback_requests=25,
        cache_read_tokens=300,
        cacheable_tokens=400,
    )
    seen = world.fleet.workload_view(key(), world.now)
    assert seen.observed.latency_p95_s == pytest.approx(0.5, rel=0.06)
    assert seen.observed.queue_wait_p95_s == pytest.approx(0.5, rel=0.06)
    assert seen.observed.time_to_first_token_p95_s is None
    assert seen.observed.throttled_per_minute == pytest.approx(6.0)
    assert seen.observed.cache_hit_percent == pytest.approx(75.0)
    assert seen.throttle_reason == "RateLimited"
    world.run(70)
    later = world.fleet.workload_view(key(), world.now)
    assert (later.observed.latency_p95_s, later.throttle_reason) == (None, "")


def test_the_short_dimension_is_named_and_held_for_a_while() -> None:
    world = small_world(rate=20.0)
    world.run(30)
    view = world.fleet.workload_view(key(), world.now)
    assert (view.is_quota_satisfied, view.short_dimension, view.short_reason) == (False, "outputTokens", "Contended")
    world.proxies[0].offered_per_s = 0.0
    world.run(60)
    assert world.fleet.workload_view(key(), world.now).is_quota_satisfied


def test_the_grant_is_of_the_group_being_served_and_at_most_the_capacity() -> None:
    world = small_world(rate=1.0)
    grant = world.fleet.workload_view(key(), world.now).grant
    assert grant is not None
    assert grant.output_tokens_per_minute is not None
    assert grant.output_tokens_per_minute <= 0.985 * 120_000 + 1


def test_objectives_are_met_or_not_by_all_proxies_cells() -> None:
    from claudeops.exchange import SloCell

    world = World()
    world.fleet = Fleet(wall_offset_s=1_000_000.0)
    world.fleet.begin(1, world.now)
    world.fleet.set_quota(quota())
    world.add(workload(objectives=(objective(),)), SimulatedProxy("pod-0"), SimulatedProxy("pod-1"))
    start = int((1_000_000.0 + world.now) // 300)
    for proxy, good in zip(world.proxies, (100, 90), strict=True):
        cells = [SloCell(indicator="Latency", start=start, good=good, total=100)]
        proxy.speak(world.fleet, world.now, slo_cells=cells)
        proxy.speak(world.fleet, world.now + 1, slo_cells=cells)
    [slo] = world.fleet.workload_view(key(), world.now + 1).slos
    assert (slo.indicator, slo.is_met) == ("Latency", True)
    assert slo.current_percent == pytest.approx(95.0)


def test_the_use_of_others_shows_as_outside() -> None:
    world = small_world(rate=1.0)
    for level in (1.0, 0.9, 0.8, 0.7, 0.65):
        world.run(5, samples=samples(level))
    views = world.fleet.quota_view("prod", world.now).groups
    [output] = [view for view in views if view.group == GROUP and view.dimension == "outputTokens"]
    assert output.outside is not None
    assert output.outside > 60_000
    assert output.level is not None
    assert output.level < 0.8


# -- changes


def test_what_status_shows_at_once_is_announced_once() -> None:
    world = small_world()
    world.fleet.take_changes()
    world.run(1)
    assert world.fleet.take_changes() == frozenset()
    world.proxies[0].speak(world.fleet, world.now, results=[results(throttled=1)])
    world.tick()
    assert world.fleet.take_changes() == {key(), "prod"}
    assert world.fleet.take_changes() == frozenset()


def test_a_flip_and_an_open_breaker_are_announced() -> None:
    world = small_world()
    world.fleet.take_changes()
    world.proxies[0].speak(world.fleet, world.now, results=[results(bad=20)], breakers=[breaker()], is_urgent=True)
    world.tick()
    assert key() in world.fleet.take_changes()
    assert world.fleet.workload_view(key(), world.now).active_model == FALLBACK


# -- the log


def test_decisions_are_logged_as_json_that_names_what_was_decided(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="claudeops.fleet.decisions")
    world = small_world(rate=20.0)
    world.proxies[0].speak(world.fleet, world.now, results=[results(bad=20)], breakers=[breaker()], is_urgent=True)
    lines = [json.loads(record.message) for record in caplog.records]
    capacity = [line for line in lines if line["event"] == "capacity" and line["group"] == GROUP][-1]
    assert {"at", "limit", "level", "capacity", "charged", "grants", "demands", "leases", "throttled"} <= capacity.keys()
    assert capacity["limit"] == [10.0, 10_000.0, 2000.0]
    [flip] = [line for line in lines if line["event"] == "flip"]
    assert (flip["model"], flip["phase"]) == (PRIMARY, "Flipped")
