"""User-space microseconds: the whole request path between transports that do nothing, in both forms of the proxy.

``--profile`` says where they go, stage by stage. The best batch counts: whatever else the machine does only adds, so that these figures
hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tools.compile.build import site

from bench.machine import IMAGE_ENVIRONMENT, ROOT
from bench.path import ANSWER_BODY, ANSWER_HEAD, BATCH, Path, StreamPath
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.edit import edited
from claudeops.sidecar.head_lines import whole_head
from claudeops.sidecar.pipeline import Stage
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.settle import settle_answer, settle_usage
from claudeops.sidecar.usage import Usage, read_answer

NO_CALL: Any = None
Figures = dict[str, float]
WHOLE, HEAD, ANSWER, REST = "whole request", "head, caller, call", "answer", "answer: framing, release, the next request"


def best_us(work: Callable[[], None], batches: int, size: int = BATCH) -> float:
    """Microseconds of one call, in the best batch."""
    best_s = float("inf")
    for _ in range(batches):
        began_at = time.perf_counter()
        for _ in range(size):
            work()
        best_s = min(best_s, time.perf_counter() - began_at)
    return best_s / size * 1e6


def walk_costs(path: Path, batches: int) -> Figures:
    """Of each stage, of what comes before the first and of what comes after the last: clocks between them, their own cost taken off."""
    marks: list[float] = []
    clock, mark = time.perf_counter, marks.append

    def timed(stage: Stage) -> Stage:
        def run(call: Call, runtime: Runtime) -> Answer | None:
            answer = stage(call, runtime)
            mark(clock())
            return answer

        return run

    stages = path.pipeline.message_stages
    names = [HEAD, *(getattr(stage, "__name__", str(stage)) for stage in stages), ANSWER]
    empty = timed(lambda call, runtime: None)
    path.pipeline.message_stages = (empty, *(timed(stage) for stage in stages))
    best = [float("inf")] * len(names)
    for _ in range(batches):
        sums = [0.0] * len(names)
        for _ in range(BATCH):
            marks.clear()
            mark(clock())
            path.ask()
            path.answer()
            mark(clock())
            for index in range(len(names)):
                sums[index] += marks[index + 1] - marks[index]
        best = [min(pair) for pair in zip(best, sums, strict=True)]
    path.pipeline.message_stages = stages
    runtime = path.pipeline.runtime

    def nothing() -> None:
        marks.clear()
        empty(NO_CALL, runtime)

    own_us = best_us(nothing, batches)
    return {name: max(0.0, total / BATCH * 1e6 - own_us) for name, total in zip(names, best, strict=True)}


def part_costs(path: Path, batches: int) -> Figures:
    """Of the parts of sending and answering that can be run alone."""
    path.ask()
    call = path.client.transit
    pool, runtime = path.pipeline.pool, path.pipeline.runtime
    call.usual = None if pool is None else pool.usual  # as the upstream side leaves it
    now = runtime.clock()
    call.sent_at = call.first_byte_at = now
    call.status, usage = 200, Usage()
    parts: dict[str, Callable[[], object]] = {
        "send: the edits": lambda: edited(call.body, call.edits, call.asked),
        "answer: usage": lambda: read_answer(usage, ANSWER_BODY),
        "answer: head lines": lambda: whole_head(call, ANSWER_HEAD, len(ANSWER_BODY)),
        "answer: settle the usage": lambda: settle_usage(call, runtime, now),
        "answer: settle the answer": lambda: settle_answer(call, runtime, now),
    }
    read_answer(call.usage, ANSWER_BODY)
    costs = {name: best_us(lambda work=work: (work(), None)[1], batches) for name, work in parts.items()}  # type: ignore[misc]
    path.answer()
    return costs


def measure(size: int, batches: int, *, is_detailed: bool) -> Figures:
    """The figures of the form that this process has imported."""
    path = Path(size)
    gc.collect()
    gc.freeze()
    figures = {WHOLE: best_us(path.round_trip, batches)}
    if is_detailed:
        figures |= walk_costs(path, batches)
        figures |= part_costs(Path(size), batches)
        figures[REST] = figures[ANSWER] - sum(cost for name, cost in figures.items() if name.startswith("answer: "))
    for name, read_bytes in (("stream event, a read each", 0), ("stream event, reads of 16 KiB", 16_384)):
        stream = StreamPath(read_bytes)
        figures[name] = best_us(stream.round_trip, 4 * batches, 1) / stream.events
    return figures


def measure_form(folder: str, arguments: list[str]) -> Figures:
    """The same in a process of its own, with the package from that folder."""
    environment = {**os.environ, **IMAGE_ENVIRONMENT, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "bench.stages", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=2000, help=f"of {BATCH} requests")
    parser.add_argument("--size", type=int, default=2048, help="of the request body in bytes")
    parser.add_argument("--profile", action="store_true", help="stage by stage")
    parser.add_argument("--calls", action="store_true", help="cProfile of the interpreted form")
    parser.add_argument("--json", action="store_true", help="only the form that is imported, as JSON")
    args = parser.parse_args()
    asyncio.set_event_loop(asyncio.new_event_loop())
    if args.json:
        print(json.dumps(measure(args.size, args.batches, is_detailed=args.profile)))
        return
    if args.calls:
        profile = cProfile.Profile()
        profile.runcall(best_us, Path(args.size).round_trip, args.batches)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    arguments = ["--batches", str(args.batches), "--size", str(args.size), *["--profile"] * args.profile]
    pure, compiled = measure_form(str(ROOT / "operator"), arguments), measure_form(str(site()), arguments)
    print(f"{'µs of user space':44} {'interpreted':>12} {'compiled':>12}")
    for name, cost in pure.items():
        print(f"{name:44} {cost:12.2f} {compiled[name]:12.2f}")


if __name__ == "__main__":
    main()
