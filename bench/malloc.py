"""The allocator's settings of the image: what they bring for large bodies, and what they cost for streams and in memory.

The compiled proxy with each set of them, side by side; ratios are to no settings at all.
"""

from __future__ import annotations

import pathlib
import tempfile
from contextlib import ExitStack

from bench.arguments import comparison_parser
from bench.compare import Case, judge, print_table, run_rounds, wait_idle
from bench.load import put_load
from bench.machine import IMAGE_ENVIRONMENT, resident_mib
from bench.result import Row, record
from bench.subject import PROXY_CORE, Subject, config_document, our_proxy, upstream

NONE = "no settings"
UNSET = dict.fromkeys(IMAGE_ENVIRONMENT, "")
SETTINGS = {
    NONE: UNSET,
    "both, as in the image": IMAGE_ENVIRONMENT,
    "mmap threshold 16 MiB only": {**UNSET, "MALLOC_MMAP_THRESHOLD_": "16777216"},
    "mmap threshold 1 MiB, trim 8 MiB": {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "8388608"},
}
CASES = (
    Case("2 KB JSON with three edits, 32 connections"),
    Case("200 KB JSON, legal with one cache mark, 32 connections", size=204_800, is_legal=True),
    Case("400 KB JSON, legal, 8 connections", size=400_000, is_legal=True, connections=8),
    Case("100 events back to back, 64 streams", is_streamed=True, connections=64),
    Case("100 events 10 ms apart, 64 streams", is_streamed=True, connections=64, pace_ms=10, seconds=4),
)


def start_all(stack: ExitStack, folder: pathlib.Path) -> list[Subject]:
    """The compiled proxy with each set of settings; ready, and not asked for anything yet."""
    upstreams = stack.enter_context(upstream(folder / "upstream"))
    document = config_document(upstreams.url)
    subjects = []
    for number, (label, settings) in enumerate(SETTINGS.items()):
        start = our_proxy(folder / str(number), document, cores=PROXY_CORE, is_compiled=True, environment=settings)
        subjects.append(stack.enter_context(start)._replace(name=label))
        wait_idle(subjects[-1])
    return subjects


def compare_cpu(folder: pathlib.Path, subjects: list[Subject], case: Case, rounds: int) -> list[Row]:
    """What a request (or event) of one kind costs under each of them."""
    outcomes = judge(run_rounds(folder, subjects, case, rounds), NONE)
    print_table(case, outcomes)
    rows = []
    for label, seen in outcomes.items():
        if label != NONE:
            measured = f"{seen.cpu_ratio:.2f} × ({seen.cpu_range[0]:.2f}–{seen.cpu_range[1]:.2f})"
            rows.append(Row(f"malloc: {label}; {case.name}", "reported", measured, seen.cpu_us, "µs of CPU", seen.cpu_ratio, rounds))
    return rows


def weigh(subjects: list[Subject], when: str) -> list[Row]:
    """Resident memory under each of them."""
    rows = []
    for subject in subjects:
        memory_mib = resident_mib(subject.pid)
        rows.append(Row(f"malloc: {subject.name}; memory {when}", "reported", f"{memory_mib:.1f} MiB", memory_mib, "MiB"))
        print(f"    {subject.name:33} {memory_mib:6.1f} MiB {when}", flush=True)
    return rows


def main() -> None:
    """Measures, prints and records."""
    args = comparison_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        subjects = start_all(stack, folder)
        rows = weigh(subjects, "idle")
        for subject in subjects:
            put_load(folder, subject, CASES[0].body, seconds=1)
        for case in CASES:
            rows += compare_cpu(folder, subjects, case._replace(seconds=1) if args.quick else case, args.rounds)
            rows += weigh(subjects, f"after {case.name}")
    if not args.quick:
        record("malloc", rows, {})


if __name__ == "__main__":
    main()
