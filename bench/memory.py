"""Start to ready, and resident memory of the proxy: idle, and after 10,000 requests."""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
import urllib.request
from contextlib import ExitStack

from bench.machine import build_upstream, free_port, resident_mib, running, wait_for_port
from bench.result import record
from bench.subject import LOAD_CORE, Subject, config_document, our_proxy, put_load, request_body, write_load_script

IDLE_BAR_MIB, LOADED_BAR_MIB, START_BAR_S = 35, 50, 0.2


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    args = parser.parse_args()
    upstream_port = free_port()
    starts_s: list[float] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        upstream = stack.enter_context(running([build_upstream(), str(upstream_port)], cores=LOAD_CORE, log=folder / "upstream.log"))
        wait_for_port(upstream_port, upstream)
        document = config_document(upstream_port)
        for _ in range(5):
            begin = time.monotonic()
            with our_proxy(folder / "start", document) as subject:
                read(subject.admin_port, "/readyz")
                starts_s.append(time.monotonic() - begin)
        subject = stack.enter_context(our_proxy(folder / "ours", document))
        settle(subject)
        idle_mib = resident_mib(subject.pid)
        script, sent = write_load_script(folder, request_body(2048)), 0
        while sent < args.requests:
            sent += put_load(script, subject.port, duration_s=1).requests
        loaded_mib = resident_mib(subject.pid)
    rows = [
        {"what": "proxy memory, idle", "bar": f"≤ {IDLE_BAR_MIB} MiB", "measured": f"{idle_mib:.1f} MiB"},
        {
            "what": f"proxy memory after {args.requests:,} requests",
            "bar": f"≤ {LOADED_BAR_MIB} MiB",
            "measured": f"{loaded_mib:.1f} MiB ({sent:,} requests)",
        },
        {"what": "process start to ready", "bar": f"≤ {START_BAR_S} s", "measured": f"{sorted(starts_s)[2]:.2f} s (median of 5)"},
    ]
    record("memory", rows, {"idle_mib": idle_mib, "loaded_mib": loaded_mib, "requests": sent, "starts_s": starts_s})


def read(port: int, path: str) -> bytes:
    """A page of the proxy."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return bytes(answer.read())


def settle(subject: Subject) -> None:
    """Idle means: ready, every page looked at once, and two of the proxy's own sweeps later."""
    for port, path in ((subject.admin_port, "/readyz"), (subject.admin_port, "/metrics"), (subject.state_port, "/state")):
        read(port, path)
    time.sleep(2.5)


if __name__ == "__main__":
    main()
