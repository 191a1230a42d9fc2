"""Start to ready, and resident memory of the proxy: idle, after 10,000 requests, with 2,000 open streams. In the image's settings."""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from bench.load import put_load, write_request
from bench.machine import build_load, resident_mib, wait_until
from bench.quota import INSTANCES, MODEL, exchange
from bench.result import Row, record
from bench.subject import LOAD_CORE, PROXY_CORE, Subject, config_document, our_proxy, request_body, upstream
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Rates

ANSWERED = re.compile(rb'claudeops_requests_total\{[^}]*code="200"[^}]*\} ([\d.e+]+)')
IN_FLIGHT = re.compile(rb"claudeops_inflight_requests(?:\{[^}]*\})? ([\d.e+]+)")
IDLE_BAR_MIB, LOADED_BAR_MIB, STREAMS_BAR_MIB, START_BAR_S = 32, 50, 110, 0.2
STREAMS, STREAM_PACE_MS = 2000, 250


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
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        upstreams = stack.enter_context(upstream(folder / "upstream"))
        document = msgspec.structs.replace(config_document(upstreams.url), model=ModelChoice(name=MODEL))
        starts_s = sorted(time_start(folder / "start", document) for _ in range(5))
        figures = asyncio.run(measure(folder, document, args.requests))
        with our_proxy(folder / "streams", document, is_compiled=True, cores=PROXY_CORE) as subject:
            streams_mib = open_streams(folder, subject)
    loaded = f"{figures.loaded_mib:.1f} MiB ({figures.requests:,} requests)"
    rows = [
        _mib("proxy memory, idle, connected to the exchange", IDLE_BAR_MIB, figures.idle_mib),
        _mib(f"proxy memory after {args.requests:,} requests", LOADED_BAR_MIB, figures.loaded_mib)._replace(measured=loaded),
        _mib(f"proxy memory with {STREAMS:,} open streams", STREAMS_BAR_MIB, streams_mib),
        Row("process start to ready", f"≤ {START_BAR_S} s", f"{starts_s[2]:.2f} s (median of 5)", starts_s[2], "s", runs=5),
    ]
    record("memory", rows, {**figures._asdict(), "streams_mib": streams_mib, "starts_s": starts_s})


def _mib(figure: str, bar_mib: int, value_mib: float) -> Row:
    return Row(figure, f"≤ {bar_mib} MiB", f"{value_mib:.1f} MiB", round(value_mib, 1), "MiB")


def time_start(folder: pathlib.Path, document: ProxyConfig) -> float:
    """Seconds from the start of the process to its first 200 of /readyz."""
    with our_proxy(folder, document, is_compiled=True) as subject:
        read(subject.admin_port, "/readyz")
        return time.monotonic() - subject.started_at


async def measure(folder: pathlib.Path, document: ProxyConfig, requests: int) -> Figures:
    """With the exchange's TLS connection open and a lease in force, as in a cluster."""
    async with exchange(folder, document, LIMITS) as shared:
        return await asyncio.to_thread(load, folder, shared, requests)


def load(folder: pathlib.Path, document: ProxyConfig, requests: int) -> Figures:
    """Idle first, then that many answers."""
    with our_proxy(folder / "ours", document, instance=INSTANCES[0], is_compiled=True, cores=PROXY_CORE) as subject:
        settle(subject)
        idle_mib = resident_mib(subject.pid)
        answered = 0.0
        while answered < requests:
            put_load(folder, subject, request_body(2048), seconds=1, is_strict=False)
            answered = sum(float(count) for count in ANSWERED.findall(read(subject.admin_port, "/metrics")))
        return Figures(idle_mib, resident_mib(subject.pid), int(answered))


def open_streams(folder: pathlib.Path, subject: Subject) -> float:
    """Memory while 2,000 streams run; each takes 25 s. Without the exchange, which would not grant so many connections here."""
    request = write_request(folder, subject.headers, request_body(2048, is_streamed=True, pace_ms=STREAM_PACE_MS))
    command = ["taskset", "-c", str(min(LOAD_CORE)), str(build_load()), str(subject.port), str(STREAMS), "20", "0", str(request)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: in_flight(subject) >= STREAMS, f"no {STREAMS} streams ran at once", process=process, limit_s=18.0)
            return resident_mib(subject.pid)
        finally:
            process.terminate()


def in_flight(subject: Subject) -> float:
    """How many requests are at the API now."""
    return sum(float(count) for count in IN_FLIGHT.findall(read(subject.admin_port, "/metrics")))


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
