"""What is measured: our proxy as its own process, plain Envoy beside it, and the load on both."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from bench.machine import ROOT, find_envoy, find_wrk, free_port, running, wait_for_port
from claudeops.proxyconfig import (
    Bounds,
    Connections,
    ControllerAddress,
    ModelChoice,
    ProxyConfig,
    Sampling,
    Upstream,
    WorkloadKey,
    encode_config,
)

MODEL = "claude-sonnet-5-5"
KEY = "sk-ant-sim-bench"
PROXY_CORE, LOAD_CORE = {0}, {1}


class Subject(NamedTuple):
    """One running proxy."""

    name: str
    pid: int
    port: int
    admin_port: int = 0
    state_port: int = 0


class Load(NamedTuple):
    """What one run of the load generator saw."""

    requests: int
    requests_per_s: float
    median_ms: float


def config_document(upstream_port: int, controller: ControllerAddress | None = None) -> ProxyConfig:
    """Every stage has something to do: temperature is left out, max_tokens clamped, a cache mark set."""
    return ProxyConfig(
        revision=1,
        workload=WorkloadKey(namespace="bench", name="bench"),
        upstream=Upstream(base_url=f"http://127.0.0.1:{upstream_port}"),
        controller=controller,
        model=ModelChoice(name=MODEL, fallbacks=("claude-haiku-5-5",)),
        sampling=Sampling(profile="bench", temperature=Bounds(min=0.0, max=0.5), max_tokens=Bounds(default=1024, max=2048)),
        prompt_cache="Always",
        connections=Connections(min=4, max=256),
    )


def request_body(size: int) -> bytes:
    """A Messages request of about ``size`` bytes that needs three edits."""
    body = {
        "model": MODEL,
        "max_tokens": 8000,
        "temperature": 0.9,
        "system": "",
        "messages": [{"role": "user", "content": "What does the second paragraph say about the warranty?"}],
        "metadata": {"user_id": "user-1"},
    }
    filling = "You answer questions about the manual. " * (size // 39 + 1)
    body["system"] = filling[: max(0, size - len(json.dumps(body)))]
    return json.dumps(body).encode()


@contextlib.contextmanager
def our_proxy(folder: pathlib.Path, document: ProxyConfig, *, cores: set[int] | None = None, instance: str = "bench") -> Iterator[Subject]:
    """``claudeops sidecar`` as the image runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proxy.json").write_bytes(encode_config(document))
    (folder / "api-key").write_text(KEY)
    (folder / "token").write_text(instance)
    ports = [free_port() for _ in range(3)]
    command = [
        *(sys.executable, "-m", "claudeops", "sidecar", "--instance", instance, "--log-level", "warning"),
        *("--config", str(folder / "proxy.json"), "--key-file", str(folder / "api-key"), "--token-file", str(folder / "token")),
        *("--listen", f"127.0.0.1:{ports[0]}", "--admin", f"127.0.0.1:{ports[1]}", "--state", f"127.0.0.1:{ports[2]}"),
    ]
    with running(command, cores=cores, log=folder / f"{instance}.log") as process:
        for port in ports:
            wait_for_port(port, process)
        yield Subject("claudeops", process.pid, *ports)


@contextlib.contextmanager
def plain_envoy(folder: pathlib.Path, upstream_port: int, *, cores: set[int] | None = None) -> Iterator[Subject]:
    """Envoy with nothing but the router, one worker."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "envoy.json"
    path.write_text(json.dumps(_envoy_config(port, upstream_port)))
    command = [str(find_envoy()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with running(command, cores=cores, log=folder / "envoy.log") as process:
        wait_for_port(port, process)
        yield Subject("envoy", process.pid, port)


def write_load_script(folder: pathlib.Path, body: bytes) -> pathlib.Path:
    """The request that wrk repeats."""
    path = folder / "load.lua"
    path.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = {_lua_string(body)}\n"
        'wrk.headers["content-type"] = "application/json"\n'
        'wrk.headers["anthropic-version"] = "2023-06-01"\n'
        'wrk.headers["x-api-key"] = "placeholder"\n'
    )
    return path


def put_load(script: pathlib.Path, port: int, *, connections: int = 32, duration_s: int = 4, is_strict: bool = True) -> Load:
    """Runs wrk. Strictly: raises RuntimeError if any answer was not a 200, since its cost would be another."""
    command = [
        find_wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{duration_s}s",
        "--latency",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/v1/messages",
    ]
    cores = ",".join(str(core) for core in LOAD_CORE)
    done = subprocess.run(["taskset", "-c", cores, *command], capture_output=True, text=True, check=True, cwd=ROOT)
    if is_strict and ("Non-2xx" in done.stdout or "Socket errors" in done.stdout):
        raise RuntimeError(f"the load did not run cleanly:\n{done.stdout}")
    requests = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout)
    if not requests or not rate or not median:
        raise RuntimeError(f"wrk said something else:\n{done.stdout}")
    return Load(int(requests[1]), float(rate[1]), float(median[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[median[2]])


def _lua_string(body: bytes) -> str:
    return '"' + body.decode().replace("\\", "\\\\").replace('"', '\\"') + '"'


def _envoy_config(port: int, upstream_port: int) -> dict[str, object]:
    extensions = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "600s"}}]}
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"}}],
    }

    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream_port)}}]}], "cluster_name": "api"}
    return {
        "static_resources": {
            "listeners": [{"name": "bench", "address": address(port), "filter_chains": [chain]}],
            "clusters": [{"name": "api", "type": "STATIC", "connect_timeout": "5s", "load_assignment": endpoint}],
        }
    }
