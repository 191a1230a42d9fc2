"""CPU time a request: our proxy against plain Envoy, on one pinned core, in interleaved rounds of one run."""

from __future__ import annotations

import argparse
import pathlib
import statistics
import tempfile
from contextlib import ExitStack

from bench.machine import build_upstream, cpu_s, find_envoy, find_wrk, free_port, running, wait_for_port
from bench.result import record
from bench.subject import (
    LOAD_CORE,
    PROXY_CORE,
    Load,
    Subject,
    config_document,
    our_proxy,
    plain_envoy,
    put_load,
    request_body,
    write_load_script,
)

BAR = 1.0


def measure(subject: Subject, script: pathlib.Path, duration_s: int) -> tuple[float, Load]:
    """CPU microseconds a request, and what the load saw."""
    before = cpu_s(subject.pid)
    load = put_load(script, subject.port, duration_s=duration_s)
    return (cpu_s(subject.pid) - before) / load.requests * 1e6, load


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4, help="of each round and proxy")
    parser.add_argument("--size", type=int, default=2048, help="of the request body in bytes")
    args = parser.parse_args()
    find_wrk(), find_envoy()
    upstream_port = free_port()
    figures: dict[str, list[float]] = {"claudeops": [], "envoy": []}
    medians_ms: dict[str, list[float]] = {"claudeops": [], "envoy": []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        upstream = stack.enter_context(running([build_upstream(), str(upstream_port)], cores=LOAD_CORE, log=folder / "upstream.log"))
        wait_for_port(upstream_port, upstream)
        script = write_load_script(folder, request_body(args.size))
        subjects = [
            stack.enter_context(plain_envoy(folder / "envoy", upstream_port, cores=PROXY_CORE)),
            stack.enter_context(our_proxy(folder / "ours", config_document(upstream_port), cores=PROXY_CORE)),
        ]
        for subject in subjects:
            put_load(script, subject.port, duration_s=1)
        for number in range(args.rounds):
            for subject in subjects if number % 2 else subjects[::-1]:
                microseconds, load = measure(subject, script, args.seconds)
                figures[subject.name].append(microseconds)
                medians_ms[subject.name].append(load.median_ms)
            print(f"  round {number + 1}: " + ", ".join(f"{key} {values[-1]:.1f} us" for key, values in figures.items()), flush=True)
    ratios = [ours / envoy for ours, envoy in zip(figures["claudeops"], figures["envoy"], strict=True)]
    ratio = statistics.median(ratios)
    ours, envoy = (statistics.median(figures[key]) for key in ("claudeops", "envoy"))
    row = {
        "what": f"proxy CPU a request, {args.size / 1024:g} KB JSON with three edits, one pinned core, against plain Envoy",
        "bar": f"≤ {BAR} ×",
        "measured": f"{ratio:.2f} × ({min(ratios):.2f}–{max(ratios):.2f}; {ours:.1f} µs against {envoy:.1f} µs)",
    }
    record(f"proxy_cpu_{args.size}", [row], {"cpu_us": figures, "latency_median_ms": medians_ms, "ratios": ratios, "rounds": args.rounds})


if __name__ == "__main__":
    main()
