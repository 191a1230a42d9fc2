"""The soak's verdicts: it must be able to fail."""

from __future__ import annotations

import pathlib

import pytest
from bench.soak import Sample, complaints, judge_memory


def samples(*mib: float) -> list[Sample]:
    return [Sample(number, value, 40) for number, value in enumerate(mib)]


@pytest.mark.parametrize(
    ("mib", "is_flat"),
    [
        ([30, 35, 36, 36, 36, 36, 36, 36], True),
        ([20, 20, 36, 36, 36, 36, 37, 37], True),
        ([30, 31, 32, 33, 34, 35, 36, 37], False),
    ],
)
def test_memory_that_grows_behind_the_warm_up_is_a_problem(mib: list[float], is_flat: bool) -> None:
    assert (judge_memory(samples(*mib), allowed_mib=3.0) == []) is is_flat


def test_an_error_in_the_log_is_a_problem(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "proxy.log"
    log.write_text('{"level": "info", "message": "listening"}\n')
    assert complaints(log) == []
    log.write_text('{"level": "error", "message": "the sweep loop failed"}\nTraceback (most recent call last):\n')
    assert len(complaints(log)) == 2
