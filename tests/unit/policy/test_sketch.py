from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.sketch import BUCKETS, LARGEST_S, Sketch, bucket_of

durations = st.lists(st.floats(0.001, 3500.0), min_size=1, max_size=60)


def of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@settings(max_examples=30)
@given(values=durations, share=st.floats(0.0, 1.0))
def test_a_quantile_is_within_five_percent_of_the_true_one(values: list[float], share: float) -> None:
    rank = max(1, -int(-share * len(values) // 1))
    assert of(values).quantile(share) == pytest.approx(sorted(values)[rank - 1], rel=0.05)


@settings(max_examples=25)
@given(first=durations, second=durations)
def test_merging_is_the_same_as_seeing_all(first: list[float], second: list[float]) -> None:
    merged, other = of(first), of(second)
    merged.merge(other)
    other.merge(of(first))
    assert merged.counts == other.counts == of(first + second).counts
    assert merged.total == other.total == len(first) + len(second)


@settings(max_examples=25)
@given(values=durations)
def test_the_list_form_comes_back_as_it_was(values: list[float]) -> None:
    sketch = of(values)
    again = Sketch.from_list(sketch.to_list())
    assert (again.counts, again.total) == (sketch.counts, sketch.total)


@settings(max_examples=25)
@given(seconds=st.floats(allow_nan=True, allow_infinity=True))
def test_anything_has_a_bucket(seconds: float) -> None:
    assert 0 <= bucket_of(seconds) < BUCKETS


def test_larger_durations_never_have_smaller_buckets() -> None:
    indices = [bucket_of(0.0001 * 1.03**power) for power in range(700)]
    assert indices == sorted(indices)
    assert bucket_of(LARGEST_S * 2) == BUCKETS - 1


def test_nothing_seen_has_no_quantile() -> None:
    assert Sketch().quantile(0.95) is None


def test_what_makes_no_sense_on_the_wire_is_ignored() -> None:
    assert Sketch.from_list([[-1, 5], [BUCKETS, 5], [3, 0], [3, -2], [4, 2]]).to_list() == [[4, 2]]
