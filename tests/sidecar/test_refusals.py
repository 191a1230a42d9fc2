"""The table of refusals, row by row, as a client sees it on its connection."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.sidecar.rig import PRIMARY, Reply, Rig, ask, config, proxy, resilience, run, simulator, until

from claudeops.proxyconfig import Bounds, BreakerPolicy, Limits, ModelChoice, Queue, Rates, Retry, Sampling, Timeouts
from claudeops.sidecar.answer import RULES
from claudeops.simulator import Simulator
from claudeops.simulator.fault import Fault

GROUP = "sonnet-4.x"
Setup = Callable[[Simulator, Rig], Awaitable[Reply]]


def limits(requests: float, **queue: Any) -> Limits:
    rates = Rates(requests_per_minute=requests, input_tokens_per_minute=60_000_000, output_tokens_per_minute=60_000_000)
    return Limits(baseline={GROUP: rates}, queue=Queue(**queue))


async def nonsense(api: Simulator, rig: Rig) -> Reply:
    return await rig.call(b"{")


async def too_large(api: Simulator, rig: Rig) -> Reply:
    return await rig.call(b"", headers={"content-length": str(33 * 1024 * 1024), "x-filler": "1"}, method="PUT")


async def elsewhere(api: Simulator, rig: Rig) -> Reply:
    return await rig.call(ask(), path="/v1/nowhere")


async def other_model(api: Simulator, rig: Rig) -> Reply:
    model = ModelChoice(name=PRIMARY, client_choice="Listed")
    rig.apply(config(api.url, revision=2, model=model, sampling=Sampling(on_violation="Reject")))
    return await rig.call(ask(model="claude-opus-5"))


async def other_parameter(api: Simulator, rig: Rig) -> Reply:
    rig.apply(config(api.url, revision=2, sampling=Sampling(on_violation="Reject", temperature=Bounds(max=0.4))))
    return await rig.call(ask(temperature=0.9))


async def without_key(api: Simulator, rig: Rig) -> Reply:
    rig.runtime.set_key(None)
    return await rig.call(ask())


async def with_a_wrong_key(api: Simulator, rig: Rig) -> Reply:
    rig.runtime.set_key(b"sk-ant-other")
    return await rig.call(ask())


async def beyond_the_lease(api: Simulator, rig: Rig) -> Reply:
    rig.apply(config(api.url, revision=2, limits=limits(6.0, max_wait_s=3.0)))
    return await until_refused(rig)


async def beyond_the_clients_timeout(api: Simulator, rig: Rig) -> Reply:
    rig.apply(config(api.url, revision=2, limits=limits(6.0, max_wait_s=600.0)))
    return await until_refused(rig, {"x-stainless-timeout": "2"})


async def until_refused(rig: Rig, headers: dict[str, str] | None = None) -> Reply:
    reply = await rig.call(ask(), headers=headers)
    while reply.status == 200:
        reply = await rig.call(ask(), headers=headers)
    return reply


async def in_a_full_queue(api: Simulator, rig: Rig) -> Reply:
    rig.apply(config(api.url, revision=2, limits=limits(60_000.0, max_wait_s=600.0, max_length=1)))
    api.set_faults([Fault(kind="slow", delay_s=30.0)])
    rig.runtime.max_in_flight = 1
    for number in range(2):
        client = await rig.connect()
        await client.send(json.dumps(ask()).encode())
        await until(lambda number=number: rig.runtime.in_flight + rig.runtime.queued == number + 1)  # type: ignore[misc]
    return await rig.call(ask())


async def behind_an_open_breaker(api: Simulator, rig: Rig) -> Reply:
    rig.apply(config(api.url, revision=2, resilience=resilience(breaker=BreakerPolicy(minimum_requests=1), retry=Retry(max_attempts=1))))
    api.set_faults([Fault(kind="error500")])
    await rig.call(ask())
    return await rig.call(ask())


async def from_nobody(api: Simulator, rig: Rig) -> Reply:
    api.set_faults([Fault(kind="reset")])
    return await rig.call(ask())


async def from_silence(api: Simulator, rig: Rig) -> Reply:
    timeouts = Timeouts(connect_s=1, first_byte_s=0.1, stream_idle_s=1, total_s=0.2)
    rig.apply(config(api.url, revision=2, resilience=resilience(timeouts=timeouts)))
    api.set_faults([Fault(kind="slow", delay_s=30.0)])
    return await rig.call(ask())


async def while_draining(api: Simulator, rig: Rig) -> Reply:
    rig.pipeline.start_drain()
    return await rig.call(ask())


async def before_a_configuration(api: Simulator, rig: Rig) -> Reply:
    rig.runtime.config = None
    return await rig.call(ask())


ROWS: list[tuple[Setup, int, str, str, tuple[int, int] | None, bool]] = [
    (nonsense, 400, "invalid_request_error", "bad_request", None, False),
    (too_large, 413, "request_too_large", "too_large", None, False),
    (elsewhere, 404, "not_found_error", "no_such_path", None, False),
    (other_model, 403, "permission_error", "policy", None, True),
    (other_parameter, 400, "invalid_request_error", "policy", None, True),
    (without_key, 503, "api_error", "credentials", None, True),
    (with_a_wrong_key, 503, "api_error", "credentials", None, True),
    (beyond_the_lease, 429, "rate_limit_error", "quota", (4, 60), False),
    (beyond_the_clients_timeout, 429, "rate_limit_error", "deadline", (2, 60), False),
    (in_a_full_queue, 429, "rate_limit_error", "queue_full", (1, 60), False),
    (behind_an_open_breaker, 529, "overloaded_error", "breaker_open", (25, 30), False),
    (from_nobody, 502, "api_error", "upstream", None, False),
    (from_silence, 504, "timeout_error", "upstream", None, False),
    (while_draining, 503, "api_error", "draining", (1, 1), False),
    (before_a_configuration, 503, "api_error", "not_ready", (1, 1), False),
]
"""How to come by it; status, type, reason; bounds of retry-after; is x-should-retry false?"""


@pytest.mark.parametrize(("setup", "status", "kind", "reason", "wait_s", "is_final"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_every_refusal_is_of_the_apis_shape(
    setup: Setup, status: int, kind: str, reason: str, wait_s: tuple[int, int] | None, is_final: bool
) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await setup(api, rig)
            assert (reply.status, reply.json["error"]["type"], reply.reason) == (status, kind, reason), reply.body
            assert reply.json["type"] == "error"
            assert reply.json["error"]["message"]
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers.get("x-should-retry") == ("false" if is_final else None)
            if wait_s is None:
                assert "retry-after" not in reply.headers
            else:
                assert wait_s[0] <= int(reply.headers["retry-after"]) <= wait_s[1]
            if reason not in ("too_large",):  # what is not framed has no name
                assert reply.headers["request-id"] == reply.json["request_id"]

    run(test)


def test_the_table_is_whole() -> None:
    assert {row[3] for row in ROWS} >= set(RULES) - {"context", "vision", "budget"}


def test_a_refusal_leaves_the_connection_usable() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            for body, status in ((b"{", 400), (json.dumps(ask()).encode(), 200)) * 2:
                await client.send(body)
                assert (await client.read()).status == status

    run(test)
