"""The proxy's exchange with the real fleet."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import MappingProxyType

import msgspec
import pytest
from tests.sidecar.control_rig import GROUP, MODEL, TOKEN, WORKLOAD, Proxy, config_for, drive, until
from tests.sidecar.exchange_peer import Authority

from claudeops.fleet import Denied, ExchangeHooks, ExchangeServer, Fleet, FleetSettings, Identity
from claudeops.policy.breaker import OPEN
from claudeops.policy.lease_state import LeasePhase
from claudeops.proxyconfig import BreakerPolicy, Connections, ModelChoice, ProxyConfig, Rates, WorkloadKey
from claudeops.sidecar.model import PRIMARY
from claudeops.translate.terms import QuotaTerms, WorkloadTerms

FALLBACK = "claude-sonnet-4-6"
SETTINGS = FleetSettings(report_interval_s=0.5, learning_s=0.5, tick_s=0.1, urgent_tick_s=0.05)
QUOTA = QuotaTerms(
    name="prod",
    upstream="https://api.anthropic.com",
    limits=MappingProxyType(
        {
            GROUP: Rates(requests_per_minute=600, input_tokens_per_minute=600_000, output_tokens_per_minute=120_000),
            "sonnet-4.x": Rates(requests_per_minute=600, input_tokens_per_minute=600_000, output_tokens_per_minute=120_000),
        }
    ),
)
TERMS = WorkloadTerms(
    workload=WORKLOAD,
    quota="prod",
    tiers=(MODEL, FALLBACK),
    groups=MappingProxyType({MODEL: GROUP, FALLBACK: "sonnet-4.x"}),
    weight=100,
    guaranteed=Rates(),
    maximum=Rates(),
    max_in_flight=None,
    connections=Connections(min=4, max=40),
    breaker=BreakerPolicy(),
    scaling=None,
    objectives=(),
)


class Leader:
    """A controller's exchange: the fleet behind its server."""

    def __init__(self, authority: Authority, identities: Iterable[tuple[str, Identity]]) -> None:
        self.authority = authority
        self.fleet = Fleet(SETTINGS)
        self.port = 0
        self.is_leader = True
        self._identities = dict(identities)
        hooks = ExchangeHooks(authenticate=self._identify, is_leader=lambda: self.is_leader)
        self.server = ExchangeServer(self.fleet, hooks, ssl_context=authority.context())

    async def start(self, epoch: int, port: int = 0) -> None:
        self.fleet.begin(epoch, time.monotonic())
        self.fleet.set_quota(QUOTA)
        self.port = await self.server.start("127.0.0.1", port)

    def want(self, config: ProxyConfig) -> None:
        self.fleet.set_workload(TERMS, config)
        self.fleet.observe(WORKLOAD, expected=1, replicas=1)
        self.server.touch()

    async def _identify(self, token: str) -> Identity | Denied:
        return self._identities.get(token) or Denied("unknown token")


ME = (TOKEN, Identity(instance="uid-1", workload=WORKLOAD))


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def joined(leader: Leader, tmp_path: pathlib.Path) -> AsyncIterator[Proxy]:
    """A leader that wants revision 3 and a proxy that runs it and reports."""
    await leader.start(epoch=4)
    config = msgspec.structs.replace(config_for(leader), model=ModelChoice(name=MODEL, fallbacks=(FALLBACK,)))
    leader.want(config)
    (tmp_path / "token").write_text(TOKEN)
    proxy = Proxy(config, tmp_path / "token")
    proxy.runtime.on_urgent = proxy.client.hurry
    task = asyncio.create_task(proxy.client.run())
    try:
        yield proxy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await leader.server.stop()


def test_demand_becomes_a_lease(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        leader = Leader(authority, [ME])
        async with joined(leader, tmp_path) as proxy:
            counters = proxy.group.counters

            def is_leased() -> bool:
                counters.offered_requests += 2
                counters.offered_input += 2000.0
                counters.offered_output += 1000.0
                return proxy.runtime.lease_phase is LeasePhase.FRESH and proxy.group.limiter.lease.requests > 1.0

            await until(is_leased, "a lease")
            assert proxy.group.limiter.lease.requests <= 1.1 * 600 / 60
            view = leader.fleet.workload_view(WORKLOAD, time.monotonic())
            assert (view.connected, view.converged) == (1, 1)

    drive(work)


def test_a_changed_configuration_reaches_the_proxy_at_once(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        leader = Leader(authority, [ME])
        async with joined(leader, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "the first answer")
            assert proxy.runtime.config is not None
            newer = msgspec.structs.replace(proxy.runtime.config, revision=4, prompt_cache="Always")
            leader.want(newer)
            await until(lambda: proxy.runtime.config == newer, "the newer configuration", limit_s=2.0)
            await until(lambda: leader.fleet.workload_view(WORKLOAD, time.monotonic()).converged == 1, "the report of it")

    drive(work)


def test_an_open_breaker_flips_the_fleet_and_the_flip_reaches_the_proxy(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        leader = Leader(authority, [ME])
        async with joined(leader, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "the first answer")
            model = proxy.runtime.models[MODEL]
            now = time.monotonic()
            model.counters[PRIMARY].upstream[500] = 40
            for _ in range(40):
                model.breaker.failed(now, now)
            assert model.breaker.state == OPEN
            proxy.client.hurry("breaker")
            await until(lambda: model.is_flipped, "the flip", limit_s=3.0)
            assert leader.fleet.workload_view(WORKLOAD, time.monotonic()).active_model == FALLBACK

    drive(work)


def test_the_next_leader_is_believed_and_learns_what_the_proxy_holds(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        leader = Leader(authority, [ME])
        async with joined(leader, tmp_path) as proxy:
            await until(lambda: proxy.runtime.lease_phase is LeasePhase.FRESH, "a lease")
            await leader.server.stop()
            await until(lambda: bool(proxy.client.error), "the complaint")
            successor = Leader(authority, [ME])
            await successor.start(epoch=5, port=leader.port)
            assert proxy.runtime.config is not None
            successor.want(proxy.runtime.config)
            await until(lambda: proxy.client.epoch == 5, "the next epoch")
            assert proxy.client.error == "" and proxy.runtime.lease_phase is LeasePhase.FRESH
            await successor.server.stop()

    drive(work)


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("nobody's", "answered 401"),
        ("other-workload", "answered 403"),
        ("other-pod", "answered 403"),
    ],
)
def test_a_proxy_that_is_not_who_it_says_gets_nothing(token: str, complaint: str, authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        others = {
            "other-workload": Identity(instance="uid-1", workload=WorkloadKey(namespace="support", name="other")),
            "other-pod": Identity(instance="uid-2", workload=WORKLOAD),
        }
        leader = Leader(authority, others.items())
        async with joined(leader, tmp_path) as proxy:
            (tmp_path / "token").write_text(token)
            await until(lambda: complaint in proxy.client.error, complaint)
            assert proxy.client.answers == 0 and proxy.runtime.lease_phase is LeasePhase.BASELINE

    drive(work)


def test_a_replica_that_does_not_lead_is_left_for_the_one_that_does(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        leader = Leader(authority, [ME])
        leader.is_leader = False
        async with joined(leader, tmp_path) as proxy:
            await until(lambda: "answered 503" in proxy.client.error, "the refusal")
            leader.is_leader = True
            await until(lambda: proxy.client.epoch == 4, "the answer")

    drive(work)
