"""Continuous token buckets, coupled by group."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.catalogue import RateLimits
from claudeops.simulator.limiter import Bucket, GroupLimiter, ratelimit_lines, retry_after_s, rounded_tokens

LIMITS = RateLimits(600, 600_000, 120_000)  # 10 requests, 10,000 input and 2,000 output tokens a second
BURST_S = 5.0


def limiter(now_s: float = 0.0, limits: RateLimits = LIMITS) -> GroupLimiter:
    return GroupLimiter(limits, BURST_S, now_s)


def test_buckets_start_full_with_the_burst() -> None:
    full = limiter()
    assert (full.requests.level, full.input.level, full.output.level) == (50, 50_000, 10_000)


def test_the_burst_passes_at_once_and_then_the_rate() -> None:
    group = limiter()
    assert [group.admit(0) for _ in range(50)] == [None] * 50
    refusal = group.admit(0)
    assert refusal is not None
    assert (refusal.dimension, refusal.limit_per_minute, refusal.retry_after_s) == ("requests", 600, 1)
    group.advance(1.0)
    assert [group.admit(0) is None for _ in range(11)] == [True] * 10 + [False]


def test_input_is_debited_at_the_start_and_refused_when_it_lacks() -> None:
    group = limiter()
    assert group.admit(45_000) is None
    refusal = group.admit(25_000)
    assert refusal is not None
    assert (refusal.dimension, refusal.retry_after_s) == ("input", 2)
    group.advance(2.0)
    assert group.admit(25_000) is None


def test_a_refusal_debits_nothing() -> None:
    group = limiter()
    group.admit(45_000)
    before = group.levels()
    assert group.admit(25_000) is not None
    assert group.levels() == before


def test_a_prompt_larger_than_the_bucket_needs_a_full_bucket_and_leaves_debt() -> None:
    group = limiter()
    assert group.admit(80_000) is None
    assert group.input.level == -30_000
    refusal = group.admit(80_000)
    assert refusal is not None
    assert refusal.retry_after_s == 8


def test_output_goes_into_debt_by_running_streams_and_refuses_new_ones() -> None:
    group = limiter()
    group.output.level -= 14_000
    refusal = group.admit(10)
    assert refusal is not None
    assert (refusal.dimension, refusal.retry_after_s) == ("output", 2)
    group.advance(2.0)
    assert group.admit(10) is not None, "a level of exactly zero is not above zero"
    group.advance(2.1)
    assert group.admit(10) is None


def test_a_drain_slows_the_refill() -> None:
    group = limiter()
    group.output.level = 0
    group.output.drain_per_s = 1500
    group.advance(2.0)
    assert group.output.level == 1000


def test_other_users_take_their_share_of_every_limit() -> None:
    group = limiter()
    group.set_outside_share(0.5)
    group.requests.level = group.input.level = group.output.level = 0
    group.advance(1.0)
    assert (group.requests.level, group.input.level, group.output.level) == (5, 5_000, 1_000)
    group.resize(RateLimits(1200, 600_000, 120_000), BURST_S)
    assert group.requests.outside_per_s == 10


def test_a_smaller_limit_clips_the_level_and_a_larger_one_fills_up_slowly() -> None:
    group = limiter()
    group.resize(RateLimits(300, 300_000, 60_000), BURST_S)
    assert group.output.level == 5_000
    group.resize(LIMITS, BURST_S)
    assert group.output.level == 5_000
    group.advance(1.0)
    assert group.output.level == 7_000


def test_one_request_always_fits_into_a_full_bucket() -> None:
    tiny = limiter(limits=RateLimits(1, 10, 10))
    assert tiny.requests.capacity == 1
    assert tiny.admit(5_000) is None


@settings(max_examples=60)
@given(
    rpm=st.integers(1, 10_000),
    burst_s=st.floats(0.5, 60),
    waits_s=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_admitted_requests_never_exceed_rate_times_time_plus_burst(rpm: int, burst_s: float, waits_s: list[float]) -> None:
    group = GroupLimiter(RateLimits(rpm, 10**9, 10**9), burst_s, 0.0)
    admitted, now_s = 0, 0.0
    for wait_s in waits_s:
        now_s += wait_s
        group.advance(now_s)
        admitted += sum(group.admit(0) is None for _ in range(20))
    assert admitted <= rpm / 60 * now_s + max(1.0, rpm / 60 * burst_s) + 1e-6


@settings(max_examples=60)
@given(level=st.floats(-10_000, 10_000), cost=st.floats(0, 20_000))
def test_after_the_stated_wait_the_cost_is_there(level: float, cost: float) -> None:
    bucket = Bucket(120_000, BURST_S, 1.0)
    bucket.level = level
    bucket.advance(bucket.wait_s(cost))
    assert bucket.level >= min(cost, bucket.capacity) - 1e-6


@pytest.mark.parametrize(("wait_s", "stated"), [(0.001, 1), (1.0, 1), (1.01, 2), (59.2, 60), (float("inf"), 3600)])
def test_retry_after_is_whole_and_at_least_one(wait_s: float, stated: int) -> None:
    assert retry_after_s(wait_s) == stated


@pytest.mark.parametrize(("level", "shown"), [(9_999, 10_000), (8_333, 8_000), (499, 0), (-5_000, 0)])
def test_token_levels_are_shown_in_thousands(level: float, shown: int) -> None:
    assert rounded_tokens(level) == shown


def headers(group: GroupLimiter, now_s: float) -> dict[str, str]:
    lines = ratelimit_lines(group, now_s).decode().split("\r\n")
    assert lines[-1] == ""
    return dict(line.split(": ", 1) for line in lines[:-1])


def test_headers_of_a_group() -> None:
    group = limiter()
    group.requests.level, group.input.level, group.output.level = 12.7, 34_567, -4_000
    shown = headers(group, 1_795_000_000.0)
    assert {name: value for name, value in shown.items() if not name.endswith("reset")} == {
        "anthropic-ratelimit-requests-limit": "600",
        "anthropic-ratelimit-requests-remaining": "12",
        "anthropic-ratelimit-input-tokens-limit": "600000",
        "anthropic-ratelimit-input-tokens-remaining": "35000",
        "anthropic-ratelimit-output-tokens-limit": "120000",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-limit": "720000",
        "anthropic-ratelimit-tokens-remaining": "35000",
    }
    assert shown["anthropic-ratelimit-output-tokens-reset"] == "2026-11-18T11:06:47Z"  # 14,000 tokens at 2,000 a second
    assert shown["anthropic-ratelimit-tokens-reset"] == shown["anthropic-ratelimit-output-tokens-reset"]
