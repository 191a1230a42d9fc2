"""The exchange over real TLS: what a controller may do to a proxy, and what it may not."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from tests.sidecar.control_rig import GROUP, TOKEN, Proxy, config_for, drive, until
from tests.sidecar.exchange_peer import Answer, Authority, Peer

from claudeops.exchange import Assignment, Lease, Rates, Report, encode_message
from claudeops.policy.lease_state import LeasePhase
from claudeops.proxyconfig import ModelChoice, ProxyConfig


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path)


def assignment(epoch: int, version: int, requests: float = 5.0, **fields: object) -> Assignment:
    lease = Lease(rates=Rates(requests=requests, input_tokens=10_000.0, output_tokens=1000.0), is_contended=True)
    return Assignment(epoch=epoch, version=version, leases={GROUP: lease}, **fields)  # type: ignore[arg-type]


class Script:
    """Answers with whatever ``next`` makes; a poll is held until ``push`` or ``hold_s``, an urgent report is answered at once."""

    def __init__(self, answer: Assignment | Answer, hold_s: float = 5.0) -> None:
        self.answer = answer
        self.hold_s = hold_s
        self._pushed = asyncio.Event()
        self._is_first = True

    def push(self, answer: Assignment | Answer) -> None:
        self.answer = answer
        self._pushed.set()

    async def __call__(self, report: Report) -> Answer:
        if not report.is_urgent and not self._is_first:
            try:
                await asyncio.wait_for(self._pushed.wait(), self.hold_s)
            except TimeoutError:
                pass
        if not report.is_urgent:
            self._pushed.clear()
        self._is_first = False
        return encode_message(self.answer) if isinstance(self.answer, Assignment) else self.answer


@asynccontextmanager
async def running(peer: Peer, tmp_path: pathlib.Path, config: ProxyConfig | None = None) -> AsyncIterator[Proxy]:
    """A peer that listens and a proxy that reports to it."""
    token = tmp_path / "token"
    if not token.exists():
        token.write_text(TOKEN + "\n")
    if not peer.port:
        await peer.start()
    proxy = Proxy(config or config_for(peer), token)
    task = asyncio.create_task(proxy.client.run())
    try:
        yield proxy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await peer.stop()


def test_an_assignment_is_in_force_as_soon_as_it_is_answered(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        script = Script(assignment(4, 1, connections=9, max_in_flight=7))
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holds(5.0), "the lease")
            assert (proxy.runtime.connections, proxy.runtime.max_in_flight) == (9, 7)
            assert proxy.runtime.lease_phase is LeasePhase.FRESH
            assert (proxy.client.error, proxy.client.epoch, proxy.client.version) == ("", 4, 1)
            first = peer.received[0]
            assert (first.report.instance, first.report.workload.name, first.report.revision, first.token) == ("uid-1", "bot", 3, TOKEN)
            script.push(assignment(4, 2, requests=2.0))
            await until(lambda: proxy.holds(2.0), "the pushed lease")
            assert (peer.received[1].report.epoch, peer.received[1].report.version) == (4, 1)
            assert {received.connection for received in peer.received} == {0}

    drive(work)


def test_a_lease_ends_its_ttl_after_the_report_was_sent_and_not_after_it_was_answered(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        async def slow(report: Report) -> Answer:
            await asyncio.sleep(0.4)
            return encode_message(assignment(4, report.sequence, ttl_s=0.3))

        peer = Peer(authority, slow)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "an answer")
            held = proxy.group.held
            assert held is not None and held.sent_at <= peer.received[0].at
            proxy.runtime.refresh_leases(time.monotonic())
            assert proxy.runtime.lease_phase is LeasePhase.REDUCED
            assert proxy.group.limiter.lease.requests == pytest.approx(0.7 * 5.0)

    drive(work)


def test_without_a_controller_the_last_lease_is_kept_in_part_and_renewed_when_it_is_back(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    async def work() -> None:
        script = Script(assignment(4, 1, ttl_s=0.5), hold_s=0.1)
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holds(5.0), "the lease")
            await peer.stop()
            await until(lambda: proxy.holds(3.5), "the reduced lease")
            await until(lambda: bool(proxy.client.error), "the complaint")
            again = Peer(authority, Script(assignment(5, 1, requests=6.0)))
            await again.start(peer.port)
            await until(lambda: proxy.holds(6.0), "the lease of the next leader")
            assert proxy.client.error == ""
            assert again.received[0].report.lease_state == "Reduced"
            await again.stop()

    drive(work)


def test_a_lower_epoch_or_version_is_ignored_while_the_lease_in_force_runs(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        script = Script(assignment(4, 7))
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holds(5.0), "the lease")
            for lower in (assignment(4, 6, requests=1.0), assignment(3, 9, requests=1.0)):
                answers = proxy.client.answers
                script.push(lower)
                await until(lambda: proxy.client.answers > answers, "the answer")  # noqa: B023  # awaited within the turn
                assert proxy.holds(5.0) and (proxy.client.epoch, proxy.client.version) == (4, 7)

    drive(work)


def test_when_its_lease_has_ended_whoever_answers_is_the_controller(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        script = Script(assignment(4, 7, ttl_s=0.3), hold_s=0.5)
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holds(5.0), "the lease")
            script.answer = assignment(1, 1, requests=2.0)
            await until(lambda: proxy.client.epoch == 1, "the lower epoch")
            assert proxy.holds(2.0)

    drive(work)


def test_the_assignment_in_force_said_again_renews_the_lease(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        peer = Peer(authority, Script(assignment(4, 1), hold_s=0.05))
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holds(5.0), "the lease")
            held = proxy.group.held
            assert held is not None
            await until(lambda: proxy.group.held is not None and proxy.group.held.sent_at > held.sent_at, "the renewal")

    drive(work)


def test_urgent_reports_go_on_a_second_connection_at_most_twice_a_second(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        peer = Peer(authority, Script(assignment(4, 1)))
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "the first answer")
            begin = time.monotonic()
            while sum(received.report.is_urgent for received in peer.received) < 3:
                proxy.client.hurry("429")
                await asyncio.sleep(0.005)
                assert time.monotonic() < begin + 10.0
            urgent = [received for received in peer.received if received.report.is_urgent]
            assert len(urgent) <= 1 + (time.monotonic() - begin) / 0.5
            assert {received.connection for received in urgent} == {1}
            assert {received.connection for received in peer.received if not received.report.is_urgent} == {0}

    drive(work)


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_at_once(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        polite = Script(assignment(4, 1))
        urgent_seen = 0

        async def script(report: Report) -> Answer:
            nonlocal urgent_seen
            if report.is_urgent:
                urgent_seen += 1
                if urgent_seen == 2:
                    return None
            return await polite(report)

        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "the first answer")
            for count in (2, 3):
                proxy.client.hurry("429")
                await until(lambda: proxy.client.answers >= count, "the urgent answer")  # noqa: B023  # awaited within the turn
            assert proxy.client.failures == 0
            assert [received.connection for received in peer.received if received.report.is_urgent] == [1, 1, 2]

    drive(work)


def test_a_configuration_that_comes_by_the_exchange_is_in_force_and_reported(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        script = Script(assignment(4, 1))
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            newer = config_for(peer, revision=8, prompt_cache="Always")
            await until(lambda: proxy.client.answers > 0, "the first answer")
            script.push(assignment(4, 2, config=newer))
            await until(lambda: proxy.runtime.config == newer, "the newer configuration")
            await until(lambda: peer.received[-1].report.revision == 8, "its report")
            assert proxy.holder.source == "exchange" and peer.received[-1].report.config_hash == proxy.holder.current_hash

    drive(work)


def test_a_configuration_that_cannot_be_used_leaves_the_last_good_one_and_is_not_asked_for_again_and_again(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    async def work() -> None:
        peer = Peer(authority, Script(None))
        await peer.start()
        bad = config_for(peer, revision=8, model=ModelChoice(name="claude-nobody-1"))
        script = Script(assignment(4, 1, config=bad), hold_s=0.0)
        peer.script = script
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holder.error_source == "exchange", "the refusal")
            assert proxy.holder.revision == 3 and "claude-nobody-1" in proxy.holder.error
            assert proxy.holds(5.0), "the lease beside it holds"
            begin = time.monotonic()
            await until(lambda: time.monotonic() > begin + 1.0, "a second")
            assert len(peer.received) <= 2
            assert proxy.holder.errors == 1

    drive(work)


BROKEN: dict[str, tuple[Answer, str]] = {
    "not leading": ((503, b"not the leader"), "answered 503"),
    "not this pod": ((403, b"another workload"), "answered 403: another workload"),
    "moved": ((302, b""), "answered 302"),
    "hangs up": (None, "closed the connection"),
    "no JSON": (b"<html>", "not an exchange message"),
    "unknown field": (b'{"protocol":1,"epoch":9,"version":9,"surprise":1}', "not an exchange message"),
    "later protocol": (b'{"protocol":2,"epoch":9,"version":9}', "not an exchange message"),
    "negative rate": (b'{"protocol":1,"epoch":9,"version":9,"leases":{"g":{"rates":{"requests":-1}}}}', "not an exchange message"),
    "far too long": (b" " * (5 * 1024 * 1024), "more than"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_cannot_be_used_changes_nothing_and_is_got_over(name: str, authority: Authority, tmp_path: pathlib.Path) -> None:
    answer, complaint = BROKEN[name]

    async def work() -> None:
        script = Script(assignment(4, 1), hold_s=0.05)
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.holds(5.0), "the lease")
            script.answer = answer
            await until(lambda: complaint in proxy.client.error, complaint)
            assert proxy.holds(5.0) and proxy.client.epoch == 4
            script.answer = assignment(4, 2, requests=6.0)
            await until(lambda: proxy.holds(6.0), "the next good answer")
            assert proxy.client.error == ""

    drive(work)


@pytest.mark.parametrize("fault", ["another name", "another CA", "no CA at all"])
def test_nobody_but_the_controller_gets_the_token(fault: str, authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        peer = Peer(Authority(tmp_path, "somebody.else.svc") if fault == "another name" else authority, Script(assignment(4, 1)))
        await peer.start()
        config = config_for(peer)
        assert config.controller is not None
        if fault != "another name":
            bundle = Authority(tmp_path).ca_pem if fault == "another CA" else "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
            config = msgspec.structs.replace(config, controller=msgspec.structs.replace(config.controller, ca_bundle=bundle))
        async with running(peer, tmp_path, config) as proxy:
            await until(lambda: proxy.client.failures > 1, "the complaints")
            assert "no answer from the controller" in proxy.client.error
            assert peer.received == [] and proxy.client.epoch == 0

    drive(work)


def test_the_token_is_read_anew_for_every_report_and_waited_for(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        peer = Peer(authority, Script(assignment(4, 1), hold_s=0.05))
        async with running(peer, tmp_path) as proxy:
            await until(lambda: bool(peer.received), "the first report")
            (tmp_path / "token").unlink()
            await until(lambda: "cannot read the token" in proxy.client.error, "the complaint")
            (tmp_path / "token").write_text("token-two")
            await until(lambda: peer.received[-1].token == "token-two", "the new token")

    drive(work)


def test_counts_that_got_lost_on_the_way_arrive_with_a_later_report(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        script = Script(assignment(4, 1), hold_s=0.05)
        peer = Peer(authority, script)
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "the first answer")
            await peer.stop()
            await until(lambda: bool(proxy.client.error), "the complaint")
            proxy.group.counters.shed += 7
            failures = proxy.client.failures
            await until(lambda: proxy.client.failures > failures + 1, "reports with the counts that failed")
            again = Peer(authority, Script(assignment(5, 1), hold_s=0.05))
            await again.start(peer.port)
            await until(lambda: len(again.received) > 2, "reports that arrive")
            assert sum(received.report.groups[GROUP].shed for received in again.received) == 7
            await again.stop()

    drive(work)


def test_the_last_report_says_that_the_proxy_goes(authority: Authority, tmp_path: pathlib.Path) -> None:
    async def work() -> None:
        peer = Peer(authority, Script(assignment(4, 1)))
        async with running(peer, tmp_path) as proxy:
            await until(lambda: proxy.client.answers > 0, "the first answer")
            proxy.runtime.start_drain()
            await proxy.client.say_goodbye()
            assert peer.received[-1].report.is_draining and peer.received[-1].report.is_urgent

    drive(work)


def test_neither_token_nor_assignment_is_in_the_log(authority: Authority, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        script = Script((403, b"wrong token"), hold_s=0.05)
        async with running(Peer(authority, script), tmp_path) as proxy:
            await until(lambda: proxy.client.failures > 1, "the complaints")
            script.answer = assignment(4, 1)
            await until(lambda: proxy.client.answers > 0, "the answer")

    with caplog.at_level(logging.DEBUG):
        drive(work)
    assert len([record for record in caplog.records if record.name == "claudeops.sidecar.exchange"]) >= 2
    assert not any(TOKEN in str(record.__dict__) for record in caplog.records)
