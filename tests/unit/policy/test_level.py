from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.level import LevelGauge, Sample, bucket_level, governor_scale


@settings(max_examples=25)
@given(a=st.floats(0.0, 1.0), b=st.floats(0.0, 1.0))
def test_the_governor_is_monotonic_between_half_and_all(a: float, b: float) -> None:
    assert 0.5 <= governor_scale(min(a, b)) <= governor_scale(max(a, b)) <= 1.0


def test_the_governor_is_continuous_where_it_begins() -> None:
    assert governor_scale(0.25) == 1.0
    assert governor_scale(0.0) == 0.5
    assert governor_scale(-1.0) == 0.5


def test_a_reading_that_was_sent_earlier_is_ignored_however_late_it_comes() -> None:
    gauge = LevelGauge()
    assert gauge.see(Sample(2000.0, 10_000.0, 5.0), 5.0)
    assert gauge.see(Sample(2000.0, 2_000.0, 7.0), 7.0)
    assert not gauge.see(Sample(2000.0, 9_000.0, 6.0), 14.0)
    assert gauge.remaining == 2_000.0


def test_rounding_to_a_thousand_still_reads_as_full() -> None:
    assert bucket_level(8_000.0, 8_333.0, 1_000.0) == 1.0


def test_full_is_kept_in_seconds_so_that_a_halved_limit_is_not_an_empty_bucket() -> None:
    gauge = LevelGauge()
    gauge.see(Sample(4000.0, 20_000.0, 1.0), 1.0)
    gauge.see(Sample(2000.0, 10_000.0, 2.0), 2.0)
    assert gauge.full_s == 5.0
    assert gauge.level(2.0) == 1.0


def test_no_reading_a_stale_one_and_a_tiny_bucket_leave_the_lease_alone() -> None:
    gauge = LevelGauge()
    assert gauge.level(0.0) == 1.0
    gauge.see(Sample(2000.0, 10_000.0, 1.0), 1.0)
    gauge.see(Sample(2000.0, 0.0, 2.0), 2.0)
    assert gauge.level(3.0) == 0.0
    assert gauge.level(30.0) == 1.0
    tiny = LevelGauge()
    tiny.see(Sample(166.0, 1_000.0, 1.0), 1.0)
    tiny.see(Sample(166.0, 0.0, 2.0), 2.0)
    assert tiny.level(2.0) == 1.0


def test_the_fleet_can_only_raise_what_full_means() -> None:
    gauge = LevelGauge(is_requests=True)
    gauge.learn_full(5.0)
    gauge.see(Sample(10.0, 24.5, 1.0), 1.0)
    gauge.learn_full(1.0)
    assert gauge.full_s == 5.0
    assert gauge.level(1.0) == 0.5
