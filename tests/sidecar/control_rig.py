"""The control side of a proxy without a request path, for tests of the exchange."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
import uvloop
from tests.sidecar.exchange_peer import SERVER_NAME, Authority

from claudeops.proxyconfig import ControllerAddress, ModelChoice, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.config import ConfigHolder, TokenFile
from claudeops.sidecar.exchange_client import ExchangeClient
from claudeops.sidecar.group import GroupRuntime
from claudeops.sidecar.report import ReportDesk
from claudeops.sidecar.runtime import Runtime

MODEL = "claude-sonnet-5-5"
GROUP = "sonnet-5.5"
TOKEN = "token-one"
WORKLOAD = WorkloadKey(namespace="support", name="bot")
_T = TypeVar("_T")


class Listener(Protocol):
    """Whatever listens at a port with a certificate of an authority."""

    port: int
    authority: Authority


async def until(condition: Callable[[], bool], what: str, limit_s: float = 10.0) -> None:
    """Waits for a condition, with a bound."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        await asyncio.sleep(0.01)


class Proxy:
    """One proxy that reports and takes what it is told."""

    def __init__(self, config: ProxyConfig, token_path: pathlib.Path) -> None:
        self.runtime = Runtime(time.monotonic, wall_clock=time.time)
        self.holder = ConfigHolder(lambda new: self.runtime.apply_config(new, time.monotonic()))
        assert self.holder.offer(config, "file")
        desk = ReportDesk(self.runtime, "uid-1", time.monotonic())
        self.client = ExchangeClient(self.runtime, self.holder, desk=desk, token=TokenFile(str(token_path)))

    @property
    def group(self) -> GroupRuntime:
        return self.runtime.groups[GROUP]

    def holds(self, requests: float) -> bool:
        self.runtime.refresh_leases(time.monotonic())
        return self.group.limiter.lease.requests == requests


def config_for(peer: Listener, **fields: object) -> ProxyConfig:
    """A document that names this peer as the controller."""
    address = ControllerAddress(
        url=f"https://127.0.0.1:{peer.port}/v1/exchange",
        server_name=SERVER_NAME,
        ca_bundle=peer.authority.ca_pem,
        audience="claudeops.dev/exchange",
    )
    base = ProxyConfig(
        revision=3,
        workload=WORKLOAD,
        upstream=Upstream(base_url="https://api.anthropic.com"),
        model=ModelChoice(name=MODEL),
        controller=address,
    )
    return msgspec.structs.replace(base, **fields)


def drive(work: Callable[[], Awaitable[_T]]) -> _T:
    async def whole() -> _T:
        return await work()

    return uvloop.run(whole())
