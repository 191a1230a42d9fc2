from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.estimate import Mean, PrefixMemory, TokenRatio


def test_tokens_per_byte_are_learned() -> None:
    ratio = TokenRatio()
    for _ in range(200):
        ratio.learn(400.0, 1000.0)
    assert ratio.tokens(10_000.0) == pytest.approx(4000.0, rel=0.01)


@settings(max_examples=25)
@given(samples=st.lists(st.tuples(st.floats(0.0, 1e9), st.floats(0.0, 1e9)), max_size=50))
def test_odd_bodies_never_break_the_estimate(samples: list[tuple[float, float]]) -> None:
    ratio = TokenRatio()
    for tokens, size_bytes in samples:
        before = ratio.value
        ratio.learn(tokens, size_bytes)
        assert 0.0 < ratio.value <= before * 1.15 + 1e-9


def test_a_mean_learns_its_first_samples_faster_and_stays_within_them() -> None:
    mean = Mean(480.0)
    for _ in range(20):
        mean.learn(100.0)
    assert 100.0 <= mean.value < 180.0


def test_a_prefix_is_remembered_for_as_long_as_the_cache_keeps_it() -> None:
    memory = PrefixMemory(limit=2)
    assert memory.cached_tokens(b"a", 0.0) == 0.0
    memory.see(b"a", 3000.0, 0.0)
    assert memory.cached_tokens(b"a", 300.0) == 3000.0
    assert memory.cached_tokens(b"a", 300.1) == 0.0


def test_the_least_recently_seen_prefix_is_forgotten_first() -> None:
    memory = PrefixMemory(limit=2)
    for name in (b"a", b"b", b"a", b"c"):
        memory.see(name, 1.0, 0.0)
    assert [memory.cached_tokens(name, 0.0) for name in (b"a", b"b", b"c")] == [1.0, 0.0, 1.0]
