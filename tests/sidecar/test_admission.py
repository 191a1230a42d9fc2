"""Who may send, who waits, who is refused: the leased limits on real requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from tests.sidecar.desk import desk
from tests.sidecar.recorder import recorder, whole
from tests.sidecar.rig import FALLBACK, PRIMARY, Rig, ask, config, is_settled, proxy, resilience, run, simulator, until

from claudeops.catalogue import RateLimits
from claudeops.exchange import Assignment, Lease
from claudeops.exchange import Rates as LeaseRates
from claudeops.proxyconfig import Bounds, BreakerPolicy, ControllerAddress, Limits, ModelChoice, Queue, Rates, Retry, Sampling
from claudeops.sidecar.failure import RETRY_AFTER_MAX_S
from claudeops.sidecar.report import count_up
from claudeops.simulator.fault import Fault

GROUP = "sonnet-4.x"
PLENTY = LeaseRates(requests=1000.0, input_tokens=1e6, output_tokens=1e6)
CONTROLLER = ControllerAddress(url="https://exchange.invalid:8443", server_name="exchange", ca_bundle="x", audience="a")


def limits(requests: float = 60_000, output: float = 60_000_000, **parts: Any) -> Limits:
    rates = Rates(requests_per_minute=requests, input_tokens_per_minute=60_000_000, output_tokens_per_minute=output)
    return Limits(baseline={GROUP: rates}, **parts)


def lease(rates: LeaseRates, **parts: Any) -> Assignment:
    return Assignment(epoch=1, version=1, leases={GROUP: Lease(rates=rates)}, **parts)


def test_requests_beyond_the_lease_wait_and_are_served_in_time() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, limits=limits(requests=600))) as rig:
            began = rig.runtime.clock()
            replies = await asyncio.gather(*(rig.call(ask()) for _ in range(20)))
            assert {reply.status for reply in replies} == {200}
            assert rig.runtime.clock() - began >= 0.8, "ten a second, ten at once"
            assert max(int(reply.headers["x-claudeops-queue-ms"]) for reply in replies) >= 500
            assert "queue" in rig.urgent
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize("retry_after", ["172800", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_429_that_asks_for_more_than_a_day_keeps_its_group_away_for_at_least_one(retry_after: str) -> None:
    async def test() -> None:
        refused = whole(b'{"type":"error","error":{"type":"rate_limit_error","message":"no"}}', f"retry-after: {retry_after}", status=429)
        async with recorder(lambda body: refused) as api, proxy(config(api.url)) as rig:
            first, second = await rig.call(ask()), await rig.call(ask())
            assert (first.status, first.reason, first.headers["retry-after"]) == (429, None, retry_after)
            assert (second.status, second.headers["retry-after"]) == (429, "60")
            assert second.reason in ("quota", "deadline")
            assert len(api.seen) == 1
            paused_s = rig.runtime.groups[GROUP].limiter.paused_until - rig.runtime.clock()
            assert 0.99 * RETRY_AFTER_MAX_S < paused_s <= 1.5 * RETRY_AFTER_MAX_S

    run(test)


def test_fast_mode_has_limits_of_its_own_and_its_429s_stop_nobody_else() -> None:
    async def test() -> None:
        once = resilience(retry=Retry(max_attempts=1), breaker=BreakerPolicy(consecutive_throttles=1))
        document = partial(config, model=ModelChoice(name="claude-opus-5-5"), resilience=once)
        fast = {"opus-5.5": RateLimits(6000, 6_000_000, 6_000_000), "fast:opus-5.5": RateLimits(60, 60_000, 30_000)}
        async with simulator(tier=None, burst_s=1.0, limits=fast) as api, proxy(document(api.url)) as rig:
            assert [(await rig.call(ask(speed="fast"))).status for _ in range(2)] == [200, 429]
            assert (await rig.call(ask())).status == 200, "those who are in less of a hurry go on"
            assert rig.runtime.models["claude-opus-5-5"].breaker.state == "Closed"
            assert rig.runtime.models["claude-opus-5-5"].counters[0].throttles == {"FastLimited": 1}
            groups = rig.runtime.groups
            assert groups["opus-5.5/fast"].limiter.paused_until > rig.runtime.clock() > groups["opus-5.5"].limiter.paused_until
            limits_seen = [gauge.limit_per_s for gauge in groups["opus-5.5/fast"].limiter.gauges]
            assert limits_seen == [0.0, 1000.0, 500.0], "as anthropic-fast-* say"
            assert reported_codes(rig) == {"200": 2, "429": 1}

    run(test)


def reported_codes(rig: Rig) -> dict[str, float]:
    """What a report would say of the model: the codes, and no cause of a 429."""
    counts = count_up(rig.runtime, rig.runtime.clock())
    assert [key for key in counts if key[0] == "throttle"] == []
    return {key[2]: value for key, value in counts.items() if key[0] == "code"}


def test_a_wait_beyond_the_workloads_maximum_is_refused_as_quota() -> None:
    async def test() -> None:
        tight = limits(requests=6, queue=Queue(max_wait_s=3.0))
        async with simulator() as api, proxy(config(api.url, limits=tight)) as rig:
            assert (await rig.call(ask())).status == 200
            reply = await rig.call(ask())
            while reply.status == 200:
                reply = await rig.call(ask())
            assert (reply.status, reply.reason) == (429, "quota")
            assert reply.json["error"]["type"] == "rate_limit_error"
            assert 4 <= int(reply.headers["retry-after"]) <= 60
            assert rig.runtime.groups[GROUP].counters.shed == 1

    run(test)


def test_a_wait_beyond_the_clients_own_timeout_is_refused_as_deadline() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, limits=limits(requests=6))) as rig:
            impatient = {"x-stainless-timeout": "2"}
            reply = await rig.call(ask(), headers=impatient)
            while reply.status == 200:
                reply = await rig.call(ask(), headers=impatient)
            assert (reply.status, reply.reason) == (429, "deadline")

    run(test)


def test_a_full_queue_is_refused_as_such_whatever_model_those_in_it_wait_for() -> None:
    async def test() -> None:
        tight = limits(queue=Queue(max_wait_s=600.0, max_length=2))
        choice = ModelChoice(name=PRIMARY, client_choice="Listed", fallbacks=(FALLBACK,))
        async with simulator(speed=1.0, ttft_s=20.0) as api, proxy(config(api.url, limits=tight, model=choice)) as rig:
            rig.runtime.max_in_flight = 1
            for waiting, model in enumerate((PRIMARY, PRIMARY, FALLBACK)):
                await (await rig.connect()).send(json.dumps(ask(model=model)).encode())
                await until(lambda waiting=waiting: (rig.runtime.in_flight, rig.runtime.queued) == (1, waiting))  # type: ignore[misc]
            for model in (PRIMARY, FALLBACK):
                reply = await rig.call(ask(model=model))
                assert (reply.status, reply.reason) == (429, "queue_full")
                assert reply.json["error"]["message"].startswith("2 requests wait")
            assert rig.runtime.queued == 2

    run(test)


def test_one_who_waits_too_long_is_told_so() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, limits=limits())) as rig:
            api.set_faults([Fault(kind="slow", delay_s=30.0)])
            rig.runtime.max_in_flight = 1
            first = await rig.connect()
            await first.send(json.dumps(ask()).encode())
            await until(lambda: rig.runtime.in_flight == 1)
            rig.pipeline.admission.latency.value = 0.01
            reply = await rig.call(ask(), headers={"x-stainless-timeout": "0.3"})
            assert (reply.status, reply.reason) == (429, "deadline")
            assert rig.runtime.queued == 0

    run(test)


def test_max_in_flight_bounds_what_runs_at_once() -> None:
    async def test() -> None:
        async with (
            simulator(speed=1.0, ttft_s=0.1, tokens_per_s=2000.0) as api,
            proxy(config(api.url, limits=limits(max_in_flight=3, max_replicas=1))) as rig,
        ):
            seen = 0
            calls = [asyncio.ensure_future(rig.call(ask())) for _ in range(9)]
            while not all(call.done() for call in calls):
                seen = max(seen, rig.runtime.in_flight, sum(group.in_flight for group in api.stats().groups))
                await asyncio.sleep(0.005)
            assert {call.result().status for call in calls} == {200}
            assert seen == 3

    run(test)


def test_the_pools_size_bounds_what_runs_at_once_and_follows_the_assignment() -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=0.1, tokens_per_s=2000.0) as api, proxy(config(api.url, limits=limits())) as rig:
            rig.assign(lease(PLENTY, connections=2))
            seen = 0
            calls = [asyncio.ensure_future(rig.call(ask())) for _ in range(6)]
            while not all(call.done() for call in calls):
                counts = rig.pipeline.pool_counts()
                seen = max(seen, counts["busy"] + counts["opening"])
                await asyncio.sleep(0.005)
            assert seen == 2
            rig.assign(lease(PLENTY, connections=1))
            await until(lambda: sum(rig.pipeline.pool_counts().values()) == 1)

    run(test)


def test_who_waits_for_a_connection_waits_as_long_as_answers_take_and_is_not_refused_for_less() -> None:
    async def test() -> None:
        limits = Limits(queue=Queue(max_wait_s=5.0))
        async with simulator(speed=2000.0) as api, proxy(config(api.url, limits=limits)) as rig:
            rig.runtime.connections = 2
            for _ in range(40):
                assert (await rig.call(ask())).status == 200
            assert {(await reply).status for reply in [asyncio.ensure_future(rig.call(ask())) for _ in range(40)]} == {200}

    run(test)


@contextlib.asynccontextmanager
async def nobody_may_go(rig: Rig) -> AsyncIterator[None]:
    """Everybody waits; afterwards one goes at a time."""
    rig.runtime.max_in_flight = 0
    rig.pipeline.admission.latency.value = 0.01
    yield
    rig.runtime.max_in_flight = 1
    rig.runtime.on_room()


def test_interactive_requests_go_before_background_ones() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, limits=limits())) as rig:
            order: list[str] = []

            async def call(name: str, priority: str) -> None:
                await rig.call(ask(), headers={"x-claudeops-priority": priority})
                order.append(name)

            waiting = []
            async with nobody_may_go(rig):
                for name, priority in [("b1", "background"), ("b2", "background"), ("i1", "interactive")]:
                    waiting.append(asyncio.ensure_future(call(name, priority)))
                    await until(lambda: rig.runtime.queued == len(waiting))
            await asyncio.gather(*waiting)
            assert order == ["i1", "b1", "b2"]

    run(test)


def test_a_larger_lease_lets_those_who_wait_go_at_once() -> None:
    async def test() -> None:
        waiting_room = limits(queue=Queue(max_wait_s=600.0))
        async with simulator() as api, proxy(config(api.url, limits=waiting_room, controller=CONTROLLER)) as rig:
            rig.assign(lease(LeaseRates(requests=0.05, input_tokens=1e6, output_tokens=1e6)))
            assert (await rig.call(ask())).status == 200
            waiting = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: rig.runtime.queued == 1)
            rig.assign(lease(PLENTY))
            assert (await waiting).status == 200

    run(test)


def test_a_smaller_lease_sheds_those_who_would_wait_too_long() -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=5.0) as api, proxy(config(api.url, limits=limits(), controller=CONTROLLER)) as rig:
            rig.assign(lease(LeaseRates(requests=1.0, input_tokens=1e6, output_tokens=1e6)))
            calls = [asyncio.ensure_future(rig.call(ask())) for _ in range(6)]
            await until(lambda: (rig.runtime.queued, rig.runtime.in_flight) == (3, 3))
            rig.assign(lease(LeaseRates(requests=0.02, input_tokens=1e6, output_tokens=1e6)))
            await until(lambda: sum(call.done() for call in calls) == 3)
            assert {call.result().reason for call in calls if call.done()} == {"quota"}
            for call in calls:
                call.cancel()

    run(test)


def test_without_a_controllers_answer_the_minimum_holds() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, controller=CONTROLLER)) as rig:
            assert rig.runtime.groups[GROUP].limiter.lease.requests == 0.5
            assert (await rig.call(ask())).status == 200
            assert rig.runtime.lease_phase.value == "Baseline"

    run(test)


def test_the_levels_in_the_headers_slow_the_proxy_before_a_429() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, limits=limits())) as rig:
            rig.assign(
                Assignment(
                    epoch=1,
                    version=1,
                    leases={GROUP: Lease(rates=PLENTY, limits=LeaseRates(requests=83.3, input_tokens=83_333, output_tokens=16_667))},
                )
            )
            assert (await rig.call(ask())).status == 200
            gauges = rig.runtime.groups[GROUP].limiter.gauges
            assert [round(gauge.limit_per_s * 60) for gauge in gauges] == [5000, 5_000_000, 1_000_000]
            assert len(rig.runtime.organization_ids) == 1
            assert len(rig.runtime.workspace_ids) == 1

    run(test)


def test_an_api_that_shows_its_most_restrictive_limit_only_slows_the_proxy_too() -> None:
    async def test() -> None:
        async with desk() as api, proxy(config(api.url, limits=limits())) as rig:

            async def serve() -> None:
                for remaining in (200_000, *[1_000] * 200):
                    shown = f"anthropic-ratelimit-tokens-limit: 600000\r\nanthropic-ratelimit-tokens-remaining: {remaining}\r\n"
                    (await api.next()).answer(lines=shown)

            serving = asyncio.ensure_future(serve())
            assert (await rig.call(ask())).status == 200
            limiter = rig.runtime.groups[GROUP].limiter
            assert limiter.scale == 1.0
            while limiter.scale == 1.0:
                assert (await rig.call(ask())).status == 200
            assert limiter.scale < 0.52
            serving.cancel()

    run(test)


def test_a_changed_configuration_holds_for_those_who_wait_too() -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=0.3) as api, proxy(config(api.url, limits=limits())) as rig:
            rig.runtime.max_in_flight = 1
            running = asyncio.ensure_future(rig.call(ask(temperature=0.9)))
            await until(lambda: rig.runtime.in_flight == 1)
            waiting = asyncio.ensure_future(rig.call(ask(temperature=0.9)))
            await until(lambda: rig.runtime.queued == 1)
            rig.apply(config(api.url, revision=2, limits=limits(max_in_flight=1), sampling=Sampling(temperature=Bounds(max=0.2))))
            assert "x-claudeops-adjusted" not in (await running).headers
            assert (await waiting).headers["x-claudeops-adjusted"] == "temperature"
            assert api.requests()[0].sampling["temperature"] == 0.2
            assert rig.runtime.models[PRIMARY].counters[0].adjusted == {"temperature": 1}

    run(test)


def test_places_common_to_all_models_go_to_the_first_of_all_who_wait() -> None:
    async def test() -> None:
        both = ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,), client_choice="Listed")
        async with simulator() as api, proxy(config(api.url, limits=limits(), model=both)) as rig:
            order: list[str] = []

            async def call(name: str, model: str, headers: dict[str, str]) -> None:
                assert (await rig.call(ask(model=model), headers=headers)).status == 200
                order.append(name)

            waiting = []
            async with nobody_may_go(rig):
                for name, model, headers in [
                    ("3", PRIMARY, {"x-stainless-timeout": "17"}),
                    ("1", FALLBACK, {"x-stainless-timeout": "13"}),
                    ("5", PRIMARY, {"x-stainless-timeout": "10", "x-claudeops-priority": "background"}),
                    ("2", PRIMARY, {"x-stainless-timeout": "15", "x-claudeops-session": "s"}),
                    ("4", FALLBACK, {"x-stainless-timeout": "19"}),
                ]:
                    waiting.append(asyncio.ensure_future(call(name, model, headers)))
                    await until(lambda: rig.runtime.queued == len(waiting))
            await asyncio.gather(*waiting)
            assert order == ["1", "2", "3", "4", "5"]
            assert is_settled(rig)

    run(test)


def test_a_session_with_many_waiting_requests_does_not_hold_up_one_with_few() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, limits=limits())) as rig:
            order: list[str] = []

            async def call(session: str) -> None:
                assert (await rig.call(ask(), headers={"x-claudeops-session": session})).status == 200
                order.append(session)

            waiting = []
            async with nobody_may_go(rig):
                for session in ["greedy"] * 20 + ["modest"] * 2:
                    waiting.append(asyncio.ensure_future(call(session)))
                    await until(lambda: rig.runtime.queued == len(waiting))
            await asyncio.gather(*waiting)
            assert order == ["greedy", "modest"] * 2 + ["greedy"] * 18
            assert is_settled(rig)

    run(test)


def test_a_retry_that_backs_off_holds_no_place() -> None:
    async def test() -> None:
        slow = resilience(retry=Retry(max_attempts=2, initial_backoff_s=20.0, max_backoff_s=20.0, budget_percent=100.0))
        async with simulator() as api, proxy(config(api.url, limits=limits(max_in_flight=1, max_replicas=1), resilience=slow)) as rig:
            rig.runtime.rng.seed(1)
            api.set_faults([Fault(kind="error500", count=1)])
            backing_off = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: len(rig.pipeline.recovery.backing_off) == 1)
            assert is_settled(rig)
            assert (await rig.call(ask())).status == 200
            (call,) = rig.pipeline.recovery.backing_off
            assert call.timer is not None
            call.timer.cancel()
            rig.pipeline.recovery._again(call)
            assert (await backing_off).status == 200
            assert is_settled(rig)

    run(test)
