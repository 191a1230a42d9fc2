"""Identical requests at the same time are one call to the API, and each of their clients is served as if it had been alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.sidecar.desk import Desk, desk
from tests.sidecar.rig import FALLBACK, PRIMARY, Client, Reply, Rig, ask, config, is_settled, proxy, resilience, run, simulator, until
from tests.virtual_loop import VirtualLoop, run_virtually

from claudeops.proxyconfig import Limits, ModelChoice, ProxyConfig, Queue, Retry, Sampling
from claudeops.simulator.fault import Fault


def sharing(url: str, **parts: Any) -> ProxyConfig:
    return config(url, **({"single_flight": "Identical"} | parts))


async def send(rig: Rig, body: Any, **how: Any) -> Client:
    client = await rig.connect()
    await client.send(body if isinstance(body, bytes) else json.dumps(body).encode(), **how)
    return client


def followers(rig: Rig) -> int:
    return sum(len(flight.followers) for flight in rig.pipeline.flights.open.values())


async def gather(rig: Rig, api: Desk, bodies: list[Any], how: list[dict[str, Any]] | None = None) -> list[Client]:
    """The clients of these requests: the first one leads, the others follow."""
    how = how or [{}] * len(bodies)
    clients = [await send(rig, bodies[0], **how[0])]
    await until(lambda: len(api.arrivals) == 1)
    for body, each in zip(bodies[1:], how[1:], strict=True):
        clients.append(await send(rig, body, **each))
    await until(lambda: followers(rig) == len(bodies) - 1)
    return clients


def counts(rig: Rig) -> dict[tuple[int, str], int]:
    return rig.runtime.models[PRIMARY].counters[0].requests


def has_landed(rig: Rig) -> bool:
    return not rig.pipeline.flights.open and is_settled(rig)


def test_identical_requests_are_one_call_and_counted_as_many() -> None:
    async def test() -> None:
        async with desk() as api, proxy(sharing(api.url)) as rig:
            order = ["messages", "model", "max_tokens"]
            shuffled = json.dumps({name: ask()[name] for name in order}, separators=(",", ":")).encode()
            plain = json.dumps(ask(), separators=(",", ":")).encode()
            how = [{"headers": {"x-claudeops-session": name, "user-agent": name}} for name in "abc"]
            clients = await gather(rig, api, [plain, plain, shuffled], how)
            assert (rig.runtime.in_flight, rig.runtime.queued) == (1, 0)
            (await api.next()).answer()
            replies = [await client.read() for client in clients]
            assert [(reply.status, reply.headers["request-id"]) for reply in replies] == [(200, "req_1")] * 3
            assert len({reply.body for reply in replies}) == 1
            assert counts(rig) == {(200, ""): 3}
            counters = rig.runtime.models[PRIMARY].counters[0]
            assert (sum(counters.duration.counts), sum(counters.overhead.counts), counters.upstream) == (3, 1, {200: 1})
            used = rig.runtime.models[PRIMARY].used
            assert (used.standard.output, used.shared.output, used.shared_pico()) == (5, 10, 2 * sum(used.cost_pico().values()))
            assert has_landed(rig)
            for client in clients:  # each connection goes on
                await client.send(json.dumps(ask("again")).encode())
                (await api.next()).answer()
                assert (await client.read()).status == 200
            assert len(api.arrivals) == 4

    run(test)


DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (ask("other"), {}),
    (ask(temperature=0.5), {}),
    (ask(metadata={"user_id": "u"}), {}),
    (ask(stream=True), {}),
    (ask(), {"headers": {"x-claudeops-coalesce": "0"}}),
    (ask(), {"headers": {"anthropic-version": "2026-10-21"}}),
    (ask(), {"headers": {"anthropic-beta": "context-1m"}}),
    (ask(), {"path": "/v1/messages?beta=true"}),
]


@pytest.mark.parametrize(("body", "how"), DIFFERENT)
def test_what_differs_is_a_call_of_its_own(body: dict[str, Any], how: dict[str, Any]) -> None:
    async def test() -> None:
        async with desk() as api, proxy(sharing(api.url)) as rig:
            clients = [await send(rig, ask()), await send(rig, body, **how)]
            for _ in clients:
                (await api.next()).answer()
            assert [(await client.read()).status for client in clients] == [200, 200]

    run(test)


@pytest.mark.parametrize("mode", ["Off", "Identical"])
def test_nothing_is_shared_where_it_is_off_whatever_the_header_says(mode: str) -> None:
    async def test() -> None:
        async with desk() as api, proxy(config(api.url, single_flight=mode)) as rig:
            clients = [await send(rig, ask(), headers={"x-claudeops-coalesce": "1"}) for _ in range(2)]
            if mode == "Off":
                (await api.next()).answer()
            (await api.next()).answer()
            assert [(await client.read()).status for client in clients] == [200, 200]
            assert len(api.arrivals) == (2 if mode == "Off" else 1)

    run(test)


def test_who_comes_after_the_answer_calls_anew() -> None:
    async def test() -> None:
        async with desk() as api, proxy(sharing(api.url)) as rig:
            for _ in range(2):
                client = await send(rig, ask())
                (await api.next()).answer()
                assert (await client.read()).status == 200

    run(test)


def test_a_client_that_leaves_takes_nobody_with_it() -> None:
    async def test() -> None:
        async with desk() as api, proxy(sharing(api.url)) as rig:
            first, second, third, fourth = await gather(rig, api, [ask()] * 4)
            first.close()
            await until(lambda: counts(rig) == {(499, ""): 1})
            third.close()
            await until(lambda: counts(rig) == {(499, ""): 2})
            assert followers(rig) == 1
            (await api.next()).answer()
            assert [(await client.read()).status for client in (second, fourth)] == [200, 200]
            assert counts(rig) == {(499, ""): 2, (200, ""): 2}
            assert has_landed(rig)

    run(test)


def test_a_call_that_nobody_waits_for_any_more_is_given_up() -> None:
    async def test() -> None:
        async with desk() as api, proxy(sharing(api.url)) as rig:
            clients = await gather(rig, api, [ask()] * 3)
            arrival = await api.next()
            for client in clients:
                client.close()
            await until(lambda: arrival.is_gone)
            assert counts(rig) == {(499, ""): 3}
            assert has_landed(rig)

    run(test)


def test_a_failure_is_retried_once_for_all_and_shared_when_it_stays() -> None:
    async def test() -> None:
        retry = Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100)
        async with desk() as api, proxy(sharing(api.url, resilience=resilience(retry=retry))) as rig:
            clients = await gather(rig, api, [ask()] * 3)
            for _ in range(2):
                (await api.next()).answer({"type": "error", "error": {"type": "api_error", "message": "no"}}, status=500)
            replies = [await client.read() for client in clients]
            assert [(reply.status, reply.json["error"]["message"]) for reply in replies] == [(500, "no")] * 3
            assert counts(rig) == {(500, ""): 3}
            assert has_landed(rig)

    run(test)


def test_an_upstream_that_breaks_off_is_a_refusal_to_each() -> None:
    async def test() -> None:
        retry = Retry(max_attempts=1, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100)
        async with desk() as api, proxy(sharing(api.url, resilience=resilience(retry=retry))) as rig:
            clients = await gather(rig, api, [ask()] * 3, [{}, {"headers": {"connection": "close"}}, {}])
            (await api.next()).writer.close()
            replies = [await client.read() for client in clients]
            assert [(reply.status, reply.reason) for reply in replies] == [(502, "upstream")] * 3
            assert len({reply.headers["request-id"] for reply in replies}) == 3
            assert ["connection" in reply.headers for reply in replies] == [False, True, False]
            assert counts(rig) == {(502, "upstream"): 3}
            assert has_landed(rig)

    run(test)


def test_a_large_answer_goes_to_all_as_it_arrives() -> None:
    async def test() -> None:
        async with desk() as api, proxy(sharing(api.url)) as rig:
            clients = await gather(rig, api, [ask()] * 3)
            document = json.dumps({"content": "x" * 900_000, "usage": {"input_tokens": 1, "output_tokens": 2}}).encode()
            arrival = await api.next()
            arrival.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(document), document[:500_000]))
            await until(lambda: not rig.pipeline.flights.open)
            late = await send(rig, ask())
            (await api.next()).answer()
            assert (await late.read()).status == 200
            arrival.writer.write(document[500_000:])
            assert [(await client.read()).body == document for client in clients] == [True] * 3
            assert has_landed(rig)

    run(test)


def test_those_who_wait_for_quota_together_hold_one_place_in_the_queue() -> None:
    async def test() -> None:
        limits = Limits(max_in_flight=1, queue=Queue(max_wait_s=20.0, max_length=10))
        async with desk() as api, proxy(sharing(api.url, limits=limits)) as rig:
            blocker = await send(rig, ask("block"))
            first = await api.next()
            clients = [await send(rig, ask()) for _ in range(3)]
            await until(lambda: followers(rig) == 2)
            assert rig.runtime.queued == 1
            first.answer()
            (await api.next()).answer()
            assert [(await client.read()).status for client in (blocker, *clients)] == [200] * 4
            assert len(api.arrivals) == 2

    run(test)


def test_after_a_fallback_those_who_are_still_identical_meet_again() -> None:
    async def test() -> None:
        model = ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,))
        retry = Retry(max_attempts=1, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100)
        async with desk() as api, proxy(sharing(api.url, model=model, resilience=resilience(retry=retry))) as rig:
            clients = await gather(rig, api, [ask()] * 3)
            (await api.next()).answer({"type": "error", "error": {"type": "api_error", "message": "no"}}, status=500)
            second = await api.next()
            assert second.json["model"] == FALLBACK
            await until(lambda: followers(rig) == 2)
            second.answer()
            replies = [await client.read() for client in clients]
            assert [(reply.status, reply.headers["x-claudeops-tier"]) for reply in replies] == [(200, "fallback")] * 3
            assert rig.runtime.models[FALLBACK].counters[1].requests == {(200, ""): 3}
            assert len(api.arrivals) == 2
            assert has_landed(rig)

    run(test)


def test_a_new_configuration_parts_what_it_makes_different() -> None:
    async def test() -> None:
        clamp = Sampling(profile="p", on_violation="Clamp")
        limits = Limits(max_in_flight=1)
        async with desk() as api, proxy(sharing(api.url, limits=limits, sampling=clamp)) as rig:
            blocker = await send(rig, ask("block"))
            first = await api.next()
            clients = [await send(rig, ask()) for _ in range(2)]
            await until(lambda: followers(rig) == 1)
            rig.apply(sharing(api.url, revision=2, limits=limits, single_flight="Off"))
            await until(lambda: rig.runtime.queued == 2)
            first.answer()
            for _ in clients:
                (await api.next()).answer()
            assert [(await client.read()).status for client in (blocker, *clients)] == [200] * 3
            assert has_landed(rig)

    run(test)


def test_many_clients_that_come_and_go_leave_nothing_behind() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(sharing(api.url)) as rig:
            api.set_faults([Fault(kind="error500", probability=0.2)])

            async def one(number: int) -> Reply | None:
                client = await send(rig, ask(f"question {number % 3}"))
                if number % 5 == 0:
                    client.close()
                    return None
                reply = await client.read()
                client.close()
                return reply

            replies = await asyncio.gather(*(one(number) for number in range(60)))
            assert {reply.status for reply in replies if reply is not None} <= {200, 500}
            await until(lambda: has_landed(rig) and sum(counts(rig).values()) == 60)
            assert len(api.requests()) < 60

    run(test)


def test_who_follows_is_waited_for_as_long_as_it_waits_and_goes_with_its_own_class() -> None:
    """Whatever the leader's patience and class are."""

    async def test(loop: VirtualLoop) -> None:
        limits = Limits(max_in_flight=1, queue=Queue(max_wait_s=20.0, max_length=10))
        background = {"x-claudeops-priority": "background"}
        async with desk() as api, proxy(sharing(api.url, limits=limits)) as rig:
            rig.pipeline.admission.latency.value = 0.1  # nobody is refused for the length of the wait
            blocker = await send(rig, ask("block"))
            first = await api.next()
            other = await send(rig, ask("other"), headers=background)
            await until(lambda: rig.runtime.queued == 1)
            leader = await send(rig, ask(), headers=background | {"x-stainless-timeout": "3"})
            await until(lambda: rig.runtime.queued == 2)
            patient = await send(rig, ask(), headers=background)
            await until(lambda: followers(rig) == 1)
            urgent = await send(rig, ask())
            await until(lambda: followers(rig) == 2)
            await asyncio.sleep(9.0)
            first.answer()
            shared = await api.next()
            assert shared.json == ask()
            shared.answer()
            (await api.next()).answer()
            assert [(await client.read()).status for client in (blocker, other, leader, patient, urgent)] == [200] * 5
            assert len(api.arrivals) == 3
            assert has_landed(rig) and rig.runtime.queued == 0

    run_virtually(test)
