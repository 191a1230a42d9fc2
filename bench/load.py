"""The load: wrk for as many JSON requests as go, load.c for streams and for a fixed rate. Both on one core, compiled."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from bench.machine import ROOT, build_load, find_wrk
from bench.subject import LOAD_CORE, Subject

PATH = "/v1/messages"
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Load(NamedTuple):
    """What one run saw. ``first_ms``: median until the first byte of the answer."""

    requests: int
    requests_per_s: float
    median_ms: float
    first_ms: float = 0.0
    events: int = 0


def on_load_core(command: list[str]) -> str:
    """Standard output of a program on the load's core. Raises CalledProcessError."""
    cores = ",".join(str(core) for core in LOAD_CORE)
    return subprocess.run(["taskset", "-c", cores, *command], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def put_load(
    folder: pathlib.Path, subject: Subject, body: bytes, *, connections: int = 32, seconds: float = 4, is_strict: bool = True
) -> Load:
    """Runs wrk. Strictly: raises RuntimeError if any answer was not a 200, since its cost would be another."""
    script = folder / "load.lua"
    lines = ['wrk.method = "POST"', f"wrk.body = {_lua_string(body)}"]
    script.write_text("\n".join([*lines, *(f'wrk.headers["{name}"] = "{value}"' for name, value in subject.headers.items())]))
    words = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "--latency", "-s", str(script)]
    said = on_load_core([find_wrk(), *words, f"http://127.0.0.1:{subject.port}{PATH}"])
    if is_strict and ("Non-2xx" in said or "Socket errors" in said):
        raise RuntimeError(f"the load on {subject.name} did not run cleanly:\n{said}")
    requests = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    if not requests or not rate or not median:
        raise RuntimeError(f"wrk said something else:\n{said}")
    return Load(int(requests[1]), float(rate[1]), float(median[1]) * UNITS_MS[median[2]])


def put_streams(folder: pathlib.Path, subject: Subject, body: bytes, *, connections: int, seconds: float, per_s: float = 0.0) -> Load:
    """Runs load.c: ``per_s`` requests a second, 0: one after the other on each connection. Raises RuntimeError for any failure."""
    request = write_request(folder, subject.headers, body)
    words = [str(build_load()), str(subject.port), str(connections), str(seconds), str(per_s), str(request)]
    seen = json.loads(on_load_core(words))
    if seen["failures"] or seen["missed"]:
        raise RuntimeError(f"the load on {subject.name} did not run cleanly: {seen}")
    return Load(seen["requests"], seen["requests"] / seen["seconds"], seen["whole_us"][0] / 1e3, seen["first_us"][0] / 1e3, seen["events"])


def write_request(folder: pathlib.Path, headers: Mapping[str, str], body: bytes) -> pathlib.Path:
    """The request as load.c sends it."""
    path = folder / "request.http"
    lines = [f"POST {PATH} HTTP/1.1", "host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"content-length: {len(body)}"])
    path.write_bytes(f"{head}\r\n\r\n".encode() + body)
    return path


def _lua_string(body: bytes) -> str:
    return '"' + body.decode().replace("\\", "\\\\").replace('"', '\\"') + '"'
