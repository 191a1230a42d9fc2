"""Start to ready, and resident memory of the proxy: idle, and after 10,000 requests."""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import re
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from bench.machine import build_upstream, free_port, resident_mib, running, wait_for_port, wait_until
from bench.quota import INSTANCES, MODEL, exchange
from bench.result import record
from bench.subject import LOAD_CORE, Subject, config_document, our_proxy, put_load, request_body, write_load_script
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Rates

ANSWERED = re.compile(rb'claudeops_requests_total\{[^}]*code="200"[^}]*\} ([\d.e+]+)')
IDLE_BAR_MIB, LOADED_BAR_MIB, START_BAR_S = 35, 50, 0.2


LIMITS = Rates(requests_per_minute=1e6, input_tokens_per_minute=9e8, output_tokens_per_minute=9e8)
"""Those that the upstream's headers name: more than the proxy can use."""


class Figures(NamedTuple):
    """What was measured."""

    idle_mib: float
    loaded_mib: float
    requests: int


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    args = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        upstream = stack.enter_context(running([build_upstream(), str(port)], cores=LOAD_CORE, log=folder / "upstream.log"))
        wait_for_port(port, upstream)
        document = msgspec.structs.replace(config_document(port), model=ModelChoice(name=MODEL))
        starts_s = sorted(time_start(folder / "start", document) for _ in range(5))
        figures = asyncio.run(measure(folder, document, args.requests))
    idle, loaded = f"{figures.idle_mib:.1f} MiB", f"{figures.loaded_mib:.1f} MiB ({figures.requests:,} requests)"
    rows = [
        {"what": "proxy memory, idle, connected to the exchange", "bar": f"≤ {IDLE_BAR_MIB} MiB", "measured": idle},
        {"what": f"proxy memory after {args.requests:,} requests", "bar": f"≤ {LOADED_BAR_MIB} MiB", "measured": loaded},
        {"what": "process start to ready", "bar": f"≤ {START_BAR_S} s", "measured": f"{starts_s[2]:.2f} s (median of 5)"},
    ]
    record("memory", rows, {**figures._asdict(), "starts_s": starts_s})


def time_start(folder: pathlib.Path, document: ProxyConfig) -> float:
    """Seconds from the start of the process to its first 200 of /readyz."""
    begin = time.monotonic()
    with our_proxy(folder, document) as subject:
        read(subject.admin_port, "/readyz")
        return time.monotonic() - begin


async def measure(folder: pathlib.Path, document: ProxyConfig, requests: int) -> Figures:
    """With the exchange's TLS connection open and a lease in force, as in a cluster."""
    async with exchange(folder, document, LIMITS) as shared:
        return await asyncio.to_thread(load, folder, shared, requests)


def load(folder: pathlib.Path, document: ProxyConfig, requests: int) -> Figures:
    """Idle first, then that many answers."""
    with our_proxy(folder / "ours", document, instance=INSTANCES[0]) as subject:
        settle(subject)
        idle_mib = resident_mib(subject.pid)
        script, answered = write_load_script(folder, request_body(2048)), 0
        while answered < requests:
            put_load(script, subject.port, duration_s=1, is_strict=False)
            answered = sum(int(float(count)) for count in ANSWERED.findall(read(subject.admin_port, "/metrics")))
        return Figures(idle_mib, resident_mib(subject.pid), answered)


def read(port: int, path: str) -> bytes:
    """A page of the proxy."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return bytes(answer.read())


def settle(subject: Subject) -> None:
    """Idle means: ready, leased, every page looked at once, and two of the proxy's own sweeps later."""
    wait_until(lambda: json.loads(read(subject.state_port, "/state"))["leaseState"] == "Fresh", "no lease came")
    for port, path in ((subject.admin_port, "/readyz"), (subject.admin_port, "/metrics"), (subject.state_port, "/state")):
        read(port, path)
    time.sleep(2.5)


if __name__ == "__main__":
    main()
