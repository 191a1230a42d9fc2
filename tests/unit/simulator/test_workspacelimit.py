"""A workspace's own limits beside those of its organisation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.catalogue import RateLimits
from claudeops.simulator.limiter import GroupLimiter
from claudeops.simulator.pool import Group
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.referee import GroupRecord
from claudeops.simulator.workspacelimit import ScopedGroup, WorkspaceBook, WorkspaceLimiter

LIMITS = RateLimits(600, 60_000, 60_000)


def pools(now_s: list[float], **own: int) -> tuple[Group, ScopedGroup]:
    group = Group(GroupLimiter(LIMITS, 10, 0), GroupRecord("acme", "opus-5"), lambda: now_s[0])
    book = WorkspaceBook({"w": {"opus-5": own}}, 10, lambda: now_s[0])
    scoped = book.scoped(group, "w")
    assert isinstance(scoped, ScopedGroup)
    assert book.scoped(group, "other") is group
    return group, scoped


def test_a_refused_request_takes_nothing_of_either() -> None:
    group, scoped = pools([0.0], input_tokens_per_minute=600)
    assert group.limiter is not None
    before = group.limiter.levels()
    refusal = scoped.admit(InputUse(0, read=5000), counts_reads=False)
    assert scoped.admit(InputUse(0, read=1), counts_reads=False) is not None
    assert refusal is None
    assert group.limiter.levels().requests == before.requests - 1


def test_output_and_drain_reach_both() -> None:
    now_s = [0.0]
    group, scoped = pools(now_s, output_tokens_per_minute=600)
    assert group.limiter is not None
    scoped.drain(200)
    now_s[0] = 1.0
    scoped.drain(-200)
    assert group.limiter.output.level == 10_000 + min(0, 1000 - 200)
    assert scoped.workspace.buckets["output_tokens_per_minute"].level == 100 + 10 - 200
    scoped.produce(50)
    assert scoped.workspace.buckets["output_tokens_per_minute"].level == 100 + 10 - 200 - 50
    assert scoped.admit(InputUse(1), counts_reads=False) is not None


def test_limits_can_be_set_and_cleared_while_it_runs() -> None:
    group, scoped = pools([0.0], requests_per_minute=6)
    book = WorkspaceBook({}, 10, lambda: 0.0)
    assert book.scoped(group, "w") is group
    book.set("w", "opus-5", {"requests_per_minute": 60, "tool_uses_per_second": 3})
    found = book.scoped(group, "w")
    assert isinstance(found, ScopedGroup)
    assert list(found.workspace.buckets) == ["requests_per_minute"]
    book.set("w", "opus-5", {"requests_per_minute": 120})
    assert found.workspace.buckets["requests_per_minute"].limit_per_minute == 120
    book.set("w", "opus-5", {"requests_per_minute": None, "tool_uses_per_second": None})
    assert book.limits_of("w", "opus-5") == {}
    assert scoped.workspace.scarcest_tokens() is None


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 900), st.integers(0, 900)), max_size=40))
def test_what_is_let_through_never_passes_rate_and_burst(steps: list[tuple[float, int, int]]) -> None:
    limiter = WorkspaceLimiter({"requests_per_minute": 60, "input_tokens_per_minute": 6000}, 5, 0)
    now_s, requests, tokens = 0.0, 0, 0
    for wait_s, uncached, read in steps:
        now_s += wait_s
        limiter.advance(now_s)
        use = InputUse(uncached, read)
        if limiter.refusal(use) is None:
            limiter.debit(use)
            requests, tokens = requests + 1, tokens + use.total
        assert requests <= now_s + 5 + 1e-6
        assert tokens <= now_s * 100 + 500 + max(0, use.total - 500) + 1e-6 + 1800
