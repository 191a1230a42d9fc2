"""Candidates side by side: every case in interleaved rounds on the same pinned core, and the median of the rounds' ratios."""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench.load import Load, put_load, put_streams
from bench.machine import cpu_s
from bench.subject import Subject, request_body

DIRECT = "direct"
IDLE_LOOK_S, IDLE_LIMIT_S, IDLE_SHARE = 0.05, 20.0, 0.2


class Case(NamedTuple):
    """One kind of load. ``per_s``: so many requests a second instead of as many as go; then latency is what counts."""

    name: str
    size: int = 2048
    connections: int = 32
    seconds: int = 2
    is_legal: bool = False
    is_streamed: bool = False
    pace_ms: int = 0
    per_s: float = 0.0

    @property
    def body(self) -> bytes:
        """The request's."""
        return request_body(self.size, is_streamed=self.is_streamed, pace_ms=self.pace_ms, is_legal=self.is_legal)


class Sample(NamedTuple):
    """One run. ``cpu_us``: of the proxy, for each request, of streams for each event."""

    cpu_us: float
    load: Load


class Outcome(NamedTuple):
    """One candidate in one case, over all rounds."""

    cpu_us: float
    cpu_ratio: float
    """To the reference: the median of the rounds' ratios."""
    cpu_range: tuple[float, float]
    median_ms: float
    first_ms: float
    requests_per_s: float
    samples: list[Sample]


def run(folder: pathlib.Path, subject: Subject, case: Case) -> Sample:
    """One case on one candidate."""
    before_s = wait_idle(subject)
    if case.is_streamed or case.per_s:
        load = put_streams(folder, subject, case.body, connections=case.connections, seconds=case.seconds, per_s=case.per_s)
    else:
        load = put_load(folder, subject, case.body, connections=case.connections, seconds=case.seconds)
    spent_s = cpu_s(subject.pid) - before_s if subject.pid else 0.0
    return Sample(spent_s / max(1, load.events if case.is_streamed else load.requests) * 1e6, load)


def wait_idle(subject: Subject) -> float:
    """CPU seconds so far, once it no longer works on what the run before has left behind (at most 20 s)."""
    if not subject.pid:
        return 0.0
    deadline, seen_s = time.monotonic() + IDLE_LIMIT_S, cpu_s(subject.pid)
    while time.monotonic() < deadline:
        time.sleep(IDLE_LOOK_S)
        before_s, seen_s = seen_s, cpu_s(subject.pid)
        if seen_s - before_s < IDLE_SHARE * IDLE_LOOK_S:
            break
    return seen_s


def run_rounds(folder: pathlib.Path, subjects: Sequence[Subject], case: Case, rounds: int) -> dict[str, list[Sample]]:
    """Every candidate in every round, in changing order."""
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
    for number in range(rounds):
        for subject in subjects if number % 2 else subjects[::-1]:
            samples[subject.name].append(run(folder, subject, case))
    return samples


def judge(samples: dict[str, list[Sample]], reference: str) -> dict[str, Outcome]:
    """Medians, and each round's ratio to the reference in the same round."""
    outcomes = {}
    for name, runs in samples.items():
        ratios = [one.cpu_us / (other.cpu_us or 1.0) for one, other in zip(runs, samples[reference], strict=True)]
        outcomes[name] = Outcome(
            statistics.median(run.cpu_us for run in runs),
            statistics.median(ratios),
            (min(ratios), max(ratios)),
            statistics.median(run.load.median_ms for run in runs),
            statistics.median(run.load.first_ms for run in runs),
            statistics.median(run.load.requests_per_s for run in runs),
            runs,
        )
    return outcomes


def added_ratio(samples: dict[str, list[Sample]], name: str, reference: str, *, is_first: bool) -> tuple[float, float]:
    """(milliseconds that a candidate adds to the direct way, their ratio to what the reference adds), medians over the rounds."""

    def latency(sample: Sample) -> float:
        return sample.load.first_ms if is_first else sample.load.median_ms

    added, ratios = [], []
    for own, other, direct in zip(samples[name], samples[reference], samples[DIRECT], strict=True):
        added.append(latency(own) - latency(direct))
        ratios.append(added[-1] / max(1e-3, latency(other) - latency(direct)))
    return statistics.median(added), statistics.median(ratios)


def print_table(case: Case, outcomes: dict[str, Outcome]) -> None:
    """One line for each candidate."""
    unit = "event" if case.is_streamed else "request"
    print(f"  {case.name}")
    for name, seen in outcomes.items():
        cost = (
            f"{seen.cpu_us:9.1f} µs/{unit} {seen.cpu_ratio:7.2f} × ({seen.cpu_range[0]:.2f}–{seen.cpu_range[1]:.2f})" if seen.cpu_us else ""
        )
        times = f"first {seen.first_ms:8.3f} ms, " * (seen.first_ms > 0) + f"median {seen.median_ms:8.3f} ms"
        print(f"    {name:26} {times} {seen.requests_per_s:9.1f}/s {cost}", flush=True)
