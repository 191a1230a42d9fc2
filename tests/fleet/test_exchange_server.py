"""The exchange on real sockets with real TLS. Nothing sleeps to wait: answers come by events, bounded by timeouts."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.unit.fleet.world import PRIMARY, SimulatedProxy, breaker, config, key, quota, results, workload

from claudeops.exchange import MAX_REPORT_BYTES, PATH, Assignment, Flip, decode_assignment, encode_message
from claudeops.fleet import Denied, ExchangeHooks, ExchangeServer, Fleet, FleetSettings, Identity
from claudeops.proxyconfig import WorkloadKey

BOUND_S = 20.0
SERVER_NAME = "claudeops-exchange.claudeops-system.svc"
PATIENT = FleetSettings(report_interval_s=60.0)
"""Long polls outlast every test's bound: what is answered was pushed."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed serving certificate with its key in one PEM file."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "exchange.pem"
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return path


@dataclass
class Exchange:
    """A started server and a client that trusts it."""

    server: ExchangeServer
    fleet: Fleet
    client: aiohttp.ClientSession
    url: str
    changes: list[WorkloadKey | str] = field(default_factory=list)

    async def post(self, body: bytes, token: str | None = "pod-0", path: str = PATH) -> tuple[int, bytes]:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with self.client.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def speak(self, proxy: SimulatedProxy, now: float, **changes: Any) -> Assignment:
        """One report and its answer, taken over by the proxy."""
        status, body = await self.post(encode_message(proxy.report(now, **changes)), proxy.instance)
        assert status == 200, body
        proxy.assignment = decode_assignment(body)
        if proxy.assignment.config is not None:
            proxy.revision = proxy.assignment.config.revision
        return proxy.assignment

    async def settle(self, proxy: SimulatedProxy) -> asyncio.Task[Assignment]:
        """Reports until the proxy is at rest in a long poll; returns that poll."""
        while True:
            poll = asyncio.ensure_future(self.speak(proxy, float(proxy.sequence)))
            while not poll.done() and proxy.instance not in self.server._waiting:
                await asyncio.sleep(0)
            if not poll.done():
                return poll
            await poll

    async def until(self, poll: asyncio.Task[Assignment], proxy: SimulatedProxy, is_it: Callable[[Assignment], bool]) -> Assignment:
        """Polls on, as a sidecar does, until an answer is the one; other pushes may come first."""
        told = await poll
        while not is_it(told):
            told = await self.speak(proxy, float(proxy.sequence))
        return told


def has_config(told: Assignment) -> bool:
    return told.config is not None


async def by_token(token: str) -> Identity | Denied:
    """A pod's token is its name here."""
    if token == "unchecked":
        return Denied("the API server does not answer: the token cannot be checked now", is_retryable=True)
    if not token.startswith("pod-"):
        return Denied("this token is not of a pod that runs a proxy")
    return Identity(token, key())


@asynccontextmanager
async def exchange(
    certificate: Path,
    *,
    settings: FleetSettings = PATIENT,
    authenticate: Callable[[str], Awaitable[Identity | Denied]] = by_token,
    is_leader: Callable[[], bool] = lambda: True,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[Exchange]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    fleet = Fleet(settings)
    changes: list[WorkloadKey | str] = []
    server = ExchangeServer(fleet, ExchangeHooks(authenticate, is_leader, changes.append), ssl_context=context, wall_clock=wall_clock)
    fleet.begin(3, 0.0)
    fleet.set_quota(quota())
    fleet.set_workload(workload(), config(workload()))
    port = await server.start("127.0.0.1", 0)
    trust = ssl.create_default_context(cafile=certificate)
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=BOUND_S)) as client:
        try:
            yield Exchange(server, fleet, client, f"https://127.0.0.1:{port}", changes)
        finally:
            await server.stop()


def run(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), BOUND_S))


