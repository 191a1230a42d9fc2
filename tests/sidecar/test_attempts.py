"""What an attempt leaves behind, however it ends: only what the API has been given is booked, and it is booked once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.sidecar.desk import desk
from tests.sidecar.rig import FALLBACK, PRIMARY, Client, Rig, ask, config, is_settled, proxy, resilience, until
from tests.virtual_loop import VirtualLoop, run_virtually

from claudeops.catalogue.price import Tokens
from claudeops.proxyconfig import BreakerPolicy, Limits, ModelChoice, ProxyConfig, Queue, Rates, Retry, Timeouts

ONCE = Retry(max_attempts=1)
OTHER = "claude-sonnet-5-5"


def document(url: str, **parts: Any) -> ProxyConfig:
    return config(url, **({"resilience": resilience(retry=ONCE)} | parts))


async def send(rig: Rig, body: dict[str, Any], **how: Any) -> Client:
    client = await rig.connect()
    await client.send(json.dumps(body).encode(), **how)
    return client


def test_a_connection_that_takes_too_long_to_open_has_used_nothing() -> None:
    async def test(loop: VirtualLoop) -> None:
        async with desk() as api, proxy(document(api.url)) as rig:
            port = int(api.url.rpartition(":")[2])
            loop.connecting = lambda to: 0.9 if to == port else 0.0
            limiter = rig.runtime.models[PRIMARY].group.limiter
            reply = await rig.call(ask(), headers={"x-stainless-timeout": "0.5"})
            assert (reply.status, reply.reason) == (504, "upstream")
            used = rig.runtime.models[PRIMARY].used
            assert (used.tokens(), used.unknown) == (Tokens(), {})
            assert rig.runtime.models[PRIMARY].group.counters.used_requests == 0
            assert (limiter.requests.level, limiter.input.level) == (limiter.requests.burst, limiter.input.burst)
            assert is_settled(rig) and not api.arrivals

    run_virtually(test)


def test_an_error_whose_body_does_not_come_has_used_nothing() -> None:
    async def test(loop: VirtualLoop) -> None:
        short = resilience(retry=ONCE, timeouts=Timeouts(connect_s=1, first_byte_s=5, stream_idle_s=1, total_s=30))
        async with desk() as api, proxy(document(api.url, resilience=short)) as rig:
            for leaves in (False, True):
                client = await rig.connect()
                await client.send(json.dumps(ask()).encode())
                (await api.next()).writer.write(b"HTTP/1.1 529 X\r\ncontent-length: 9\r\n\r\n{")
                await asyncio.sleep(0.5)
                if leaves:
                    client.writer.transport.abort()
                else:
                    assert (await client.read()).status == 504
                await until(lambda: is_settled(rig))
                used = rig.runtime.models[PRIMARY]
                assert (used.used.tokens(), used.used.unknown, used.group.counters.used_requests) == (Tokens(), {}, 0)

    run_virtually(test)


def test_a_probe_that_the_api_was_given_is_booked_and_one_that_was_not_is_not() -> None:
    async def test(loop: VirtualLoop) -> None:
        eager = BreakerPolicy(minimum_requests=1, open_for_s=1.0)
        rules = resilience(retry=ONCE, breaker=eager, timeouts=Timeouts(connect_s=1, first_byte_s=5, stream_idle_s=5, total_s=30))
        async with desk() as api, proxy(document(api.url, resilience=rules)) as rig:
            model = rig.runtime.models[PRIMARY]
            client = await rig.connect()
            await client.send(json.dumps(ask()).encode())
            (await api.next()).answer({"type": "error", "error": {"type": "api_error", "message": "no"}}, status=500)
            assert (await client.read()).status == 500
            assert (await api.next()).json["max_tokens"] <= 50
            await asyncio.sleep(4.0)
            assert len(api.arrivals) == 2, "no probe beside one that is not answered"
            await until(lambda: model.breaker.state == "Open")
            assert (model.group.counters.used_requests, model.used.unknown) == (1, {"usage": 1}), "nobody has said what it used"
            (await api.next()).answer({"type": "error", "error": {"type": "api_error", "message": "no"}}, status=500)
            await until(lambda: model.breaker.state == "Open")
            (await api.next()).answer(b"{")
            await until(lambda: model.breaker.state == "Closed")
            assert (model.group.counters.used_requests, model.used.unknown) == (2, {"usage": 2})

    run_virtually(test)


BROKEN = {"type": "error", "error": {"type": "api_error", "message": "no"}}
THROTTLED = {"type": "error", "error": {"type": "rate_limit_error", "message": "no"}}


def test_who_waits_for_a_model_whose_breaker_opens_is_not_sent_to_it_any_more() -> None:
    async def test(loop: VirtualLoop) -> None:
        rules = resilience(retry=ONCE, breaker=BreakerPolicy(minimum_requests=1))
        async with desk() as api, proxy(document(api.url, resilience=rules, limits=Limits(max_in_flight=1))) as rig:
            clients = [await send(rig, ask())]
            arrival = await api.next()
            clients += [await send(rig, ask()) for _ in range(2)]
            await until(lambda: rig.runtime.queued == 2)
            arrival.answer(BROKEN, status=500)
            assert [(await client.read()).reason for client in clients] == [None, "breaker_open", "breaker_open"]
            assert len(api.arrivals) == 1

    run_virtually(test)


def test_other_models_are_tried_from_the_first_and_as_often_as_any() -> None:
    """What one of the old models has failed at is no fault of the new ones."""

    async def test(loop: VirtualLoop) -> None:
        twice = resilience(retry=Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100.0))
        async with desk() as api, proxy(document(api.url, model=ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,)), resilience=twice)) as rig:
            client = await send(rig, ask())
            for model in (PRIMARY, PRIMARY, FALLBACK):
                arrival = await api.next()
                assert arrival.json["model"] == model
                is_last = model == FALLBACK
                arrival.answer(THROTTLED if is_last else BROKEN, status=429 if is_last else 500, lines="retry-after: 9\r\n" * is_last)
            await until(lambda: rig.runtime.queued == 1)
            rig.apply(document(api.url, revision=2, model=ModelChoice(name=OTHER, fallbacks=(FALLBACK,)), resilience=twice))
            for is_well in (False, True):
                arrival = await api.next()
                assert arrival.json["model"] == OTHER
                arrival.answer(*(() if is_well else (BROKEN,)), status=200 if is_well else 500)
            assert (await client.read()).headers["x-claudeops-tier"] == "primary"

    run_virtually(test)


def test_a_place_that_is_given_back_unused_was_not_taken_for_less_than_no_time() -> None:
    async def test(loop: VirtualLoop) -> None:
        async with desk() as api, proxy(document(api.url, limits=Limits(max_in_flight=1))) as rig:
            blocker = await send(rig, ask("block"))
            arrival = await api.next()
            waiting = await send(rig, ask())
            await asyncio.sleep(15.0)
            rig.runtime.set_key(None)
            before = rig.pipeline.admission.latency.value
            arrival.answer()
            assert [(await client.read()).reason for client in (blocker, waiting)] == [None, "credentials"]
            assert rig.pipeline.admission.latency.value >= before
            assert is_settled(rig)

    run_virtually(test)


def test_streams_that_never_began_say_nothing_of_how_fast_streams_are() -> None:
    """After an hour in which the API has hung it is not to be met with fifty times too many."""

    async def test(loop: VirtualLoop) -> None:
        patient = BreakerPolicy(minimum_requests=1000)
        rules = resilience(retry=ONCE, breaker=patient, timeouts=Timeouts(connect_s=1, first_byte_s=60, stream_idle_s=5, total_s=90))
        lease = Rates(requests_per_minute=6_000, input_tokens_per_minute=600_000, output_tokens_per_minute=60_000)
        limits = Limits(baseline={"sonnet-4.x": lease}, queue=Queue(max_wait_s=1.0))
        async with desk() as api, proxy(document(api.url, resilience=rules, limits=limits)) as rig:
            gate = rig.runtime.models[PRIMARY].group.limiter.gate
            before = gate.slot_rate, gate.mean_output
            clients = [await send(rig, ask(stream=True)) for _ in range(10)]
            clients[0].writer.transport.abort()
            assert {(await client.read()).status for client in clients[1:]} == {504}
            gate.set_rate(gate.rate, rig.runtime.clock())  # adds up what was learned
            assert (gate.slot_rate, gate.mean_output, gate.in_flight) == (pytest.approx(before[0]), before[1], 0)

    run_virtually(test)
