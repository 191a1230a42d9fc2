"""A whole request path on real sockets: our client, the proxy, an upstream. Everything is on ports the system chooses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvloop
from tests.virtual_loop import VirtualLoop

from claudeops.exchange import Assignment
from claudeops.proxyconfig import (
    BreakerPolicy,
    Connections,
    Limits,
    ModelChoice,
    Objective,
    ProxyConfig,
    Resilience,
    Retry,
    Sampling,
    Timeouts,
    Upstream,
    WorkloadKey,
)
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.runtime import Runtime
from claudeops.simulator import Simulator
from claudeops.simulator.config import SimulatorConfig

KEY = b"sk-ant-sim-rig"
PRIMARY = "claude-sonnet-4-6"
FALLBACK = "claude-haiku-5-5"
VERSION = "2023-06-01"


def run(test: Callable[[], Any]) -> None:
    """A test's coroutine on a loop like the product's."""
    uvloop.run(asyncio.wait_for(test(), 60))


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Polls, with a bound."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.005)


def config(url: str, **parts: Any) -> ProxyConfig:
    """A document for a proxy without a controller, which opens no connection before it needs one; `parts` replace its blocks."""
    blocks: dict[str, Any] = {
        "revision": 1,
        "workload": WorkloadKey(namespace="shop", name="bot"),
        "upstream": Upstream(base_url=url),
        "model": ModelChoice(name=PRIMARY),
        "sampling": Sampling(),
        "limits": Limits(),
        "resilience": resilience(),
        "connections": Connections(min=0),
        "objectives": (Objective(indicator="Latency", threshold_s=5.0, objective_percent=95.0),),
    }
    return ProxyConfig(**(blocks | parts))


def resilience(**parts: Any) -> Resilience:
    """Short waits, so that a test of a retry takes milliseconds."""
    blocks: dict[str, Any] = {
        "retry": Retry(max_attempts=3, initial_backoff_s=0.01, max_backoff_s=0.05, budget_percent=100.0),
        "breaker": BreakerPolicy(),
        "timeouts": Timeouts(connect_s=1.0, first_byte_s=20.0, stream_idle_s=20.0, total_s=30.0),
    }
    return Resilience(**(blocks | parts))


class Reply:
    """One whole answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        return self.headers.get("x-claudeops-reason")

    @property
    def events(self) -> list[tuple[str, Any]]:
        """(event name, data) of a stream; data that is not JSON stays text."""
        found: list[tuple[str, Any]] = []
        for block in self.body.decode().split("\n\n"):
            if block.strip():
                name, _, data = block.partition("\n")
                data = data.removeprefix("data: ")
                found.append((name.removeprefix("event: "), json.loads(data) if data.endswith("}") else data))
        return found


class Client:
    """One connection to the proxy, with HTTP written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, body: bytes, *, path: str = "/v1/messages", method: str = "POST", headers: dict[str, str] | None = None) -> None:
        lines = {"host": "proxy", "content-type": "application/json", "x-api-key": "placeholder", "anthropic-version": VERSION}
        lines |= headers or {}
        if method == "POST":
            lines["content-length"] = str(len(body))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def read_head(self) -> tuple[int, dict[str, str]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        return int(head[0].split(" ")[1]), headers

    async def read_chunk(self) -> bytes:
        size = int((await self.reader.readline()).strip(), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def read(self, *, is_head: bool = False) -> Reply:
        """The next answer; interim ones (1xx) are passed over."""
        status, headers = await self.read_head()
        while status < 200:
            status, headers = await self.read_head()
        body = b""
        if is_head:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            parts = []
            while part := await self.read_chunk():
                parts.append(part)
            body = b"".join(parts)
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = await self.reader.read()
        return Reply(status, headers, body)

    def close(self) -> None:
        self.writer.close()


class Rig:
    """The proxy under test, listening."""

    def __init__(self, port: int, runtime: Runtime, pipeline: Pipeline) -> None:
        self.port = port
        self.runtime = runtime
        self.pipeline = pipeline
        self.urgent: list[str] = []
        self.clients: list[Client] = []
        runtime.on_urgent = self.urgent.append

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=64 * 1024 * 1024))
        self.clients.append(client)
        return client

    async def call(self, body: dict[str, Any] | bytes, **how: Any) -> Reply:
        client = await self.connect()
        await client.send(body if isinstance(body, bytes) else json.dumps(body).encode(), **how)
        reply = await client.read()
        client.close()
        return reply

    def apply(self, document: ProxyConfig) -> None:
        self.runtime.apply_config(document, self.runtime.clock())

    def assign(self, assignment: Assignment) -> None:
        now = self.runtime.clock()
        self.runtime.apply_assignment(assignment, sent_at=now, now=now)


def is_settled(rig: Rig) -> bool:
    """Nothing holds a place any more."""
    groups = rig.runtime.groups.values()
    return rig.runtime.in_flight == 0 and all(group.in_flight == 0 and group.limiter.gate.in_flight == 0 for group in groups)


def ask(text: str = "hello", **members: Any) -> dict[str, Any]:
    """A Messages request."""
    return {"model": PRIMARY, "max_tokens": 64, "messages": [{"role": "user", "content": text}]} | members


@contextlib.asynccontextmanager
async def proxy(document: ProxyConfig, *, sweep_s: float = 0.05) -> AsyncIterator[Rig]:
    """A proxy with this configuration; its once-a-second sweep runs faster."""
    loop = asyncio.get_running_loop()
    runtime = Runtime(loop.clock if isinstance(loop, VirtualLoop) else time.monotonic, wall_clock=time.time)
    pipeline = Pipeline(loop, runtime)
    runtime.apply_config(document, runtime.clock())
    runtime.set_key(KEY)
    server = await loop.create_server(pipeline.new_connection, "127.0.0.1", 0)

    async def sweep() -> None:
        while True:
            await asyncio.sleep(sweep_s)
            pipeline.sweep()

    sweeper = loop.create_task(sweep())
    rig = Rig(server.sockets[0].getsockname()[1], runtime, pipeline)
    try:
        yield rig
    finally:
        sweeper.cancel()
        for client in rig.clients:
            client.close()
        server.close()
        pipeline.close()


def simulator(**settings: Any) -> Simulator:
    """A fast simulator."""
    return Simulator(SimulatorConfig(**({"speed": 50.0, "output_median_tokens": 40.0} | settings)))
