"""Many mixed requests with faults: the proxy's memory must stay flat, and at the end nothing may be left of them.

``python -m bench.soak --requests 200000`` ends with a verdict; the exit code is 0 when it held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench.machine import free_port, resident_mib, running, wait_for_port, wait_until
from bench.soak_traffic import FALLBACK, MODEL, Traffic
from bench.subject import Subject, our_proxy
from claudeops.proxyconfig import (
    Bounds,
    BreakerPolicy,
    Connections,
    Limits,
    ModelChoice,
    ProxyConfig,
    Queue,
    Resilience,
    Retry,
    Sampling,
    Timeouts,
    Upstream,
    WorkloadKey,
)

STEPS = 40
SETTLE_S = 30.0
REQUESTS_A_THROTTLE = 20_000
"""Each one pauses its model's group for a second."""
DOWN_REQUESTS = 60


class Sample(NamedTuple):
    """The proxy at one moment."""

    requests: int
    resident_mib: float
    files: int


def main() -> int:
    """Runs, prints, judges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--growth-mib", type=float, default=3.0, help="allowed growth from the second to the last quarter")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        simulator = stack.enter_context(fast_simulator(folder))
        subject = stack.enter_context(our_proxy(folder / "ours", document(simulator)))
        ask(f"http://127.0.0.1:{subject.admin_port}/metrics")
        before = what_is_held(subject)
        samples, traffic = asyncio.run(drive(subject, simulator, args))
        problems = [f"{what} ({count} times)" for what, count in traffic.problems.items()]
        problems += [] if traffic.tiers["fallback"] else ["the faults have driven nobody to the fallback"]
        problems += judge_memory(samples, args.growth_mib)
        problems += judge_rest(subject, simulator, before)
        problems += [f"log: {line}" for line in complaints(folder / "ours" / "bench.log")]
    report(traffic, problems)
    return 1 if problems else 0


@contextlib.contextmanager
def fast_simulator(folder: pathlib.Path) -> Iterator[int]:
    """Its port."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "claudeops",
        "simulate",
        "--port",
        str(port),
        "--tier",
        "none",
        "--speed",
        "200",
        "--output-median",
        "40",
    ]
    with running(command, log=folder / "simulator.log") as process:
        wait_for_port(port, process)
        yield port


