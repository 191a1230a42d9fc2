"""The short form of ``python -m tests.fuzz``: some seconds a target, always the same bytes: a finding stays one until it is fixed."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.__main__ import TARGETS, bytes_of, load

from claudeops.wire import transit as transit_module

pytestmark = pytest.mark.skipif(not transit_module.__file__.endswith(".py"), reason="a compiled Transit has no interpreted subclasses")
SEEDS = {"requests": 3_000, "answers": 8_000, "calls": 1_500, "storms": 16}
SEARCHED = [target for target in TARGETS if target != "storms"]
"""A storm takes fifty times as long as the others, and what it leaves behind is part of its check."""
EVERYTHING = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_crash_it_hang_it_or_put_it_out_of_step(target: str) -> None:
    check = load(target)
    for seed in range(SEEDS[target]):
        try:
            check(bytes_of(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}: python -m tests.fuzz --target {target} --replay {bytes_of(seed).hex()}") from error


@pytest.mark.parametrize("target", SEARCHED)
def test_nor_do_those_that_hypothesis_finds(target: str) -> None:
    check = load(target)

    @given(st.binary(min_size=8, max_size=400))
    @settings(max_examples=400, derandomize=True, deadline=None, database=None, suppress_health_check=EVERYTHING)
    def search(data: bytes) -> None:
        check(data)

    search()


@pytest.mark.parametrize("target", SEARCHED)
def test_nothing_is_left_behind(target: str) -> None:
    check = load(target)

    def objects_after(seeds: range) -> int:
        for seed in seeds:
            check(bytes_of(seed))
        gc.collect()
        return len(gc.get_objects())

    before = objects_after(range(300))
    assert objects_after(range(300, 900)) - before < 300


def test_the_driver_runs_all_targets_and_leaves_nothing_open() -> None:
    line = [sys.executable, "-W", "always::ResourceWarning", "-m", "tests.fuzz", "--minutes", "0.005"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.partition(":")[0] for line in ended.stdout.splitlines()] == list(TARGETS)
