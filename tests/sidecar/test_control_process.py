"""The proxy as a process: start, health, reload while it runs, drain on SIGTERM, exit codes, and where the key may not be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import msgspec
import pytest
from tests.sidecar.control_rig import MODEL, drive, until
from tools.images.recipe import LEAN_ENV

from claudeops.proxyconfig import Limits, ModelChoice, ProxyConfig, Queue, Upstream, WorkloadKey, encode_config
from claudeops.simulator import Simulator
from claudeops.simulator.config import SimulatorConfig

KEY = "sk-ant-sim-process-0123456789"
OPERATOR = pathlib.Path(__file__).resolve().parents[2] / "operator"
Answer = tuple[int, dict[str, str], bytes]


class Process:
    """``claudeops sidecar`` on ports of its own; its files may be written before or after its start."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.config, self.key, self.log = folder / "proxy.json", folder / "api-key", folder / "stderr"
        self.reserved = [reserved_port() for _ in range(3)]
        self.api, self.admin, self.state = (int(each.getsockname()[1]) for each in self.reserved)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, config: ProxyConfig | bytes, *, key: str | None = KEY) -> None:
        raw = config if isinstance(config, bytes) else encode_config(config)
        swap = self.folder / "swap"
        swap.write_bytes(raw)
        swap.replace(self.config)
        if key is not None:
            self.key.write_text(key)

    def start(self, *flags: str) -> None:
        listeners = [f"--{name}=127.0.0.1:{port}" for name, port in (("listen", self.api), ("admin", self.admin), ("state", self.state))]
        files = [f"--config={self.config}", f"--key-file={self.key}", f"--token-file={self.folder / 'token'}", "--instance=uid-1"]
        self._spawn(*listeners, *files, *flags)

    def start_as_in_a_pod(self) -> None:
        """Without a flag, in the settings of the image."""
        listeners = {name: f"127.0.0.1:{port}" for name, port in (("LISTEN", self.api), ("ADMIN", self.admin), ("STATE", self.state))}
        files = {"CONFIG": self.config, "KEY_FILE": self.key, "TOKEN_FILE": self.folder / "token", "INSTANCE": "uid-1"}
        self._spawn(environment={**LEAN_ENV, **{f"CLAUDEOPS_{name}": str(value) for name, value in {**listeners, **files}.items()}})

    def _spawn(self, *flags: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "claudeops", "sidecar", *flags],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(OPERATOR), **environment},
            )

    async def ready(self) -> None:
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            assert self.process is not None and self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                if (await get(self.admin, "/readyz"))[0] == 200:
                    return
            await asyncio.sleep(0.02)
        raise AssertionError(f"not ready within 20 s: {self.log.read_text()}")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), 30.0)

    def log_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def proxy(tmp_path: pathlib.Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    if process.process is not None:
        process.process.kill()
        process.process.wait()
    for each in process.reserved:
        each.close()


def reserved_port() -> socket.socket:
    """A port that nobody else is given while this stays open, and that the proxy can still listen on: both set SO_REUSEADDR."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


async def send(port: int, request: bytes) -> bytes:
    """Everything that comes back until the other side ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(-1), 30.0)
    finally:
        writer.close()


async def get(port: int, path: str, method: str = "GET") -> Answer:
    return split(await send(port, f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()))


async def ask(port: int, *, is_streamed: bool = False, on_sent: Callable[[], None] = lambda: None) -> Answer:
    message = {"role": "user", "content": "How long is the warranty?"}
    body = json.dumps({"model": MODEL, "max_tokens": 900, "stream": is_streamed, "messages": [message]}).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\nanthropic-version: 2023-06-01\r\nx-api-key: placeholder\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    on_sent()
    return split(await send(port, head.encode() + body))


def split(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), fields, body


def document(url: str, revision: int = 1, **fields: object) -> ProxyConfig:
    config = ProxyConfig(
        revision=revision,
        workload=WorkloadKey(namespace="support", name="bot"),
        upstream=Upstream(base_url=url),
        model=ModelChoice(name=MODEL),
        limits=Limits(queue=Queue(max_wait_s=5.0)),
    )
    return msgspec.structs.replace(config, **fields)


def quick(**fields: object) -> Simulator:
    return Simulator(SimulatorConfig(tier=None, **{"seed": 3, "speed": 50.0, **fields}))  # type: ignore[arg-type]


def test_without_configuration_it_is_alive_and_not_ready_and_refuses_then_serves_when_it_appears(proxy: Process) -> None:
    async def work() -> None:
        async with quick() as simulator:
            proxy.start()
            await until_listening(proxy)
            assert (await get(proxy.admin, "/healthz"))[0] == 200
            status, _, body = await get(proxy.admin, "/readyz")
            assert status == 503 and b"no configuration yet" in body
            status, _, body = await ask(proxy.api)
            assert status == 503 and json.loads(body)["type"] == "error"
            proxy.write(document(simulator.url))
            await proxy.ready()
            assert (await ask(proxy.api))[0] == 200

    drive(work)