def set_faults(simulator_port: int, step: int, requests: int) -> None:
    """A little of every fault; now and then limits that are hit, and a model that is down until its breaker opens."""
    faults: list[dict[str, Any]] = [
        {"kind": "overloaded", "probability": 0.01},
        {"kind": "error500", "probability": 0.01},
        {"kind": "stream_error", "probability": 0.005, "after_events": 0},
        {"kind": "stream_error", "probability": 0.01, "after_events": 2},
        {"kind": "reset", "probability": 0.005},
        {"kind": "reset", "probability": 0.01, "after_events": 1},
        {"kind": "garbage", "probability": 0.003},
        {"kind": "half_json", "probability": 0.005, "after_events": 2},
        {"kind": "slow", "probability": 0.01, "delay_s": 0.1},
        {"kind": "big_event", "probability": 0.001, "size_bytes": 300_000, "after_events": 1},
    ]
    if step % 10 == 5:
        faults.insert(0, {"kind": "throttle", "probability": 0.1, "count": max(1, requests // REQUESTS_A_THROTTLE)})
    if step % 10 == 8:
        faults.insert(0, {"kind": "overloaded", "model": MODEL, "count": DOWN_REQUESTS})
    url = f"http://127.0.0.1:{simulator_port}/_sim/faults"
    ask(urllib.request.Request(url, json.dumps(faults).encode(), {"content-type": "application/json"}, method="PUT"))


def document(upstream_port: int) -> ProxyConfig:
    """Every stage has something to do, waits are short."""
    return ProxyConfig(
        revision=1,
        workload=WorkloadKey(namespace="bench", name="soak"),
        upstream=Upstream(base_url=f"http://127.0.0.1:{upstream_port}"),
        model=ModelChoice(name=MODEL, fallbacks=(FALLBACK,)),
        sampling=Sampling(profile="soak", temperature=Bounds(min=0.0, max=0.4), max_tokens=Bounds(max=2048)),
        prompt_cache="Always",
        connections=Connections(min=2, max=16),
        limits=Limits(queue=Queue(max_wait_s=5.0, max_length=200)),
        resilience=Resilience(
            retry=Retry(max_attempts=3, initial_backoff_s=0.01, max_backoff_s=0.1, budget_percent=50.0),
            breaker=BreakerPolicy(open_for_s=1.0),
            timeouts=Timeouts(connect_s=2.0, first_byte_s=10.0, stream_idle_s=10.0, total_s=30.0),
        ),
    )


async def drive(subject: Subject, simulator_port: int, args: argparse.Namespace) -> tuple[list[Sample], Traffic]:
    """All of the traffic, with a sample and a line after each step."""
    traffic, samples, started_at = Traffic(subject.port, args.seed), [], time.monotonic()
    for step in range(STEPS):
        set_faults(simulator_port, step, args.requests)
        await traffic.run(args.requests * (step + 1) // STEPS - traffic.done, args.workers)
        samples.append(Sample(traffic.done, resident_mib(subject.pid), open_files(subject.pid)))
        if (step + 1) % (STEPS // 10) == 0:
            rate = traffic.done / (time.monotonic() - started_at)
            last = samples[-1]
            print(f"{last.requests:>8,} requests, {rate:,.0f}/s, {last.resident_mib:.1f} MiB, {last.files} files", flush=True)
    return samples, traffic


def judge_memory(samples: list[Sample], allowed_mib: float) -> list[str]:
    """From the second quarter to the last one: the first is the warm-up."""
    quarter = len(samples) // 4
    early, late = (
        statistics.median(sample.resident_mib for sample in part) for part in (samples[quarter : 2 * quarter], samples[-quarter:])
    )
    print(f"memory: {early:.1f} MiB in the second quarter, {late:.1f} MiB in the last, {late - early:+.1f} (allowed {allowed_mib:+.1f})")
    return [] if late - early <= allowed_mib else [f"memory has grown by {late - early:.1f} MiB"]


def judge_rest(subject: Subject, simulator_port: int, before: dict[str, int]) -> list[str]:
    """Everything returns to what it was before the first request."""
    after: dict[str, int] = {}

    def is_as_before() -> bool:
        after.clear()
        after.update(what_is_held(subject))
        return all(count <= before[name] for name, count in after.items())

    try:
        wait_until(is_as_before, "it does not come to rest", limit_s=SETTLE_S)
    except RuntimeError as error:
        differing = {name: (before[name], count) for name, count in after.items() if count > before[name]}
        return [f"{error}: (before, after) {differing}"]
    stats = json.loads(ask(f"http://127.0.0.1:{simulator_port}/_sim/stats"))
    still = {name: stats[name] for name in ("in_flight", "streams") if stats[name]}
    return [f"the simulator still works: {still}"] if still else []


def what_is_held(subject: Subject) -> dict[str, int]:
    """What requests take and must give back; file descriptors without those of idle upstream connections."""
    state = json.loads(ask(f"http://127.0.0.1:{subject.state_port}/state"))
    groups: list[Any] = list(state["groups"].values())
    process = state["process"]
    return {
        "in flight": state["inFlight"] + sum(group["inFlight"] for group in groups),
        "streams": sum(group["streams"]["running"] for group in groups),
        "queued": state["queued"] + sum(group["queued"] for group in groups),
        "busy connections": state["pool"]["busy"] + state["pool"]["opening"],
        "files": open_files(subject.pid) - state["pool"]["idle"],
        **{name: process[name] for name in ("clients", "backingOff", "auxiliaryInFlight", "probes", "tasks")},
    }


def open_files(pid: int) -> int:
    """File descriptors of the process."""
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def complaints(log: pathlib.Path) -> list[str]:
    """What the proxy has logged as an error; nothing in this traffic is one."""
    lines = log.read_text(errors="replace").splitlines()
    return [line[:300] for line in lines if "Traceback" in line or '"level":"error"' in line.replace(" ", "")][:5]


def ask(url: str | urllib.request.Request) -> bytes:
    """One page."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def report(traffic: Traffic, problems: list[str]) -> None:
    """What was answered, then the verdict."""
    answers = traffic.answers
    print("served by: " + ", ".join(f"{tier} {count:,}" for tier, count in sorted(traffic.tiers.items())))
    for kind in sorted({kind for kind, _ in answers}):
        statuses = ", ".join(f"{status or 'no answer'}: {count:,}" for (name, status), count in sorted(answers.items()) if name == kind)
        print(f"{kind.replace('_', ' ')}: {statuses}")
    for problem in problems:
        print(f"PROBLEM {problem}")
    print("FAIL" if problems else "PASS")


if __name__ == "__main__":
    sys.exit(main())
