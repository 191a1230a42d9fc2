"""The proxy's figures against the referee's: what the simulator says was used must be what the proxy has counted, to the token."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from itertools import count
from typing import Any

from tests.sidecar.rig import FALLBACK, PRIMARY, Rig, ask, config, proxy, resilience, run, simulator, until

from claudeops.catalogue import load_catalogue
from claudeops.catalogue.price import Tokens, cost_of, rates_of, usd
from claudeops.proxyconfig import BreakerPolicy, ModelChoice
from claudeops.simulator import Fault, Simulator
from claudeops.simulator.referee import Stats

CONNECTIONS, REQUESTS = 12, 15
MANUAL = "The warranty covers every part but the battery. " * 120


def prompt(number: int) -> dict[str, Any]:
    """JSON and streams; some prompts are cached for five minutes or an hour."""
    body = ask(f"question {number % 7}", stream=number % 2 == 0, max_tokens=20 + number % 50)
    if number % 3:
        mark = {"type": "ephemeral"} | ({"ttl": "1h"} if number % 3 == 2 else {})
        body["system"] = [{"type": "text", "text": f"Manual {number % 5}. {MANUAL}", "cache_control": mark}]
    return body


async def converse(rig: Rig, numbers: Any, answers: list[dict[str, Any]], *, leaves: bool = False) -> None:
    """One client after the other on one connection; a client that leaves does so when its stream has begun."""
    client = await rig.connect()
    for number in [next(numbers) for _ in range(REQUESTS)]:
        if number % 10 == 9:
            counted = {name: value for name, value in ask("count me").items() if name != "max_tokens"}
            await client.send(json.dumps(counted).encode(), path="/v1/messages/count_tokens")
            assert (await client.read()).status == 200
            continue
        body = prompt(number)
        await client.send(json.dumps(body).encode())
        if leaves and body["stream"] and number % 4 == 0:
            status, _ = await client.read_head()
            if status == 200:
                await client.read_chunk()
            client.close()
            client = await rig.connect()
            continue
        reply = await client.read()
        if reply.status == 200:
            answers.append(usage_of(reply.events) if body["stream"] else reply.json["usage"])


def usage_of(events: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _, data in events:
        found |= (data.get("message") or {}).get("usage") or data.get("usage") or {}
    return found


async def mixed_run(api: Simulator, rig: Rig, faults: list[Fault], *, leaves: bool = False) -> list[dict[str, Any]]:
    api.set_faults(faults)
    answers: list[dict[str, Any]] = []
    numbers = count()
    await asyncio.gather(*(converse(rig, numbers, answers, leaves=leaves) for _ in range(CONNECTIONS)))
    await until(lambda: rig.runtime.in_flight == 0 and all(group.in_flight == 0 for group in api.stats().groups))
    return answers


def booked(rig: Rig, model: str) -> Tokens:
    used = rig.runtime.ledger.get(model)
    return Tokens() if used is None else used.tokens()


def check_input_and_requests(rig: Rig, stats: Stats, *models: str) -> None:
    for model in models:
        group_name = load_catalogue().model(model).rate_limit_group  # type: ignore[union-attr]
        group, tokens = stats.group(group_name or ""), booked(rig, model)
        assert group is not None
        assert tokens.input + tokens.cache_write_5m + tokens.cache_write_1h == group.used.input_tokens
        assert tokens.cache_read == group.used.cache_read_tokens
        assert tokens.cache_write_5m + tokens.cache_write_1h == group.used.cache_written_tokens
        assert rig.runtime.groups[group_name or ""].counters.used_requests == group.used.requests


def check_upstream(rig: Rig, stats: Stats) -> None:
    """Every attempt that the simulator answered was counted by its code."""
    for model in (PRIMARY, FALLBACK):
        counted: dict[str, int] = {}
        for counters in rig.runtime.models[model].counters:
            for status, number in counters.upstream.items():
                counted[str(status)] = counted.get(str(status), 0) + number
        asked = stats.by_model.get(model, {})
        assert {code: number for code, number in counted.items() if code in ("429", "500")} == {
            code: number for code, number in asked.items() if code in ("429", "500")
        }


def document(url: str) -> Any:
    never_open = BreakerPolicy(consecutive_throttles=1000, minimum_requests=100_000)
    return config(url, model=ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,)), resilience=resilience(breaker=never_open))


def test_tokens_requests_and_cost_of_a_mixed_run_are_the_referee_s() -> None:
    async def test() -> None:
        async with simulator(speed=500.0) as api, proxy(document(api.url)) as rig:
            faults = [
                Fault("throttle", probability=0.05, count=1, model=PRIMARY),
                Fault("error500", probability=0.05, model=PRIMARY),
                Fault("overloaded", probability=0.3, model=PRIMARY),
                Fault("reset", probability=0.05, model=PRIMARY),
            ]
            answers = await mixed_run(api, rig, faults)
            stats = api.stats()
            check_input_and_requests(rig, stats, PRIMARY, FALLBACK)
            check_upstream(rig, stats)
            assert booked(rig, FALLBACK).output > 0, "the faults have driven nobody to the fallback"
            assert booked(rig, PRIMARY).cache_write_1h > 0 and booked(rig, PRIMARY).cache_read > 0
            total = booked(rig, PRIMARY).plus(booked(rig, FALLBACK))
            assert total.output == round(sum(group.used.output_tokens for group in stats.groups))
            assert total.output == sum(answer["output_tokens"] for answer in answers)
            assert total.prompt == sum(
                answer[name] for answer in answers for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
            )
            for used in rig.runtime.ledger.values():
                assert used.unknown == {} and used.guessed.tokens() == Tokens()
                assert used.model is not None
                rates = rates_of(used.model, load_catalogue().price_rules)
                assert rates is not None
                cost = usd(sum(used.cost_pico().values()))
                assert cost == usd(sum(cost_of(used.tokens(), rates))) > Decimal(0)

    run(test)


def test_of_answers_that_break_off_the_input_is_exact_and_the_rest_is_called_an_estimate() -> None:
    async def test() -> None:
        async with simulator(speed=100.0) as api, proxy(document(api.url)) as rig:
            await mixed_run(api, rig, [Fault("stream_error", probability=0.3, after_events=2)], leaves=True)
            check_input_and_requests(rig, api.stats(), PRIMARY)
            used = rig.runtime.ledger[PRIMARY]
            guessed = used.guessed.tokens()
            assert guessed.output > 0 and guessed.prompt == 0 and used.unknown == {}

    run(test)