async def until_listening(proxy: Process) -> None:
    deadline = time.monotonic() + 20.0
    while True:
        assert time.monotonic() < deadline and proxy.process is not None and proxy.process.poll() is None, proxy.log.read_text()
        try:
            await get(proxy.state, "/state")
            return
        except OSError:
            await asyncio.sleep(0.02)


def test_in_a_pod_it_takes_everything_from_the_environment(proxy: Process) -> None:
    async def work() -> None:
        async with quick() as simulator:
            proxy.write(document(simulator.url))
            proxy.start_as_in_a_pod()
            await proxy.ready()
            assert (await ask(proxy.api))[0] == 200
            assert b'code="200",' in (await get(proxy.admin, "/metrics"))[2]
            assert json.loads((await get(proxy.state, "/state"))[2])["config"]["revision"] == 1

    drive(work)


def test_without_a_key_requests_are_refused_as_the_credentials_fault_and_the_proxy_is_ready(proxy: Process) -> None:
    async def work() -> None:
        async with quick() as simulator:
            proxy.write(document(simulator.url), key=None)
            proxy.start()
            await proxy.ready()
            status, fields, _ = await ask(proxy.api)
            assert (status, fields["x-claudeops-reason"]) == (503, "credentials")
            proxy.key.write_text(KEY)
            await settle(lambda: ask(proxy.api), 200)

    drive(work)


async def settle(ask_again: Callable[[], asyncio.Future[Answer] | object], status: int) -> None:
    deadline = time.monotonic() + 10.0
    while (await ask_again())[0] != status:  # type: ignore[misc]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_a_changed_file_is_in_force_without_a_restart_and_a_broken_one_is_not(proxy: Process) -> None:
    async def work() -> None:
        async with quick() as simulator:
            proxy.write(document(simulator.url))
            proxy.start()
            await proxy.ready()
            proxy.write(document(simulator.url, revision=2, prompt_cache="Always"))
            await state_says(proxy, lambda config: config["revision"] == 2)
            proxy.write(b'{"schemaVersion":1,"revision":3,"surprise":true}')
            await state_says(proxy, lambda config: config["errors"] == 1)
            assert (await ask(proxy.api))[0] == 200
            assert (await get(proxy.admin, "/readyz"))[0] == 200
            text = (await get(proxy.admin, "/metrics"))[2].decode()
            state = json.loads((await get(proxy.state, "/state"))[2])
            (used,) = state["used"].values()
            assert float(used["costUsd"]) > 0 and used["answersOfUnknownCost"] == {}
            assert (state["inFlight"], state["process"]["auxiliaryInFlight"], state["process"]["backingOff"]) == (0, 0, 0)
            assert 'revision="2",source="file"} 1.0' in text and "claudeops_config_errors_total 1.0" in text
            refusals = [line for line in proxy.log_lines() if line["level"] == "error"]
            assert len(refusals) == 1 and "surprise" in str(refusals[0]["reason"])
            proxy.write(document(simulator.url, revision=4))
            await state_says(proxy, lambda config: config["revision"] == 4 and config["error"] is None)

    drive(work)