def test_the_first_report_is_answered_at_once_in_the_leaders_epoch(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            told = await world.speak(SimulatedProxy("pod-0"), 0.0)
            assert (told.epoch, told.report_interval_s, told.config) == (3, 60.0, None)

    run(body)


def test_the_server_is_verified_by_name_and_authority(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            stranger = aiohttp.TCPConnector(ssl=ssl.create_default_context())
            async with aiohttp.ClientSession(connector=stranger) as client:
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await client.post(world.url + PATH, data=b"{}")

    run(body)


@pytest.mark.parametrize(
    ("token", "status", "part"),
    [(None, 401, "Bearer"), ("stranger", 401, "not of a pod"), ("unchecked", 503, "cannot be checked"), ("pod-9", 403, "pod pod-9")],
)
def test_who_may_not_speak_is_told_why(certificate: Path, token: str | None, status: int, part: str) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            seen, answer = await world.post(encode_message(SimulatedProxy("pod-0").report(0.0)), token)
            assert seen == status
            assert part in answer.decode()
            assert world.fleet.workload_view(key(), 0.0).connected == 0

    run(body)


def test_a_pod_that_reports_for_another_workload_is_refused(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            status, answer = await world.post(encode_message(SimulatedProxy("pod-0", key("other")).report(0.0)))
            assert status == 403
            assert "shop/bot" in answer.decode()
            assert "shop/other" in answer.decode()

    run(body)


@pytest.mark.parametrize(
    ("body_sent", "status", "part"),
    [
        (b"", 400, "not an exchange message"),
        (b"{", 400, "not an exchange message"),
        (b'{"protocol":1,"instance":"pod-0"}', 400, "workload"),
        (b'{"protocol":2}', 400, "protocol"),
        (b"x" * (MAX_REPORT_BYTES + 1), 413, str(MAX_REPORT_BYTES)),
    ],
)
def test_a_bad_body_is_refused_as_json_that_names_what_is_wrong(certificate: Path, body_sent: bytes, status: int, part: str) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            seen, answer = await world.post(body_sent)
            assert seen == status
            assert answer.startswith(b'{"error"')
            assert part in answer.decode()

    run(body)


def test_only_the_exchange_path_and_post_are_served(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            status, _ = await world.post(b"{}", path="/v1/messages")
            assert status == 404
            async with world.client.get(world.url + PATH) as answer:
                assert answer.status == 405

    run(body)


def test_who_does_not_lead_says_so_and_takes_nothing_in(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate, is_leader=lambda: False) as world:
            status, _ = await world.post(encode_message(SimulatedProxy("pod-0").report(0.0)))
            assert status == 503
            assert world.fleet.workload_view(key(), 0.0).connected == 0

    run(body)


def test_a_long_poll_without_news_ends_after_the_report_interval(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate, settings=FleetSettings(report_interval_s=0.05)) as world:
            proxy = SimulatedProxy("pod-0")
            poll = await world.settle(proxy)
            before = proxy.sequence
            assert (await poll).version >= 1
            assert proxy.sequence == before

    run(body)


def test_a_changed_config_reaches_a_waiting_proxy_at_once(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxy = SimulatedProxy("pod-0")
            poll = await world.settle(proxy)
            world.fleet.set_workload(workload(), config(workload(), revision=2))
            world.server.touch()
            told = await world.until(poll, proxy, has_config)
            assert told.config is not None
            assert told.config.revision == 2

    run(body)


def test_a_fault_in_a_decision_is_logged_and_the_last_decision_stands(certificate: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxy = SimulatedProxy("pod-0")
            decided = await world.until(await world.settle(proxy), proxy, lambda told: bool(told.leases))
            world.fleet._quotas["broken"] = None  # type: ignore[assignment]  # no report can do this: every decision fails from now on
            world.server.touch()
            while "the last decision stands" not in caplog.text:
                await asyncio.sleep(0.01)
            assert await world.speak(proxy, float(proxy.sequence), is_urgent=True) == decided

    run(body)


def test_a_wall_clock_that_jumps_is_followed_as_after_a_machines_sleep(certificate: Path) -> None:
    unix_s = [1.0e9]

    async def body() -> None:
        async with exchange(certificate, wall_clock=lambda: unix_s[0]) as world:
            for unix_s[0] in (1.0e9, 1.0e9 + 7_200.0):
                await world.speak(SimulatedProxy("pod-0", sequence=int(unix_s[0])), 0.0, is_urgent=True)
                while abs(world.fleet.wall_offset_s + time.monotonic() - unix_s[0]) > 60.0:
                    await asyncio.sleep(0.01)

    run(body)


def test_an_urgent_report_is_answered_at_once_and_ends_the_older_poll(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxy = SimulatedProxy("pod-0")
            poll = await world.settle(proxy)
            urgent = await world.speak(proxy, 99.0, is_urgent=True)
            older = await poll
            assert (older.epoch, older.leases.keys()) == (urgent.epoch, urgent.leases.keys())

    run(body)


def test_open_breakers_flip_every_waiting_proxy(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxies = [SimulatedProxy(f"pod-{index}", offered_per_s=2.0) for index in range(3)]
            healthy = {"results": [results(good=10)]}
            for proxy in proxies:
                proxy.extra = healthy
            polls = [await world.settle(proxy) for proxy in proxies]
            broken = {"results": [results(bad=40)], "breakers": [breaker()]}
            for proxy in proxies[:2]:
                await world.speak(proxy, float(proxy.sequence), is_urgent=True, **broken)
            told = await world.until(polls[2], proxies[2], lambda told: bool(told.flips))
            assert told.flips == [Flip(model=PRIMARY)]

    run(body)


def test_changes_that_status_shows_are_announced(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxy = SimulatedProxy("pod-0")
            await world.settle(proxy)
            assert {key(), "prod"} <= set(world.changes)

    run(body)


def test_stopping_answers_the_open_polls(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxy = SimulatedProxy("pod-0")
            poll = await world.settle(proxy)
            await world.server.stop()
            assert (await poll).epoch == 3

    run(body)


def test_fifty_proxies_wait_at_the_same_time_and_hear_of_one_change(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            proxies = [SimulatedProxy(f"pod-{index}") for index in range(50)]
            polls = [await world.settle(proxy) for proxy in proxies]
            world.fleet.set_workload(workload(), config(workload(), revision=5))
            world.server.touch()
            await asyncio.gather(*(world.until(poll, proxy, has_config) for poll, proxy in zip(polls, proxies, strict=True)))
            assert [proxy.revision for proxy in proxies] == [5] * 50

    run(body)


def test_a_proxy_too_many_is_told_to_come_back_later(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate, settings=FleetSettings(report_interval_s=60.0, max_instances=1)) as world:
            await world.speak(SimulatedProxy("pod-0"), 0.0)
            status, answer = await world.post(encode_message(SimulatedProxy("pod-1").report(0.0)), "pod-1")
            assert status == 503
            assert "1 proxies" in answer.decode()

    run(body)


def test_a_renewed_certificate_is_served_to_new_connections(certificate: Path) -> None:
    async def body() -> None:
        async with exchange(certificate) as world:
            world.server._ssl_context.load_cert_chain(certificate)
            assert (await world.speak(SimulatedProxy("pod-0"), 0.0)).epoch == 3

    run(body)
