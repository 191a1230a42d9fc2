"""What is measured: the mock upstream, our proxy in both its forms as processes of their own, and the request that both get."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tools.compile.build import site
from tools.images.interpreter import image_interpreter
from tools.images.recipe import LEAN_ENV, LOCKS
from tools.localcluster.pip import virtualenv

from bench.machine import ROOT, build_upstream, free_port, run_once, running, wait_for_port, wait_until
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
CONNECTIONS_MAX = 4096
PURE, COMPILED = "claudeops (interpreted)", "claudeops"
HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "placeholder"}


class Subject(NamedTuple):
    """One running proxy; ``pid`` 0: no proxy at all. ``started_at``: of its process, by the monotonic clock."""

    name: str
    pid: int
    port: int
    admin_port: int = 0
    state_port: int = 0
    started_at: float = 0.0
    headers: Mapping[str, str] = HEADERS


class Upstreams(NamedTuple):
    """The running mock upstream. ``authority``: the certificate to trust where it speaks TLS."""

    port: int
    process: subprocess.Popen[bytes]
    log: pathlib.Path
    authority: pathlib.Path | None = None

    @property
    def url(self) -> str:
        """What a base URL is set to."""
        return f"{'http' if self.authority is None else 'https'}://127.0.0.1:{self.port}"

    def counts(self) -> tuple[int, int]:
        """(connections accepted, requests answered) so far."""
        before = self.log.read_text().count("\n")
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self.log.read_text().count("\n") > before, "the upstream does not say what it counted", process=self.process)
        accepted, answered = self.log.read_text().splitlines()[-1].split()
        return int(accepted), int(answered)


@contextlib.contextmanager
def upstream(folder: pathlib.Path, *, has_tls: bool = False) -> Iterator[Upstreams]:
    """The mock upstream on the load's core."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log, pair = free_port(), folder / "upstream.log", [folder / "upstream.pem", folder / "upstream.key"]
    if has_tls:
        names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *names]
        run_once([*new, "-out", str(pair[0]), "-keyout", str(pair[1])])
    with running([build_upstream(), str(port), *pair * has_tls], cores=LOAD_CORE, log=log) as process:
        wait_for_port(port, process)
        yield Upstreams(port, process, log, pair[0] if has_tls else None)


def config_document(url: str, controller: ControllerAddress | None = None, *, authority: str = "") -> ProxyConfig:
    """Every stage has something to do: temperature is left out, max_tokens clamped, a cache mark set."""
    return ProxyConfig(
        revision=1,
        workload=WorkloadKey(namespace="bench", name="bench"),
        upstream=Upstream(base_url=url, ca_bundle=authority),
        controller=controller,
        model=ModelChoice(name=MODEL, fallbacks=("claude-haiku-5-5",)),
        sampling=Sampling(profile="bench", temperature=Bounds(min=0.0, max=0.5), max_tokens=Bounds(default=1024, max=2048)),
        prompt_cache="Always",
        connections=Connections(min=4, max=CONNECTIONS_MAX),
    )


def request_body(size: int, *, is_streamed: bool = False, pace_ms: int = 0, is_legal: bool = False) -> bytes:
    """A Messages request of about ``size`` bytes that needs three edits; if it is legal, a cache mark only.

    ``pace_ms``: the upstream sends an event of its stream so often, 0: as fast as it can.
    """
    question = "What does the second paragraph say about the warranty?" + f" pace={pace_ms}" * (pace_ms > 0)
    body: dict[str, object] = {"model": MODEL, "max_tokens": 1024 if is_legal else 8000}
    body |= {} if is_legal else {"temperature": 0.9}
    body |= {"stream": True} if is_streamed else {}
    body |= {"system": "", "messages": [{"role": "user", "content": question}], "metadata": {"user_id": "user-1"}}
    filling = "You answer questions about the manual. " * (size // 39 + 1)
    body["system"] = filling[: max(0, size - len(json.dumps(body)))]
    return json.dumps(body).encode()


@contextlib.contextmanager
def our_proxy(
    folder: pathlib.Path,
    document: ProxyConfig,
    *,
    cores: set[int] | None = None,
    instance: str = "bench",
    is_compiled: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Subject]:
    """``claudeops sidecar`` with the image's interpreter, packages and settings: its compiled form, or what the wheel brings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proxy.json").write_bytes(encode_config(document))
    (folder / "api-key").write_text(KEY)
    (folder / "token").write_text(instance)
    ports = [free_port() for _ in range(3)]
    settings = {
        "CLAUDEOPS_CONFIG": str(folder / "proxy.json"),
        "CLAUDEOPS_KEY_FILE": str(folder / "api-key"),
        "CLAUDEOPS_TOKEN_FILE": str(folder / "token"),
        "CLAUDEOPS_INSTANCE": instance,
        "CLAUDEOPS_LOG_LEVEL": "warning",
        **{f"CLAUDEOPS_{name}": f"127.0.0.1:{port}" for name, port in zip(("LISTEN", "ADMIN", "STATE"), ports, strict=True)},
    }
    command = [str(virtualenv("sidecar", LOCKS / "sidecar.txt", python=image_interpreter().executable)), "-m", "claudeops", "sidecar"]
    package = {"PYTHONPATH": str(site() if is_compiled else ROOT / "operator")}
    environment = {**LEAN_ENV, **package, **settings, **(environment or {})}
    started_at = time.monotonic()
    with running(command, cores=cores, log=folder / f"{instance}.log", environment=environment) as process:
        for port in ports:
            wait_for_port(port, process)
        name = COMPILED if is_compiled else PURE
        yield Subject(name, process.pid, ports[0], ports[1], ports[2], started_at=started_at)