async def state_says(proxy: Process, condition: Callable[[dict[str, object]], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not condition(json.loads((await get(proxy.state, "/state"))[2])["config"]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_sigterm_lets_fifty_streams_end_refuses_new_requests_and_exits_with_0(proxy: Process) -> None:
    async def work() -> None:
        async with quick(speed=1.0, ttft_s=0.2, tokens_per_s=300.0, output_median_tokens=400.0, output_sigma=0.1) as simulator:
            proxy.write(document(simulator.url))
            proxy.start()
            await proxy.ready()
            streams = [asyncio.create_task(ask(proxy.api, is_streamed=True)) for _ in range(50)]
            await until(lambda: simulator.stats().streams == 50, "fifty running streams")
            proxy.signal(signal.SIGTERM)
            status = 200
            while status == 200:
                status, fields, body = await ask(proxy.api)
            assert (status, fields["x-claudeops-reason"], fields["retry-after"]) == (503, "draining", "1")
            assert json.loads(body)["error"]["type"] == "api_error"
            assert proxy.process is not None and proxy.process.poll() is None
            for status, _, body in await asyncio.gather(*streams):
                assert status == 200 and body.count(b"event: message_stop") == 1
            assert await proxy.ended() == 0

    drive(work)


def test_what_does_not_end_within_the_grace_period_is_ended_with_the_process(proxy: Process) -> None:
    async def work() -> None:
        async with quick(speed=1.0, ttft_s=60.0) as simulator:
            proxy.write(document(simulator.url))
            proxy.start("--grace=0.5")
            await proxy.ready()
            stream = asyncio.create_task(send(proxy.api, b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n{"))
            call = asyncio.create_task(ask(proxy.api, is_streamed=True))
            await until(lambda: simulator.stats().in_flight == 1, "the running request")
            proxy.signal(signal.SIGTERM)
            assert await proxy.ended() == 0
            await asyncio.gather(stream, call, return_exceptions=True)

    drive(work)


def test_an_idle_proxy_ends_at_once_on_sigterm_and_sigint(proxy: Process) -> None:
    async def work() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            proxy.write(document("http://127.0.0.1:9"))
            proxy.start()
            await proxy.ready()
            proxy.signal(number)
            assert await proxy.ended() == 0
            assert proxy.log_lines()[-1]["message"] == "stopped"

    drive(work)


def test_a_taken_port_is_said_and_the_exit_code_is_1(proxy: Process) -> None:
    async def work() -> None:
        with socket.create_server(("127.0.0.1", proxy.admin)):
            proxy.start()
            assert await proxy.ended() == 1
        last = proxy.log.read_text().splitlines()[-1]
        assert last.startswith("claudeops sidecar: cannot listen") and "Traceback" not in proxy.log.read_text()

    drive(work)


def test_the_key_is_nowhere_but_at_the_api(proxy: Process) -> None:
    async def work() -> None:
        async with quick() as simulator:
            proxy.write(document(simulator.url))
            proxy.start("--log-level=debug")
            await proxy.ready()
            assert (await ask(proxy.api))[0] == 200
            proxy.key.write_text(f"{KEY}\nsecond line")
            await settle(lambda: key_state(proxy), 1)
            pages = [await get(proxy.admin, path) for path in ("/metrics", "/healthz", "/readyz")] + [await get(proxy.state, "/state")]
            pages.append(await ask(proxy.api, is_streamed=True))
            assert not any(KEY.encode() in str(page).encode() for page in pages)
            assert KEY not in proxy.log.read_text()
            assert simulator.requests()[0].key == KEY[-4:]

    drive(work)


async def key_state(proxy: Process) -> Answer:
    key = json.loads((await get(proxy.state, "/state"))[2])["key"]
    return int(key["isPresent"] and key["error"] is not None), {}, b""


NO_HTTP = (
    b"\x16\x03\x01\x02\x00",
    b"GET / HTTP/9.9\r\n\r\n",
    b"NONSENSE\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nhost: " + b"x" * 40_000 + b"\r\n\r\n",
)


@pytest.mark.parametrize("request_bytes", NO_HTTP, ids=["tls", "version", "words", "huge head"])
def test_what_is_no_http_at_the_admin_port_ends_that_connection_and_nothing_else(request_bytes: bytes, proxy: Process) -> None:
    async def work() -> None:
        proxy.write(document("http://127.0.0.1:9"))
        proxy.start()
        await proxy.ready()
        with contextlib.suppress(ConnectionResetError):  # the refusal can overtake what is still being sent
            assert (await send(proxy.admin, request_bytes)).startswith(b"HTTP/1.1 400 ")
        assert (await get(proxy.admin, "/healthz"))[0] == 200

    drive(work)


def test_the_state_is_not_served_at_the_pod_s_address_and_nothing_changes_by_asking(proxy: Process) -> None:
    async def work() -> None:
        proxy.write(document("http://127.0.0.1:9"))
        proxy.start()
        await proxy.ready()
        assert (await get(proxy.admin, "/state"))[0] == 404
        assert (await get(proxy.admin, "/metrics", "POST"))[0] == 405
        status, fields, body = await get(proxy.admin, "/healthz", "HEAD")
        assert (status, body) == (200, b"") and fields["content-length"] == "3"

    drive(work)


def test_pages_come_in_the_order_in_which_they_were_asked_for_and_metrics_in_the_form_that_was(proxy: Process) -> None:
    async def work() -> None:
        proxy.write(document("http://127.0.0.1:9"))
        proxy.start()
        await proxy.ready()
        asked = b"GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5\r\n\r\n"
        last = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        status, fields, rest = split(await send(proxy.admin, asked + last))
        assert (status, fields["content-type"]) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        size = int(fields["content-length"])
        assert rest[:size].endswith(b"# EOF\n")
        assert split(rest[size:])[2] == b"ok\n"
        status, fields, body = await get(proxy.admin, "/metrics")
        assert (status, fields["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8") and b"# EOF" not in body

    drive(work)


def test_a_client_that_would_rather_speak_another_protocol_gets_its_pages_all_the_same(proxy: Process) -> None:
    async def work() -> None:
        proxy.write(document("http://127.0.0.1:9"))
        proxy.start()
        await proxy.ready()
        offer = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n"
        last = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        status, _, rest = split(await send(proxy.admin, offer + last))
        assert (status, rest[:3]) == (200, b"ok\n") and split(rest[3:])[0] == 200
        assert (await send(proxy.admin, b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n" + last)).startswith(b"HTTP/1.1 404 ")

    drive(work)
