"""One group's pool: what the proxies' answers make of its safety."""

from __future__ import annotations

import pytest

from claudeops.exchange import ModelResults
from claudeops.fleet.pool import Pool, pool_rules
from claudeops.fleet.settings import FleetSettings
from claudeops.proxyconfig import Rates

RULES = pool_rules(Rates(requests_per_minute=600), FleetSettings(), reserve_percent=0.0, is_learning=True)


def weight_after(seconds: int, **parts: float) -> float:
    """The group's weight when every second half of its requests is refused."""
    pool = Pool("sonnet-5.5")
    for second in range(seconds):
        results = ModelResults(model="claude-sonnet-5-5", codes={"200": 20, "429": 20}, throttles={"RateLimited": 20}, **parts)  # type: ignore[arg-type]
        pool.take_answers(results, float(second))
        pool.step(RULES, float(second), is_queued=True, used=(1.0, 0.0, 0.0))
    return pool.safety.weight


def test_a_second_cut_waits_as_long_as_the_429s_ask() -> None:
    assert weight_after(15) == pytest.approx(0.85**2)
    assert weight_after(15, retry_after_s=30.0) == pytest.approx(0.85)
    assert weight_after(35, retry_after_s=30.0) == pytest.approx(0.85**2)


def test_a_spend_limit_cuts_nothing() -> None:
    pool = Pool("sonnet-5.5")
    pool.take_answers(ModelResults(model="claude-sonnet-5-5", codes={"429": 40}, throttles={"SpendLimited": 40}), 0.0)
    pool.step(RULES, 0.0, is_queued=True, used=(0.0, 0.0, 0.0))
    assert pool.safety.weight == 1.0
