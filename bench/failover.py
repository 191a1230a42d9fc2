"""How fast three proxies move to the fallback when the primary model fails at the API, and that one proxy whose own path fails moves alone.

Simulator, fleet exchange and proxies are real processes. A proxy counts as moved when it tries the primary no more: its breaker is open or
the fleet has flipped, whichever comes first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import pathlib
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from typing import Any

import msgspec

from bench.machine import free_port, running, wait_for_port
from bench.quota import GROUP, INSTANCES, LIMITS, MODEL, SEED, WORKLOAD, Callers, exchange
from bench.result import Row, record
from bench.subject import Subject, our_proxy
from claudeops.proxyconfig import BreakerPolicy, Connections, ModelChoice, ProxyConfig, Resilience, Upstream

FALLBACK, FALLBACK_GROUP = "claude-haiku-5-5", "haiku-5.5"
POLL_S = 0.01
RATE_PER_S = 8.0
"""Requests a second of all proxies together: below the limit, so that nothing else is measured."""
ALONE_S = 15.0
"""How long the two healthy proxies are watched while the third one's path fails."""


async def measure_fleet(rounds: int) -> list[float]:
    """Seconds from the first open breaker to the last proxy off the primary, for each round."""
    spans: list[float] = []
    for number in range(rounds):
        async with stage() as (simulator, subjects):
            load = asyncio.create_task(_load(subjects, 30.0, SEED + number))
            await asyncio.sleep(6.0)
            watch = asyncio.gather(*(_moved_at(subject) for subject in subjects))
            await asyncio.to_thread(_put_faults, simulator, [{"kind": "overloaded", "model": MODEL}])
            moments = await asyncio.wait_for(watch, 30.0)
            spans.append(round(max(moved for _, moved in moments) - min(opened for opened, _ in moments), 3))
            print(f"  round {number + 1}: first breaker open → last proxy on the fallback {spans[-1]:.3f} s", flush=True)
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
    return spans


async def measure_alone() -> dict[str, Any]:
    """One proxy's own path fails (the API refuses its key's requests): who moves, and what its callers see."""
    async with stage() as (simulator, subjects):
        callers = [Callers(subject.port, RATE_PER_S / len(subjects), SEED + number) for number, subject in enumerate(subjects)]
        load = asyncio.gather(*(caller.run(6.0 + ALONE_S) for caller in callers))
        await asyncio.sleep(6.0)
        await asyncio.to_thread(_put_faults, simulator, [{"kind": "down", "model": MODEL, "key": INSTANCES[-1]}])
        moved: Counter[str] = Counter()
        end = time.monotonic() + ALONE_S
        while time.monotonic() < end:
            for subject, instance in zip(subjects, INSTANCES, strict=True):
                state = await asyncio.to_thread(_state, subject)
                model = state["models"].get(MODEL, {})
                moved[f"{instance} alone"] += int(bool(model) and model["breaker"]["state"] != "Closed")
                moved[f"{instance} by the fleet"] += int(bool(model) and model["isFlipped"])
            await asyncio.sleep(0.1)
        await load
        return {"samples off the primary": dict(moved), "answers of the failing one": dict(callers[-1].answers)}


@contextlib.asynccontextmanager
async def stage() -> Any:
    """Simulator, exchange and three proxies, each with a key of its own; yields the simulator's port and the proxies."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, port = pathlib.Path(name), free_port()
        limits = (
            f"{int(LIMITS.requests_per_minute or 0)},{int(LIMITS.input_tokens_per_minute or 0)},{int(LIMITS.output_tokens_per_minute or 0)}"
        )
        command = [
            *(sys.executable, "-m", "claudeops", "simulate", "--port", str(port), "--tier", "none", "--seed", str(SEED)),
            *("--limit", f"{GROUP}={limits}", "--limit", f"{FALLBACK_GROUP}={limits}", "--output-median", "40", "--output-sigma", "0.4"),
        ]
        wait_for_port(port, stack.enter_context(running(command, log=folder / "simulator.log")))
        document = ProxyConfig(
            revision=1,
            workload=WORKLOAD,
            upstream=Upstream(base_url=f"http://127.0.0.1:{port}"),
            model=ModelChoice(name=MODEL, fallbacks=(FALLBACK,)),
            resilience=Resilience(breaker=BreakerPolicy(minimum_requests=5, window_s=10.0, open_for_s=10.0)),
            connections=Connections(min=4, max=200),
        )
        async with exchange(folder, document) as shared:
            subjects: list[Subject] = []
            for instance in INSTANCES:
                subjects.append(await asyncio.to_thread(stack.enter_context, our_proxy(folder / instance, shared, instance=instance)))
                (folder / instance / "api-key").write_text(f"sk-ant-sim-{instance}")
            yield port, subjects


async def _load(subjects: list[Subject], duration_s: float, seed: int) -> None:
    callers = [Callers(subject.port, RATE_PER_S / len(subjects), seed + number) for number, subject in enumerate(subjects)]
    await asyncio.gather(*(caller.run(duration_s) for caller in callers))


async def _moved_at(subject: Subject) -> tuple[float, float]:
    """When this proxy's breaker opened (infinity if the fleet was first), and when it was off the primary."""
    while True:
        state = await asyncio.to_thread(_state, subject)
        now, model = time.monotonic(), state["models"][MODEL]
        if model["breaker"]["state"] == "Open":
            return now, now
        if model["isFlipped"]:
            return float("inf"), now
        await asyncio.sleep(POLL_S)


def _state(subject: Subject) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{subject.state_port}/state", timeout=5) as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def _put_faults(port: int, faults: list[dict[str, Any]]) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/_sim/faults", data=msgspec.json.encode(faults), method="PUT")
    urllib.request.urlopen(request, timeout=5).close()


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    spans = asyncio.run(measure_fleet(args.rounds))
    alone = asyncio.run(measure_alone())
    moved = alone["samples off the primary"]
    failing, healthy = INSTANCES[-1], INSTANCES[:-1]
    is_alone = moved[f"{failing} alone"] > 0 and not any(moved[f"{name} {how}"] for name in healthy for how in ("alone", "by the fleet"))
    slowest = f"primary fails at the API: first breaker open → last of 3 proxies on the fallback, slowest of {len(spans)}"
    words = "alone" if is_alone else f"not alone: {moved}"
    rows = [
        Row(slowest, "≤ 1.5 s", f"{max(spans):.2f} s", max(spans), "s", runs=len(spans)),
        Row("one proxy's own path fails: it falls back alone, the fleet stays", "alone", words, float(is_alone), "yes or no"),
    ]
    record("failover", rows, {"spans_s": spans, "alone": alone})


if __name__ == "__main__":
    main()
