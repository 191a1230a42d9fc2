"""Breakers, fallbacks and the fleet's flips: the application sees an answer, from whichever model can give one."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.sidecar.rig import FALLBACK, PRIMARY, ask, config, is_settled, proxy, resilience, run, simulator, until

from claudeops.exchange import Assignment, Flip
from claudeops.proxyconfig import Bounds, BreakerPolicy, ModelChoice, ProxyConfig, Retry, Sampling
from claudeops.simulator.fault import Fault

BOTH = ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,))
QUICK = BreakerPolicy(minimum_requests=2, error_percent=50, window_s=30, open_for_s=0.3)


def document(url: str, **parts: Any) -> ProxyConfig:
    retry = Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100)
    return config(url, **({"model": BOTH, "resilience": resilience(breaker=QUICK, retry=retry)} | parts))


def test_when_the_primary_fails_the_fallback_answers_and_the_breaker_opens() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url)) as rig:
            api.set_faults([Fault(kind="overloaded", model=PRIMARY)])
            replies = [await rig.call(ask(stream=bool(n % 2))) for n in range(6)]
            assert [reply.status for reply in replies] == [200] * 6
            assert {reply.headers["x-claudeops-tier"] for reply in replies} == {"fallback"}
            assert {reply.headers["x-claudeops-model"] for reply in replies} == {FALLBACK}
            assert rig.runtime.models[PRIMARY].breaker.state != "Closed"
            assert rig.runtime.fallback_requests == 6
            assert "breaker" in rig.urgent
            assert is_settled(rig)

    run(test)


def test_the_breaker_closes_after_a_probe_and_the_primary_serves_again() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url)) as rig:
            api.set_faults([Fault(kind="error500", model=PRIMARY)])
            await rig.call(ask())
            await rig.call(ask())
            assert rig.runtime.models[PRIMARY].breaker.state == "Open"
            api.set_faults([])
            reply = await rig.call(ask())
            while reply.headers["x-claudeops-tier"] != "primary":
                await asyncio.sleep(0.02)
                reply = await rig.call(ask())
            assert rig.runtime.models[PRIMARY].breaker.state == "Closed"

    run(test)


def test_without_a_request_a_small_probe_closes_the_breaker() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url, model=ModelChoice(name=PRIMARY))) as rig:
            api.set_faults([Fault(kind="error500", model=PRIMARY)])
            await rig.call(ask())
            assert rig.runtime.models[PRIMARY].breaker.state == "Open"
            reply = await rig.call(ask())
            assert (reply.status, reply.reason) == (529, "breaker_open")
            assert reply.json["error"]["type"] == "overloaded_error"
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            api.set_faults([])
            await until(lambda: rig.runtime.models[PRIMARY].breaker.state == "Closed")
            probe = api.requests()[0]
            assert (probe.code, probe.model) == (200, PRIMARY)
            assert probe.max_tokens is not None
            assert probe.max_tokens <= 50
            group = api.stats().group("sonnet-4.x")
            assert group is not None
            used = rig.runtime.ledger[PRIMARY].tokens()
            assert (used.input, used.output) == (group.used.input_tokens, group.used.output_tokens), "a probe is paid for, too"
            await until(lambda: is_settled(rig))
            assert rig.runtime.models[PRIMARY].counters[0].requests == {(500, ""): 1, (529, "breaker_open"): 1}

    run(test)


def test_what_is_no_message_or_is_never_sent_is_no_probe() -> None:
    async def test() -> None:
        strict = Sampling(on_violation="Reject", max_tokens=Bounds(max=100))
        parts: dict[str, Any] = {"model": ModelChoice(name=PRIMARY), "sampling": strict}
        async with simulator() as api, proxy(document(api.url, **parts), sweep_s=30.0) as rig:
            api.set_faults([Fault(kind="error500", model=PRIMARY)])
            await rig.call(ask())
            api.set_faults([])
            breaker = rig.runtime.models[PRIMARY].breaker
            await until(lambda: breaker.wait_s(rig.runtime.clock()) == 0.0)
            counted = await rig.call({"model": PRIMARY, "messages": ask()["messages"]}, path="/v1/messages/count_tokens")
            assert (counted.status, counted.headers["x-claudeops-model"]) == (200, PRIMARY)
            assert (await rig.call(ask(max_tokens=200))).reason == "policy"
            assert breaker.state == "HalfOpen"
            assert (await rig.call(ask())).status == 200
            assert breaker.state == "Closed"

    run(test)


def test_a_flip_moves_new_and_waiting_requests_at_once() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url)) as rig:
            api.set_faults([Fault(kind="throttle", model=PRIMARY, retry_after_s=20, count=1)])
            waiting = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: rig.runtime.queued == 1)
            rig.assign(Assignment(epoch=1, version=1, flips=[Flip(model=PRIMARY)]))
            assert (await waiting).headers["x-claudeops-model"] == FALLBACK
            assert (await rig.call(ask())).headers["x-claudeops-model"] == FALLBACK
            rig.assign(Assignment(epoch=1, version=2))
            rig.runtime.models[PRIMARY].group.limiter.paused_until = 0.0
            assert (await rig.call(ask())).headers["x-claudeops-model"] == PRIMARY

    run(test)


def test_a_session_stays_on_its_fallback_after_the_flip_back_others_do_not() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url)) as rig:
            rig.assign(Assignment(epoch=1, version=1, flips=[Flip(model=PRIMARY)]))
            sticky = {"x-claudeops-session": "s1"}
            await rig.call(ask(), headers=sticky)
            rig.assign(Assignment(epoch=1, version=2))
            assert (await rig.call(ask(), headers=sticky)).headers["x-claudeops-model"] == FALLBACK
            assert (await rig.call(ask(), headers={"x-claudeops-session": "s2"})).headers["x-claudeops-model"] == PRIMARY
            assert (await rig.call(ask())).headers["x-claudeops-model"] == PRIMARY

    run(test)


def test_a_proxy_that_may_probe_a_flipped_model_sends_it_a_request_now_and_then() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url)) as rig:
            rig.assign(Assignment(epoch=1, version=1, flips=[Flip(model=PRIMARY, may_probe=True)]))
            models = [(await rig.call(ask())).headers["x-claudeops-model"] for _ in range(4)]
            assert models.count(PRIMARY) == 1
            await until(lambda: sum(rig.runtime.models[PRIMARY].counters[0].upstream.values()) >= 2, 5.0)

    run(test)


def test_a_fallback_request_is_made_legal_for_its_model() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(document(api.url)) as rig:
            rig.assign(Assignment(epoch=1, version=1, flips=[Flip(model=PRIMARY)]))
            thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
            body = ask(
                temperature=0.4,
                thinking={"type": "enabled", "budget_tokens": 1024},
                max_tokens=2000,
                output_config={"effort": "high"},
                messages=[
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]},
                    {"role": "user", "content": "and?"},
                ],
            )
            reply = await rig.call(body)
            assert reply.status == 200, reply.body
            adjusted = reply.headers["x-claudeops-adjusted"].split(",")
            assert {"temperature", "thinking_blocks", "thinking"} <= set(adjusted)
            prefilled = ask(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Sure:"}])
            reply = await rig.call(prefilled)
            assert reply.status == 200, reply.body
            assert "prefill" in reply.headers["x-claudeops-adjusted"]

    run(test)


def test_retries_used_up_on_429s_lead_to_the_fallback() -> None:
    async def test() -> None:
        retry = Retry(max_attempts=1)
        async with simulator() as api, proxy(document(api.url, resilience=resilience(retry=retry))) as rig:
            api.set_faults([Fault(kind="throttle", model=PRIMARY)])
            reply = await rig.call(ask())
            assert reply.headers["x-claudeops-model"] == FALLBACK

    run(test)


def test_five_429s_through_their_pauses_open_the_breaker_a_burst_does_not() -> None:
    async def test() -> None:
        retry = Retry(max_attempts=1)
        async with simulator(ttft_s=0.5) as api, proxy(document(api.url, resilience=resilience(retry=retry))) as rig:
            api.set_faults([Fault(kind="throttle", model=PRIMARY, count=12)])
            await asyncio.gather(*(rig.call(ask()) for _ in range(12)))
            assert rig.runtime.models[PRIMARY].breaker.state == "Closed"
            group = rig.runtime.models[PRIMARY].group
            rig.runtime.models[PRIMARY].breaker.throttles = 0
            api.set_faults([Fault(kind="throttle", model=PRIMARY)])
            for number in range(1, 6):
                group.limiter.paused_until = 0.0  # the pause is over
                assert (await rig.call(ask())).headers["x-claudeops-model"] == FALLBACK
                assert rig.runtime.models[PRIMARY].breaker.state == ("Closed" if number < 5 else "Open")

    run(test)


def test_a_request_may_name_a_listed_model_and_no_other() -> None:
    async def test() -> None:
        listed = ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,), client_choice="Listed")
        async with simulator() as api, proxy(document(api.url, model=listed)) as rig:
            reply = await rig.call(ask(model=FALLBACK))
            assert (reply.headers["x-claudeops-model"], reply.headers["x-claudeops-tier"]) == (FALLBACK, "primary")
            reply = await rig.call(ask(model="claude-opus-5"))
            assert reply.headers["x-claudeops-model"] == PRIMARY
            assert "model" in reply.headers["x-claudeops-adjusted"]
            rig.apply(document(api.url, revision=2, model=listed, sampling=Sampling(on_violation="Reject")))
            reply = await rig.call(ask(model="claude-opus-5"))
            assert (reply.status, reply.reason) == (403, "policy")
            assert reply.json["error"]["type"] == "permission_error"
            assert reply.headers["x-should-retry"] == "false"
            rig.apply(document(api.url, revision=3, model=ModelChoice(name=PRIMARY, client_choice="Allowed")))
            assert (await rig.call(ask(model="claude-opus-5"))).headers["x-claudeops-model"] == "claude-opus-5"
            rig.apply(document(api.url, revision=4, model=ModelChoice(name=PRIMARY)))
            reply = await rig.call(ask(model="whatever"))
            assert reply.headers["x-claudeops-model"] == PRIMARY
            assert "x-claudeops-adjusted" not in reply.headers

    run(test)
