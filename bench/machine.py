"""What a measurement needs of the machine: free ports, CPU time and memory of a process, tools that are compiled or installed once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from tools.images.recipe import MALLOC_ENV

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "claudeops" / "bench"
IMAGE_ENVIRONMENT = MALLOC_ENV
"""What the sidecar's image sets for any program; every measured process gets it."""


class Missing(RuntimeError):
    """A tool cannot be had here; the message says how to get it."""


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], limit_s: float = 20.0) -> None:
    """Until somebody listens. Raises RuntimeError if the process ends first or the time is over."""

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, f"nobody listens at port {port}", process=process, limit_s=limit_s)


def wait_until(
    is_true: Callable[[], bool], complaint: str, *, process: subprocess.Popen[bytes] | None = None, limit_s: float = 20.0
) -> None:
    """Polls a condition. Raises RuntimeError with the complaint when the time is over or the process ends."""
    deadline = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise RuntimeError(complaint)
        time.sleep(0.005)


@contextlib.contextmanager
def running(
    command: Sequence[str | os.PathLike[str]],
    *,
    cores: set[int] | None = None,
    log: pathlib.Path,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the image's environment and what is given besides ("" unsets), on the given cores; ended, and waited for."""
    bytecode = {"PYTHONPYCACHEPREFIX": str(CACHE / "pycache"), "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(ROOT / "operator")}
    merged = {**os.environ, **IMAGE_ENVIRONMENT, **bytecode, **environment}
    environment = {name: value for name, value in merged.items() if value}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            if cores:
                os.sched_setaffinity(process.pid, cores)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process and of its children so far, user and system, from the scheduler's nanosecond clock."""
    process = pathlib.Path(f"/proc/{pid}")
    nanoseconds = 0
    for task in (process / "task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
    children = {child for task in (process / "task").iterdir() for child in (task / "children").read_text().split()}
    return nanoseconds / 1e9 + sum(cpu_s(int(child)) for child in children)


def resident_mib(pid: int) -> float:
    """Resident memory now."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


def find_wrk() -> str:
    """wrk, the load generator. Raises Missing."""
    found = shutil.which("wrk")
    if found is None:
        raise Missing("wrk is missing: apt-get install wrk")
    return found


def build_upstream() -> pathlib.Path:
    """The mock upstream, compiled once per version of its source. Raises Missing."""
    return _build("upstream", "-lssl", "-lcrypto")


def build_load() -> pathlib.Path:
    """The load generator for streams and fixed rates, compiled once per version of its source. Raises Missing."""
    return _build("load")


def _build(name: str, *libraries: str) -> pathlib.Path:
    source = ROOT / "bench" / f"{name}.c"
    binary = CACHE / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not binary.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or not pathlib.Path("/usr/include/openssl/ssl.h").exists():
            raise Missing("a C compiler or OpenSSL's headers are missing: apt-get install gcc libc6-dev libssl-dev")
        CACHE.mkdir(parents=True, exist_ok=True)
        run_once([compiler, "-O2", "-o", str(binary), str(source), *libraries])
    return binary


def run_once(command: Sequence[str]) -> None:
    """A program that makes or installs something. Raises Missing with the end of what it said if it fails."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
