"""A request made for one model, sent to another: it becomes legal there, or that model is passed over."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from tests.sidecar.recorder import message, recorder, whole
from tests.sidecar.rig import Rig, ask, config, proxy, resilience, run, simulator

from claudeops.catalogue import load_catalogue
from claudeops.exchange import Assignment, Flip
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Retry

PRIMARY = "claude-opus-5-5"
SMALL = "claude-haiku-4-5-20251001"
"""200,000 tokens, no geography, never fast."""
LARGE = "claude-opus-4-6"
TOOLS = [{"name": "t", "input_schema": {"type": "object"}}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
NEW = {"anthropic-version": "2026-10-21"}


def document(url: str, *fallbacks: str, primary: str = PRIMARY, revision: int = 1) -> ProxyConfig:
    retry = Retry(max_attempts=1, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100)
    choice = ModelChoice(name=primary, fallbacks=fallbacks)
    return config(url, revision=revision, model=choice, resilience=resilience(retry=retry))


def flip(rig: Rig, *models: str) -> None:
    version = 1 if rig.runtime.assignment is None else rig.runtime.assignment.version + 1
    rig.assign(Assignment(epoch=1, version=version, flips=[Flip(model=model) for model in models]))


def requests() -> list[dict[str, Any]]:
    """What clients of any model may send, legal for that one."""
    turns = [{"role": "user", "content": "hi"}]
    thinkings = [None, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2000}, {"type": "disabled"}, {"type": "between_tools"}]
    plain = [
        ask(max_tokens=128_000, messages=turns, output_config={"effort": effort}) | ({"thinking": thinking} if thinking else {})
        for thinking, effort in itertools.product(thinkings, ["low", "xhigh", "max"])
    ]
    return [
        *plain,
        ask(temperature=0.3, top_p=0.7, top_k=5, messages=turns),
        ask(tools=TOOLS, tool_choice={"type": "tool", "name": "t"}, messages=turns),
        ask(tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True}, messages=turns),
        ask(messages=[*turns, {"role": "assistant", "content": "Sure:"}], temperature=1.0),
        ask(messages=[*turns, {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}]}, *turns]),
        ask(messages=turns, speed="fast", inference_geo="global"),
    ]


def test_what_was_sent_for_one_model_is_legal_for_every_other() -> None:
    async def test() -> None:
        refused = []
        async with simulator(speed=10_000.0) as api, proxy(document(api.url, LARGE)) as rig:
            client = await rig.connect()
            for number, model in enumerate(load_catalogue().models):
                primary = PRIMARY if model.id != PRIMARY else LARGE
                rig.apply(document(api.url, model.id, primary=primary, revision=number + 2))
                flip(rig, primary)
                for body, headers in itertools.product(requests(), [{}, NEW]):
                    await client.send(json.dumps(body | {"model": primary}).encode(), headers=headers)
                    reply = await client.read()
                    assert reply.headers["x-claudeops-model"] == model.id
                    if reply.status != 200:
                        refused.append((model.id, headers, body, reply.json["error"]["message"]))
        assert refused == []

    run(test)


def test_a_history_longer_than_the_window_passes_the_fallback_over() -> None:
    async def test() -> None:
        long = ask("word " * 200_000)
        async with recorder(lambda body: whole(message())) as api, proxy(document(api.url, SMALL, LARGE)) as rig:
            flip(rig, PRIMARY)
            sticky = {"x-claudeops-session": "s"}
            assert (await rig.call(ask(), headers=sticky)).headers["x-claudeops-model"] == SMALL
            assert (await rig.call(long, headers=sticky)).headers["x-claudeops-model"] == LARGE
            flip(rig)
            assert (await rig.call(long, headers=sticky)).headers["x-claudeops-model"] == LARGE, "where it was served last"
            rig.apply(document(api.url, SMALL, revision=2))
            flip(rig, PRIMARY)
            reply = await rig.call(long)
            assert (reply.status, reply.reason) == (529, "breaker_open")
            assert f"{SMALL} cannot take this request: the request's about 2" in reply.json["error"]["message"]
            assert (await rig.call(ask(), headers=sticky)).headers["x-claudeops-model"] == SMALL
            flip(rig)
            assert (await rig.call(long, headers=sticky)).headers["x-claudeops-model"] == PRIMARY, "it fits nowhere else"

    run(test)


def test_a_failure_of_the_primary_is_the_clients_where_no_fallback_can_take_the_request() -> None:
    async def test() -> None:
        failure = whole(b'{"type":"error","error":{"type":"api_error"}}', status=500)
        async with recorder(lambda body: failure) as api, proxy(document(api.url, SMALL)) as rig:
            reply = await rig.call(ask("word " * 200_000))
            assert (reply.status, reply.headers["x-claudeops-model"]) == (500, PRIMARY)
            assert len(api.seen) == 1

    run(test)


def test_many_images_and_a_bound_geography_pass_a_small_model_over() -> None:
    async def test() -> None:
        async with recorder(lambda body: whole(message())) as api, proxy(document(api.url, SMALL, LARGE)) as rig:
            flip(rig, PRIMARY)
            result = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE] * 51}
            for body, model in (
                (ask(messages=[{"role": "user", "content": [IMAGE] * 50}]), SMALL),
                (ask(messages=[{"role": "user", "content": [IMAGE] * 50 + [result]}]), LARGE),
                (ask(inference_geo="us"), LARGE),
                (ask(inference_geo="global"), SMALL),
            ):
                assert (await rig.call(body)).headers["x-claudeops-model"] == model
            assert "inference_geo" not in api.last

    run(test)


@pytest.mark.parametrize(
    ("fallback", "headers", "is_kept"),
    [
        ("claude-fable-5-2", {}, True),
        ("claude-opus-5", {"anthropic-beta": "fast-mode-2026-02-01"}, True),
        ("claude-opus-5", {}, False),
        ("claude-sonnet-5-5", {}, False),
        (SMALL, {}, False),
    ],
)
def test_fast_mode_stays_where_the_model_is_sold_fast(fallback: str, headers: dict[str, str], is_kept: bool) -> None:
    async def test() -> None:
        async with recorder(lambda body: whole(message())) as api, proxy(document(api.url, fallback)) as rig:
            flip(rig, PRIMARY)
            reply = await rig.call(ask(speed="fast", metadata={"user_id": '"speed"'}), headers=headers)
            assert (api.last.get("speed") == "fast", "speed" in reply.headers.get("x-claudeops-adjusted", "")) == (is_kept, not is_kept)
            reply = await rig.call(ask(metadata={"user_id": '"speed"'}))
            assert "x-claudeops-adjusted" not in reply.headers

    run(test)
