"""Everything an application does with the ``anthropic`` SDK, in one process; prints the outcomes as one JSON document.

Run as ``python sdk_session.py BASE_URL`` with one of the SDKs on PYTHONPATH. Imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
import traceback
import urllib.request
from typing import Any

import anthropic

URL = sys.argv[1]
KEY = "sk-ant-sim-session"
OLD_MODEL, NEW_MODEL, TOOL_MODEL = "claude-sonnet-4-6", "claude-sonnet-5-5", "claude-sonnet-5"
USER: list[Any] = [{"role": "user", "content": "How full is the pool?"}]
TOOL = {
    "name": "read_level",
    "description": "Read the level of a pool.",
    "input_schema": {
        "type": "object",
        "properties": {"pool": {"type": "string"}, "unit": {"enum": ["percent", "litres"]}, "depth": {"type": "integer"}},
        "required": ["pool", "unit", "depth"],
    },
}


@functools.cache
def client(**options: Any) -> anthropic.Anthropic:
    """A client with these options; one for all scenarios, as making one is slow."""
    return anthropic.Anthropic(**{"base_url": URL, "api_key": KEY, "max_retries": 0, **options})


def admin(method: str, path: str, document: Any = None) -> Any:
    request = urllib.request.Request(URL + "/_sim/" + path, None if document is None else json.dumps(document).encode(), method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def ask(**options: Any) -> dict[str, Any]:
    return {"model": NEW_MODEL, "max_tokens": 2000, "messages": USER, **options}


def facts(message: Any) -> dict[str, Any]:
    return {
        "model": message.model,
        "stop_reason": message.stop_reason,
        "types": [block.type for block in message.content],
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "input_tokens": message.usage.input_tokens,
        "output_tokens": message.usage.output_tokens,
        "read": message.usage.cache_read_input_tokens,
        "written": message.usage.cache_creation_input_tokens,
    }


def failure(call: Any, *faults: dict[str, Any]) -> dict[str, Any]:
    """How a call fails: the exception's class and bases, and what it knows."""
    admin("PUT", "faults", list(faults))
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is the outcome
        response = getattr(error, "response", None)
        return {
            "class": type(error).__name__,
            "bases": [base.__name__ for base in type(error).__mro__],
            "message": str(error),
            "status": getattr(error, "status_code", None),
            "body": getattr(error, "body", None),
            "request_id": getattr(error, "request_id", None),
            "retry_after": None if response is None else response.headers.get("retry-after"),
            "remaining": None if response is None else response.headers.get("anthropic-ratelimit-output-tokens-remaining"),
        }
    finally:
        admin("DELETE", "faults")
    return {"class": None}


def sync() -> Any:
    message = client().messages.create(**ask())
    return facts(message) | {"request_id": message._request_id}


async def _asynchronous() -> Any:
    async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY) as asked:
        messages = await asyncio.gather(*(asked.messages.create(**ask()) for _ in range(5)))
        streamed = ""
        async with asked.messages.stream(**ask()) as stream:
            async for text in stream.text_stream:
                streamed += text
            final = await stream.get_final_message()
        return {"each": [facts(message) for message in messages], "streamed": streamed, "final": facts(final)}


def asynchronous() -> Any:
    return asyncio.run(_asynchronous())


def streaming() -> Any:
    streamed = ""
    with client().messages.stream(**ask()) as stream:
        for text in stream.text_stream:
            streamed += text
        final = stream.get_final_message()
    return {"streamed": streamed, "final": facts(final)}


def raw_events() -> Any:
    return [event.type for event in client().messages.create(**ask(stream=True))]


def tools() -> Any:
    first = client().messages.create(**ask(model=TOOL_MODEL, tools=[TOOL], tool_choice={"type": "tool", "name": "read_level"}))
    call = first.content[-1]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "80 percent"}
    turns = [*USER, {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]}]
    second = client().messages.create(**ask(model=TOOL_MODEL, tools=[TOOL], messages=[*turns, {"role": "user", "content": [result]}]))
    with client().messages.stream(**ask(tools=[TOOL])) as stream:
        streamed = stream.get_final_message()
    return {"first": facts(first), "input": call.input, "second": facts(second), "streamed": streamed.content[-1].input}


def thinking() -> Any:
    adaptive = client().messages.create(**ask(thinking={"type": "adaptive"}))
    enabled = {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}
    with client().messages.stream(**ask(model=OLD_MODEL, max_tokens=2048, thinking=enabled)) as stream:
        budgeted = stream.get_final_message()
    return {
        "adaptive": facts(adaptive),
        "budgeted": facts(budgeted),
        "text": budgeted.content[0].thinking,
        "signatures": [adaptive.content[0].signature, budgeted.content[0].signature],
    }


def count_tokens() -> Any:
    counted = client().messages.count_tokens(model=NEW_MODEL, messages=USER).input_tokens
    with_tool = client().messages.count_tokens(model=NEW_MODEL, messages=USER, tools=[TOOL]).input_tokens
    return {"plain": counted, "with_tool": with_tool, "billed": client().messages.create(**ask()).usage.input_tokens}


def models() -> Any:
    listed = [model.id for model in client().models.list(limit=5)]
    return {"ids": listed, "one": client().models.retrieve("claude-haiku-4-5").id}


def caching() -> Any:
    system = [{"type": "text", "text": "pool rules " * 400, "cache_control": {"type": "ephemeral"}}]
    return [facts(client().messages.create(**ask(system=system))) for _ in range(2)]


