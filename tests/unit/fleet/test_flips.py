"""The fleet leaves a model together, and comes back together."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.fleet.world import (
    FALLBACK,
    PRIMARY,
    SimulatedProxy,
    World,
    breaker,
    key,
    quota,
    results,
    workload,
)

from claudeops.exchange import Flip
from claudeops.fleet import FleetSettings
from claudeops.policy.breaker import CONSECUTIVE_THROTTLES

SETTINGS = FleetSettings(flip_hold_s=5.0, flip_clean_window_s=3.0)


def world_of(count: int, *, settings: FleetSettings = SETTINGS, **terms: Any) -> World:
    world = World(settings=settings)
    world.fleet.set_quota(quota())
    world.add(workload(**terms), *(SimulatedProxy(f"pod-{index}", offered_per_s=2.0) for index in range(count)))
    world.run(12, results=[results(good=10)], breakers=[breaker("Closed", reason="")])
    return world


def fail(world: World, *indexes: int, at: float = 0.0, **changes: Any) -> None:
    """These proxies report an open breaker, at once."""
    for index in indexes:
        reported = {"results": [results(bad=20)], "breakers": [breaker()], **changes}
        world.proxies[index].speak(world.fleet, world.now + at, is_urgent=True, **reported)


def flips(world: World) -> list[list[Flip]]:
    for proxy in world.proxies:
        proxy.listen(world.fleet, world.now)
    return [proxy.assignment.flips for proxy in world.proxies if proxy.assignment]


def is_fallback(world: World, name: str = "bot") -> bool:
    return world.fleet.workload_view(key(name), world.now).is_fallback


def test_one_bad_proxy_of_three_does_not_move_the_fleet() -> None:
    world = world_of(3)
    fail(world, 0)
    for _ in range(20):
        world.run(1)
        world.proxies[0].extra = {"results": [results(bad=20)], "breakers": [breaker(since_s=1.0)]}
        for proxy in world.proxies[1:]:
            proxy.extra = {"results": [results(good=10)]}
    assert flips(world) == [[], [], []]
    view = world.fleet.workload_view(key(), world.now)
    assert (view.active_model, view.is_fallback) == (PRIMARY, False)
    assert [(seen.model, seen.state, seen.open_proxies) for seen in view.breakers] == [(PRIMARY, "Open", 1)]


def test_one_bad_proxy_of_two_does_not_move_the_fleet() -> None:
    world = world_of(2)
    fail(world, 0)
    world.tick()
    assert flips(world) == [[], []]


def test_the_fleet_flips_when_open_breakers_cover_half_of_the_traffic() -> None:
    world = world_of(3)
    fail(world, 0)
    fail(world, 1, at=0.1)
    assert flips(world) == [[Flip(model=PRIMARY)]] * 3
    view = world.fleet.workload_view(key(), world.now)
    assert (view.active_model, view.is_fallback, view.flip_reason) == (FALLBACK, True, "ErrorShare")


def test_the_flip_is_pushed_to_every_proxy_without_waiting_for_a_tick() -> None:
    world = world_of(3)
    world.fleet.take_pushes()
    fail(world, 0)
    fail(world, 1, at=0.01)
    assert {"pod-0", "pod-2"} <= world.fleet.take_pushes() | {"pod-0"}
    assert world.fleet.next_tick_at(world.now + 0.4) == world.now + 0.4


def test_a_breaker_that_opens_makes_the_others_report_and_their_errors_flip_the_fleet() -> None:
    world = world_of(3)
    fail(world, 0, at=0.5)
    assert world.fleet.take_pushes() >= {"pod-1", "pod-2"}
    assert not is_fallback(world)
    fail(world, 1, 2, at=0.52, breakers=[breaker("Closed", reason="")])
    assert flips(world)[2] == [Flip(model=PRIMARY)]


def test_errors_of_the_whole_fleet_flip_it_before_any_breaker_opens() -> None:
    world = world_of(3)
    world.run(25, results=[results(bad=30)], breakers=[breaker("Closed", reason="")])
    assert is_fallback(world)


def test_too_few_requests_flip_nothing_without_an_open_breaker() -> None:
    world = world_of(3)
    world.run(40)
    world.run(4, results=[results(bad=3)], breakers=[breaker("Closed", reason="")])
    assert not is_fallback(world)


def test_a_single_proxy_is_the_whole_fleet() -> None:
    world = world_of(1)
    fail(world, 0)
    assert flips(world) == [[Flip(model=PRIMARY)]]


def test_a_workload_without_a_fallback_is_not_flipped() -> None:
    world = world_of(2, tiers=(PRIMARY,))
    fail(world, 0, 1)
    assert flips(world) == [[], []]
    assert not is_fallback(world)


def test_the_last_tier_is_never_left() -> None:
    world = world_of(2)
    both = [breaker(), breaker(model=FALLBACK)]
    failed = [results(bad=20), results(bad=20, model=FALLBACK)]
    fail(world, 0, 1, breakers=both, results=failed)
    assert flips(world) == [[Flip(model=PRIMARY)]] * 2


def test_workloads_of_one_quota_flip_together() -> None:
    world = World(settings=SETTINGS)
    world.fleet.set_quota(quota())
    for name in ("one", "two"):
        world.add(workload(name), *(SimulatedProxy(f"{name}-{index}", key(name), offered_per_s=2.0) for index in range(2)))
    world.run(12, results=[results(good=10)], breakers=[breaker("Closed", reason="")])
    fail(world, 0, 1)
    assert is_fallback(world, "one")
    assert is_fallback(world, "two")


def test_breakers_opened_by_429s_move_their_own_workload_only() -> None:
    world = World(settings=SETTINGS)
    world.fleet.set_quota(quota())
    for name in ("one", "two"):
        world.add(workload(name), *(SimulatedProxy(f"{name}-{index}", key(name), offered_per_s=2.0) for index in range(2)))
    world.run(12, results=[results(good=10)], breakers=[breaker("Closed", reason="")])
    fail(world, 0, 1, results=[results(throttled=20)], breakers=[breaker(reason=CONSECUTIVE_THROTTLES)])
    assert is_fallback(world, "one")
    assert not is_fallback(world, "two")
    assert world.fleet.workload_view(key("one"), world.now).flip_reason == CONSECUTIVE_THROTTLES


def test_another_quota_is_not_moved() -> None:
    world = World(settings=SETTINGS)
    world.fleet.set_quota(quota())
    world.fleet.set_quota(quota("other"))
    world.add(workload("one"), SimulatedProxy("one-0", key("one"), offered_per_s=2.0))
    world.add(workload("two", quota="other"), SimulatedProxy("two-0", key("two"), offered_per_s=2.0))
    world.run(12)
    fail(world, 0)
    assert (is_fallback(world, "one"), is_fallback(world, "two")) == (True, False)


def flipped_world(count: int = 3) -> World:
    world = world_of(count)
    fail(world, *range(count))
    for proxy in world.proxies:
        proxy.extra = {"breakers": [breaker("HalfOpen")], "results": []}
    return world


def test_a_flip_is_held_then_one_proxy_at_a_time_may_probe() -> None:
    world = flipped_world()
    for _ in range(4):
        world.run(1)
        assert not any(flip.may_probe for seen in flips(world) for flip in seen)
    world.run(2)
    assert sum(flip.may_probe for seen in flips(world) for flip in seen) == 1
    assert is_fallback(world)


def test_only_a_proxy_that_has_left_the_model_may_probe_it() -> None:
    world = World(settings=SETTINGS)
    world.fleet.set_quota(quota())
    world.add(workload("plain", tiers=(PRIMARY,)), SimulatedProxy("busy-without-fallback", key("plain"), offered_per_s=9.0))
    world.add(workload("bot"), *(SimulatedProxy(f"pod-{index}", offered_per_s=2.0) for index in range(2)))
    world.run(12, results=[results(good=10)], breakers=[breaker("Closed", reason="")])
    fail(world, 0, 1, 2)
    world.proxies[0].extra = {"breakers": [breaker("Closed", reason="")], "results": []}
    for proxy in world.proxies[1:]:
        proxy.extra = {"breakers": [breaker("HalfOpen")], "results": []}
    world.run(8)
    assert [any(flip.may_probe for flip in seen) for seen in flips(world)] == [False, True, False]


def test_the_fleet_comes_back_after_two_clean_windows_and_stays() -> None:
    world = flipped_world()
    world.run(7)
    [prober] = [proxy for proxy in world.proxies if proxy.assignment and proxy.assignment.flips[0].may_probe]
    started = world.now
    while is_fallback(world) and world.now < started + 30:
        world.run(1)
        prober.speak(world.fleet, world.now, results=[results(good=1)], is_urgent=True)
    assert 4 <= world.now - started <= 8
    assert flips(world) == [[], [], []]
    for proxy in world.proxies:
        proxy.extra = {"breakers": [breaker("HalfOpen", since_s=10.0)], "results": [results(good=5)]}
    world.run(10)
    assert not is_fallback(world)


def test_the_prober_is_asked_for_its_results_every_second() -> None:
    world = flipped_world()
    world.run(8)
    [prober] = [proxy for proxy in world.proxies if proxy.assignment and proxy.assignment.flips[0].may_probe]
    world.now += 1.0
    world.fleet.tick(world.now)
    assert prober.instance in world.fleet.take_pushes()


def test_as_long_as_every_breaker_is_open_nobody_probes_and_everybody_is_asked() -> None:
    world = flipped_world()
    for proxy in world.proxies:
        proxy.extra = {"breakers": [breaker("Open", since_s=6.0)], "results": []}
    world.run(8)
    assert not any(flip.may_probe for seen in flips(world) for flip in seen)
    world.now += 1.0
    world.fleet.tick(world.now)
    assert world.fleet.take_pushes() >= {"pod-0", "pod-1", "pod-2"}


def test_a_failed_probe_starts_the_hold_again() -> None:
    world = flipped_world()
    world.run(7)
    [prober] = [proxy for proxy in world.proxies if proxy.assignment and proxy.assignment.flips[0].may_probe]
    prober.speak(world.fleet, world.now + 0.1, results=[results(bad=1)], is_urgent=True)
    assert not any(flip.may_probe for seen in flips(world) for flip in seen)
    world.run(3)
    assert not any(flip.may_probe for seen in flips(world) for flip in seen)
    assert is_fallback(world)


def test_a_window_without_a_probe_is_not_clean() -> None:
    world = flipped_world()
    world.run(40)
    assert is_fallback(world)


def test_the_probe_permission_moves_on_when_its_holder_dies() -> None:
    world = flipped_world()
    world.run(7)
    [prober] = [proxy for proxy in world.proxies if proxy.assignment and proxy.assignment.flips[0].may_probe]
    world.proxies.remove(prober)
    world.run(21)
    assert sum(flip.may_probe for seen in flips(world) for flip in seen) == 1


def test_a_second_flip_waits_unless_the_primary_is_down_altogether() -> None:
    world = flipped_world(4)
    world.run(7)
    [prober] = [proxy for proxy in world.proxies if proxy.assignment and proxy.assignment.flips[0].may_probe]
    for _ in range(20):
        world.run(1)
        prober.speak(world.fleet, world.now, results=[results(good=1)], is_urgent=True)
    assert not is_fallback(world)
    for proxy in world.proxies:
        proxy.extra = {"breakers": [breaker("Closed", reason="")], "results": [results(good=20)]}
    world.run(35)
    fail(world, 0, 1, results=[results(good=10, bad=10)])
    assert not is_fallback(world)
    fail(world, 2, 3)
    assert is_fallback(world)


def test_replicas_do_not_move_while_the_fleet_is_flipped() -> None:
    from tests.unit.fleet.world import scaling

    world = world_of(2, scaling=scaling())
    world.fleet.observe(key(), expected=2, replicas=3)
    world.run(5, breakers=[breaker("Closed", reason="")])
    before = world.fleet.workload_view(key(), world.now).desired_replicas
    fail(world, 0, 1)
    for proxy in world.proxies:
        proxy.queued = 500
    world.run(60, breakers=[breaker()])
    assert is_fallback(world)
    assert world.fleet.workload_view(key(), world.now).desired_replicas == before


@pytest.mark.parametrize("state", ["Open", "HalfOpen"])
def test_breakers_left_over_from_the_last_outage_do_not_flip_again(state: str) -> None:
    world = flipped_world()
    for proxy in world.proxies[1:]:
        proxy.extra = {"breakers": [breaker(state, since_s=0.0)], "results": []}
    world.run(7)
    started = world.now
    while is_fallback(world) and world.now < started + 30:
        world.run(1)
        world.proxies[0].speak(world.fleet, world.now, results=[results(good=1)], breakers=[breaker("Closed", reason="")], is_urgent=True)
    for proxy in world.proxies[1:]:
        proxy.extra = {"breakers": [breaker(state, since_s=25.0)], "results": []}
    world.proxies[0].extra = {"breakers": [breaker("Closed", reason="")], "results": [results(good=20)]}
    world.run(6)
    assert not is_fallback(world)
