"""The whole loop in virtual time: what the fleet makes of one organisation's limits. Deterministic by seed."""

from __future__ import annotations

import pytest
from tests.fleet.closed_loop import ClosedLoop
from tests.unit.fleet.world import GROUP

from claudeops.exchange import DIMENSIONS

LIMIT = 2000.0
THREE_TIMES = 3 * LIMIT / 480.0


def share_used(loop: ClosedLoop, until: float) -> tuple[float, int]:
    """Share of the output limit that was used until then, and 429s."""
    before, throttled, since = loop.api.used[2], loop.api.throttled, loop.now
    loop.run(until)
    return (loop.api.used[2] - before) / (LIMIT * (until - since)), loop.api.throttled - throttled


@pytest.mark.parametrize("seed", [1, 2])
def test_at_three_times_the_demand_the_limit_is_used_and_not_exceeded(seed: int) -> None:
    loop = ClosedLoop(proxies=3, demand_per_s=THREE_TIMES, burst_s=5.0, seed=seed)
    loop.run(20.0)
    share, throttled = share_used(loop, 140.0)
    assert share >= 0.97
    assert throttled <= 0.002 * loop.api.used[0]


def test_a_small_burst_is_used_without_429s_though_its_level_cannot_be_read() -> None:
    loop = ClosedLoop(proxies=3, demand_per_s=THREE_TIMES, burst_s=1.0, seed=2)
    loop.run(20.0)
    share, throttled = share_used(loop, 140.0)
    assert share >= 0.9
    assert throttled <= 0.002 * loop.api.used[0]


def test_half_of_the_limit_taken_by_others_is_given_up_within_half_a_minute_and_comes_back() -> None:
    loop = ClosedLoop(proxies=3, demand_per_s=THREE_TIMES, burst_s=5.0, seed=1)
    loop.run(60.0)
    loop.api.outside_share = 0.5
    loop.run(90.0)
    share, throttled = share_used(loop, 130.0)
    assert throttled == 0
    assert 0.4 <= share <= 0.6
    loop.api.outside_share = 0.0
    loop.run(180.0)
    share, throttled = share_used(loop, 220.0)
    assert share >= 0.97
    assert throttled == 0


def test_a_halved_limit_is_followed_by_its_headers() -> None:
    loop = ClosedLoop(proxies=3, demand_per_s=THREE_TIMES, burst_s=5.0, seed=1)
    loop.run(60.0)
    loop.api.halve()
    loop.run(120.0)
    share, throttled = share_used(loop, 180.0)
    assert 0.45 <= share <= 0.53
    assert throttled <= 2


def test_below_the_limit_nobody_waits_for_quota() -> None:
    loop = ClosedLoop(proxies=3, demand_per_s=0.6 * LIMIT / 480.0, burst_s=5.0, seed=1)
    loop.run(60.0)
    _, throttled = share_used(loop, 120.0)
    assert throttled == 0
    assert sum(len(proxy.queue) for proxy in loop.proxies) <= 2
    views = [view for view in loop.fleet.quota_view("prod", loop.now).groups if view.group == GROUP]
    assert [view.dimension for view in views] == list(DIMENSIONS)