def batches() -> Any:
    asked = [{"custom_id": "good", "params": ask()}, {"custom_id": "bad", "params": ask(model="claude-9")}]
    made = client().messages.batches.create(requests=asked)
    while (seen := client().messages.batches.retrieve(made.id)).processing_status != "ended":
        time.sleep(0.01)
    lines = {line.custom_id: line.result for line in client().messages.batches.results(made.id)}
    return {
        "created": made.processing_status,
        "counts": [seen.request_counts.succeeded, seen.request_counts.errored],
        "good": facts(lines["good"].message),
        "bad": lines["bad"].error.error.type,
        "listed": [batch.id for batch in client().messages.batches.list(limit=1)] == [made.id],
        "deleted": client().messages.batches.delete(made.id).type,
    }


def files() -> Any:
    desk = client().files if hasattr(client(), "files") else client().beta.files
    made = [desk.upload(file=(f"{number}.txt", b"level 80", "text/plain")) for number in range(3)]
    return {
        "type": made[0].type,
        "size": desk.retrieve_metadata(made[0].id).size_bytes,
        "listed": [file.id for file in desk.list(limit=2)] == [file.id for file in reversed(made)],
        "download": failure(lambda: desk.download(made[0].id)),
        "deleted": [desk.delete(file.id).type for file in made],
    }


def organization() -> Any:
    """Only the newest SDK has all of this."""
    administrator: Any = client(api_key="sk-ant-admin-session")
    if not hasattr(getattr(administrator, "organization", None), "spend_limits"):
        return None
    limits = list(administrator.organization.rate_limits.list(limit=5))
    spend = list(administrator.organization.spend_limits.effective.list())
    return {
        "types": sorted({limit.group.type for limit in limits}),
        "models": sorted(name for limit in limits for name in limit.models or ()),
        "values": sorted({value.type for limit in limits for value in limit.limits}),
        "spend": [(limit.scope.type, limit.amount, limit.period_to_date_spend) for limit in spend],
    }


def transcripts() -> Any:
    return {name: transcript(name) for name in admin("GET", "transcripts")}


def transcript(name: str) -> Any:
    members = ask(metadata={"user_id": f"transcript:{name}"})
    try:
        with client().messages.stream(**members) as stream:
            streamed = stream.get_final_message()
        whole = client().messages.create(**members)
    except anthropic.APIError as error:
        return {"failed": type(error).__name__}
    return {"streamed": facts(streamed), "whole": facts(whole)}


def raw_headers() -> Any:
    answer = client().messages.with_raw_response.create(**ask())
    return {name.lower(): value for name, value in answer.headers.items()}


def wire() -> Any:
    client().messages.create(**ask())
    return admin("GET", "requests?limit=1")[0]


def temperature() -> Any:
    def keyword() -> None:
        client().messages.create(**ask(model=OLD_MODEL, temperature=0.5))

    def body(model: str) -> dict[str, Any]:
        return failure(lambda: client().messages.create(**ask(model=model, extra_body={"temperature": 0.5})))

    return {"keyword": failure(keyword), "old_model": body(OLD_MODEL), "new_model": body(NEW_MODEL)}


def errors() -> Any:
    def create() -> Any:
        return client().messages.create(**ask())

    def stream() -> Any:
        with client().messages.stream(**ask(max_tokens=500)) as events:
            events.until_done()

    return {
        "throttle": failure(create, {"kind": "throttle", "retry_after_s": 7}),
        "overloaded": failure(create, {"kind": "overloaded"}),
        "error500": failure(create, {"kind": "error500"}),
        "reset": failure(create, {"kind": "reset"}),
        "down": failure(create, {"kind": "down"}),
        "garbage": failure(create, {"kind": "garbage"}),
        "half_json": failure(create, {"kind": "half_json"}),
        "stream_error_before": failure(stream, {"kind": "stream_error"}),
        "stream_error_after": failure(stream, {"kind": "stream_error", "after_events": 1}),
        "stream_reset": failure(stream, {"kind": "reset", "after_events": 1}),
        "key": failure(lambda: client(api_key="sk-ant-other").messages.create(**ask())),
        "model": failure(lambda: client().messages.create(**ask(model="claude-3-opus-20240229"))),
        "max_tokens": failure(lambda: client().messages.create(**ask(max_tokens=20_000, model="claude-9"))),
        "forced": failure(lambda: client().messages.create(**ask(tools=[TOOL], tool_choice={"type": "any"}))),
    }


def retries() -> Any:
    admin("PUT", "faults", [{"kind": "throttle", "count": 1, "retry_after_s": 1}, {"kind": "overloaded", "count": 1}])
    message = client(max_retries=2).messages.create(**ask())
    admin("DELETE", "faults")
    last = admin("GET", "requests?limit=3")
    return facts(message) | {
        "codes": [entry["code"] for entry in last],
        "counts": [e["stainless"].get("x-stainless-retry-count") for e in last],
    }


SCENARIOS = (
    sync,
    asynchronous,
    streaming,
    raw_events,
    tools,
    thinking,
    count_tokens,
    models,
    caching,
    batches,
    files,
    transcripts,
    organization,
    raw_headers,
    wire,
    temperature,
    errors,
    retries,
)


def outcome(scenario: Any) -> Any:
    try:
        return scenario()
    except Exception:  # noqa: BLE001 - reported to the test that looks at this scenario
        return {"failed": traceback.format_exc()}


print(json.dumps({"version": anthropic.__version__} | {scenario.__name__: outcome(scenario) for scenario in SCENARIOS}))
