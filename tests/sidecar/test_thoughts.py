"""Thinking blocks across a fallback and back: each goes to the model that wrote it and to no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sidecar.recorder import Answer, Recorder, events, message, recorder, stream, whole
from tests.sidecar.rig import FALLBACK, PRIMARY, Rig, ask, config, proxy, run

from claudeops.exchange import Assignment, Flip
from claudeops.proxyconfig import ModelChoice, ProxyConfig

OTHER = "claude-opus-4-6"


def document(url: str, **parts: Any) -> ProxyConfig:
    return config(url, **({"model": ModelChoice(name=PRIMARY, fallbacks=(FALLBACK, OTHER))} | parts))


def thought(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm/", "signature": signature}


def user(text: str = "go on") -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def flip(rig: Rig, *models: str) -> None:
    version = 1 if rig.runtime.assignment is None else rig.runtime.assignment.version + 1
    rig.assign(Assignment(epoch=1, version=version, flips=[Flip(model=model) for model in models]))


def sent(api: Recorder) -> list[Any]:
    """Of every block of the assistant's turns in the last request: its signature, its data or its text."""
    turns = [turn["content"] for turn in api.last["messages"] if turn["role"] == "assistant"]
    return [block.get("signature") or block.get("data") or block.get("text") for turn in turns for block in turn]


def in_one_document(body: Any) -> Answer:
    sign = f"{body['model']}/sign"
    return whole(message(thought(sign), {"type": "redacted_thinking", "data": f"{body['model']}+data"}))


def in_a_stream(body: Any) -> Answer:
    model = body["model"]
    everything = events(
        {"type": "message_start", "message": {"usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": f"{model}/sign"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": f"{model}+data"}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )
    return stream(*(everything[at : at + 97] for at in range(0, len(everything), 97)))


def in_a_stream_at_once(body: Any) -> Answer:
    head, pieces = in_a_stream(body)
    return head, (b"".join(pieces),)


@pytest.mark.parametrize("answer", [in_one_document, in_a_stream, in_a_stream_at_once])
def test_what_a_fallback_thought_never_reaches_the_primary_nor_another_fallback(answer: Any) -> None:
    async def test() -> None:
        is_stream = answer is not in_one_document
        async with recorder(answer) as api, proxy(document(api.url)) as rig:
            own = [thought("primary's"), {"type": "redacted_thinking", "data": "primary's data"}, text("a")]
            foreign = [thought(f"{FALLBACK}/sign"), {"type": "redacted_thinking", "data": f"{FALLBACK}+data"}, text("b")]
            history = [user(), assistant(*own), user()]
            flip(rig, PRIMARY)
            reply = await rig.call(ask(messages=history, stream=is_stream))
            assert reply.headers["x-claudeops-model"] == FALLBACK
            assert "thinking_blocks" in reply.headers["x-claudeops-adjusted"]
            assert sent(api) == ["a"]
            longer = [*history, assistant(*foreign), user()]
            reply = await rig.call(ask(messages=longer, stream=is_stream))
            assert sent(api) == ["a", f"{FALLBACK}/sign", f"{FALLBACK}+data", "b"], "its own it gets back"
            flip(rig, PRIMARY, FALLBACK)
            await rig.call(ask(messages=longer, stream=is_stream))
            assert sent(api) == ["a", "b"]
            flip(rig)
            for _ in range(2):
                reply = await rig.call(ask(messages=longer, stream=is_stream))
                assert reply.headers["x-claudeops-adjusted"] == "thinking_blocks"
                assert sent(api) == ["primary's", "primary's data", "a", "b"]
            assert api.seen[-1][1] == api.seen[-2][1], "the same block gives the same bytes"
            body = json.dumps(ask(messages=history, stream=is_stream), indent=1).encode()
            await rig.call(body)
            assert api.seen[-1][1] == body, "a history of the primary alone is not touched"

    run(test)


def test_a_turn_of_foreign_thoughts_alone_vanishes_and_the_roles_stay_legal() -> None:
    async def test() -> None:
        async with recorder(in_one_document) as api, proxy(document(api.url)) as rig:
            flip(rig, PRIMARY)
            reply = await rig.call(ask(messages=[user("one"), assistant(thought("x")), user("two")]))
            assert reply.status == 200
            assert api.last["messages"] == [user("one"), user("two")]

    run(test)


def test_in_a_tool_loop_budgeted_thinking_goes_with_its_blocks() -> None:
    async def test() -> None:
        budget = {"type": "enabled", "budget_tokens": 1024}
        used = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]}
        async with recorder(in_one_document) as api, proxy(document(api.url)) as rig:
            flip(rig, PRIMARY, FALLBACK)
            asked = ask(thinking=budget, max_tokens=4000, messages=[user(), assistant(thought("x"), used), result])
            await rig.call(asked)
            assert (api.last["model"], api.last.get("thinking")) == (OTHER, None)
            await rig.call(asked | {"messages": [*asked["messages"], assistant(text("done")), user()]})
            assert api.last["thinking"] == budget, "the loop is over"

    run(test)


def test_requests_whose_history_is_bound_to_the_serving_model_are_counted() -> None:
    async def test() -> None:
        parts = {"model": ModelChoice(name="claude-sonnet-5-5", fallbacks=(FALLBACK,))}
        async with recorder(in_one_document) as api, proxy(config(api.url, **parts)) as rig:
            primary, fallback = (rig.runtime.models[name].counters for name in ("claude-sonnet-5-5", FALLBACK))
            await rig.call(ask())
            assert primary[0].bound_histories == 0
            history = [user(), assistant(thought("own"), text("a")), user()]
            await rig.call(ask(messages=history))
            assert (primary[0].bound_histories, sent(api)) == (1, ["own", "a"])
            flip(rig, "claude-sonnet-5-5")
            await rig.call(ask(messages=history))
            assert fallback[1].bound_histories == 0, "what is left of it is bound to nobody"
            foreign = [*history, assistant(thought(f"{FALLBACK}/sign")), user()]
            await rig.call(ask(messages=foreign))
            assert (fallback[1].bound_histories, sent(api)) == (1, ["a", f"{FALLBACK}/sign"])
            flip(rig)
            await rig.call(ask(messages=foreign))
            assert (primary[0].bound_histories, sent(api)) == (2, ["own", "a"])

    run(test)
