"""What the proxy changes in a request, as the API sees it, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.sidecar.rig import PRIMARY, ask, config, proxy, run, simulator

from claudeops.proxyconfig import Bounds, EffortBounds, ModelChoice, Sampling
from claudeops.simulator.fault import Fault

NEW = {"anthropic-version": "2026-10-21"}
SONNET_5 = "claude-sonnet-5-5"
LONG = "You are a helpful assistant of a shop. " * 400


def test_a_wrong_temperature_is_clamped_where_the_model_takes_one() -> None:
    async def test() -> None:
        profile = Sampling(temperature=Bounds(min=0.2, max=0.4))
        async with simulator() as api, proxy(config(api.url, sampling=profile)) as rig:
            reply = await rig.call(ask(temperature=0.9))
            assert reply.headers["x-claudeops-adjusted"] == "temperature"
            assert api.requests()[0].sampling["temperature"] == 0.4
            assert "x-claudeops-adjusted" not in (await rig.call(ask(temperature=0.3))).headers
            assert api.requests()[0].sampling["temperature"] == 0.3

    run(test)


@pytest.mark.parametrize("headers", [NEW, {}])
def test_what_would_be_a_400_becomes_a_200(headers: dict[str, str]) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, model=ModelChoice(name=SONNET_5))) as rig:
            reply = await rig.call(ask(model=SONNET_5, temperature=0.9, top_p=0.5, top_k=3), headers=headers)
            assert reply.status == 200, reply.body
            assert set(reply.headers["x-claudeops-adjusted"].split(",")) == {"temperature", "top_p", "top_k"}
            assert api.requests()[0].sampling == {}

    run(test)


def test_a_profile_in_mode_reject_says_what_to_send_instead() -> None:
    async def test() -> None:
        profile = Sampling(on_violation="Reject", temperature=Bounds(max=0.4))
        async with simulator() as api, proxy(config(api.url, sampling=profile)) as rig:
            reply = await rig.call(ask(temperature=0.9))
            assert (reply.status, reply.reason) == (400, "policy")
            assert reply.headers["x-should-retry"] == "false"
            assert reply.json["error"]["type"] == "invalid_request_error"
            assert "0.4" in reply.json["error"]["message"]
            assert api.requests() == []

    run(test)


def test_a_profile_in_mode_warn_lets_pass() -> None:
    async def test() -> None:
        profile = Sampling(on_violation="Warn", temperature=Bounds(max=0.4))
        async with simulator() as api, proxy(config(api.url, sampling=profile)) as rig:
            assert (await rig.call(ask(temperature=0.9))).status == 200
            assert api.requests()[0].sampling["temperature"] == 0.9
            api.set_faults([Fault(kind="overloaded", count=1)])
            assert (await rig.call(ask(temperature=0.9, top_p=0.5))).headers["x-claudeops-adjusted"] == "top_p"
            counters = rig.runtime.models[PRIMARY].counters[0]
            assert counters.warned == {"temperature": 2}, "a retry warns no second time"
            assert (counters.adjusted, counters.left_out) == ({"top_p": 1}, {"top_p": 1})

    run(test)


def test_defaults_are_added_where_the_client_is_silent_and_they_are_legal() -> None:
    async def test() -> None:
        profile = Sampling(temperature=Bounds(default=0.3), max_tokens=Bounds(default=128, max=256), effort=EffortBounds(default="low"))
        async with simulator() as api, proxy(config(api.url, sampling=profile)) as rig:
            body: dict[str, Any] = {"model": PRIMARY, "messages": [{"role": "user", "content": "hi"}]}
            reply = await rig.call(body)
            assert reply.status == 200, reply.body
            seen = api.requests()[0]
            assert (seen.sampling["temperature"], seen.max_tokens, seen.effort) == (0.3, 128, "low")
            assert "x-claudeops-adjusted" not in reply.headers
            await rig.call(ask(max_tokens=100_000))
            assert api.requests()[0].max_tokens == 256
            reply = await rig.call(body, path="/v1/messages/count_tokens")
            assert reply.status == 200, reply.body

    run(test)


def test_mode_always_marks_the_static_prefix_and_never_more_than_four() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url, prompt_cache="Always")) as rig:
            for system in (LONG, [{"type": "text", "text": LONG}]):
                reply = await rig.call(ask(system=system))
                assert reply.status == 200, reply.body
                assert api.requests()[0].cache_control_count == 1
            reply = await rig.call(ask(system=LONG))
            assert reply.json["usage"]["cache_read_input_tokens"] > 1000
            assert rig.runtime.models[PRIMARY].used.standard.cache_read > 1000
            mark = {"type": "ephemeral"}
            blocks = [{"type": "text", "text": str(n), "cache_control": mark} for n in range(4)]
            reply = await rig.call(ask(system=LONG, messages=[{"role": "user", "content": blocks}]))
            assert reply.status == 200, reply.body
            assert api.requests()[0].cache_control_count == 4
            await rig.call(ask(system=LONG, messages=[{"role": "user", "content": blocks[:3]}]))
            assert api.requests()[0].cache_control_count == 4
            hour = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
            reply = await rig.call(ask(system=LONG, messages=[{"role": "user", "content": hour}]))
            assert reply.status == 200, reply.body
            await rig.call(ask(system="short"))
            assert api.requests()[0].cache_control_count == 0
            tools = [{"name": "t", "description": LONG, "input_schema": {"type": "object"}}]
            reply = await rig.call(ask(tools=tools))
            assert (reply.status, api.requests()[0].cache_control_count) == (200, 1)

    run(test)


def test_mode_off_strips_every_mark_and_mode_client_none() -> None:
    async def test() -> None:
        mark = {"type": "ephemeral"}
        body = ask(
            cache_control=mark,
            system=[{"type": "text", "text": "s", "cache_control": mark}],
            messages=[{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": mark}]}],
        )
        async with simulator() as api, proxy(config(api.url, prompt_cache="Off")) as rig:
            reply = await rig.call(body)
            assert (reply.status, api.requests()[0].cache_control_count) == (200, 0)
            assert reply.headers["x-claudeops-adjusted"] == "cache_control"
            rig.apply(config(api.url, revision=2))
            reply = await rig.call(body)
            assert (reply.status, api.requests()[0].cache_control_count) == (200, 3)

    run(test)


def test_estimates_learn_from_what_the_api_counts() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            for _ in range(30):
                await rig.call(ask("some words that are quite ordinary " * 50))
            counts = rig.runtime.models[PRIMARY].counters[0].estimate_error
            assert sum(counts.counts) == 30
            model = rig.runtime.models[PRIMARY]
            real = api.requests()[0].input_tokens
            assert 0.7 < model.tokens_per_byte.value * len(str(ask("some words that are quite ordinary " * 50))) / real < 1.4

    run(test)


def test_what_tools_cost_beside_their_text_is_known_for_either_choice_of_them() -> None:
    async def test() -> None:
        learned = []
        for choice in ("auto", "any"):
            async with simulator() as api, proxy(config(api.url)) as rig:
                tools = [{"name": "level", "description": "How full a pool is.", "input_schema": {"type": "object"}}]
                for _ in range(30):
                    assert (await rig.call(ask(tools=tools, tool_choice={"type": choice}))).status == 200
                learned.append(rig.runtime.models[PRIMARY].tokens_per_byte.value)
        assert abs(learned[0] - learned[1]) < 0.02, "tokens a byte of the same text"

    run(test)


def test_numbers_that_are_no_integers_are_the_apis_to_judge() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(max_tokens=64.0, top_k=5.0))
            assert reply.reason is None
            assert reply.headers["x-claudeops-model"] == PRIMARY
            reply = await rig.call(ask(max_tokens=64.5))
            assert reply.reason is None
            strict = Sampling(max_tokens=Bounds(max=32))
            rig.apply(config(api.url, revision=2, sampling=strict))
            assert (await rig.call(ask(max_tokens=64.0))).status == 200
            assert api.requests()[0].max_tokens == 32

    run(test)
