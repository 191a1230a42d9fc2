from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.connections import connection_ceiling


@settings(max_examples=25)
@given(rate=st.floats(0.0, 1000.0), latency_s=st.floats(0.0, 600.0), minimum=st.integers(0, 50), extra=st.integers(0, 500))
def test_the_ceiling_is_within_the_bounds_and_never_nothing(rate: float, latency_s: float, minimum: int, extra: int) -> None:
    maximum = max(1, minimum + extra)
    assert max(1, minimum) <= connection_ceiling(rate, latency_s, minimum=minimum, maximum=maximum) <= maximum


def test_one_and_a_half_times_littles_law() -> None:
    assert connection_ceiling(2.0, 8.0, minimum=4, maximum=50) == 24
    assert connection_ceiling(0.0, 8.0, minimum=4, maximum=50) == 4
    assert connection_ceiling(100.0, 8.0, minimum=4, maximum=50) == 50
