"""Everything that applications do with the ``anthropic`` SDK, once at the API and once through the proxy, and what differed.

Run as ``python session.py API_URL PROXY_URL API_KEY`` with one of the SDKs on PYTHONPATH; prints one JSON document. Imports nothing of
ours. What is compared is what came over the wire, before the SDK reads it; what the SDK then makes of it must be the same as well.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import time
import traceback
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic

try:
    import httpx2 as httpx
except ModuleNotFoundError:  # the SDK before 1.0
    import httpx

API, PROXY, KEY = sys.argv[1:4]
PLACEHOLDER = "provided-by-claudeops"
OLD, NEW, SMALL = "claude-sonnet-4-6", "claude-sonnet-5-5", "claude-haiku-4-5"
NOT_COMPARED = frozenset({"date", "connection"})
KEYS = {"x-api-key", "authorization"}
"""One of the two: the proxy puts the workload's own key in its place."""
FRAMING = {"transfer-encoding", "content-length"}
"""How a body is delimited belongs to each connection: an error event that was held back comes with its length instead of in chunks."""
RESULTS_URL = re.compile(rb'("results_url": ?")http://[^/"]+')
"""The one member of an answer that differs: each side names itself."""
USER: list[Any] = [{"role": "user", "content": "How full is the pool, and why? Ünïcödé 🌊."}]
TOOL: Any = {
    "name": "read_level",
    "description": "Read the level of a pool.",
    "input_schema": {
        "type": "object",
        "properties": {"pool": {"type": "string"}, "depth": {"type": "integer"}},
        "required": ["pool", "depth"],
    },
}


class Exchange:
    """One answer, as it came."""

    def __init__(self, request: Any, response: Any) -> None:
        self.what = f"{request.method} {request.url.raw_path.decode()}"
        self.status = response.status_code
        self.headers = sorted(
            (name.decode().lower(), value.decode())
            for name, value in response.headers.raw
            if name.decode().lower() not in NOT_COMPARED and not name.lower().startswith(b"x-claudeops-")
        )
        self.is_proxied = any(name.lower().startswith(b"x-claudeops-") for name, _ in response.headers.raw)
        self.body = b""
        self.is_whole = False


class Side:
    """The API itself, or the proxy: clients of it, and a record of what it answered."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.record: list[Exchange] = []
        options: dict[str, Any] = {"base_url": url, "api_key": key, "max_retries": 0}
        self.client = anthropic.Anthropic(**options, http_client=httpx.Client(transport=Recorder(self.record), base_url=url, timeout=30))
        self._options = options

    def asynchronous(self) -> anthropic.AsyncAnthropic:
        """For the event loop that runs now."""
        http_client = httpx.AsyncClient(transport=AsyncRecorder(self.record), base_url=self.url, timeout=30)
        return anthropic.AsyncAnthropic(**self._options, http_client=http_client)


class Tee(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    """Passes a body on and keeps a copy."""

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._exchange.body += part
            yield part
        self._exchange.is_whole = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._exchange.body += part
            yield part
        self._exchange.is_whole = True

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Recorder(httpx.HTTPTransport):  # type: ignore[misc]
    """Real connections, every answer recorded."""

    def __init__(self, record: list[Exchange]) -> None:
        super().__init__()
        self._record = record

    def handle_request(self, request: Any) -> Any:
        response = super().handle_request(request)
        self._record.append(Exchange(request, response))
        response.stream = Tee(response.stream, self._record[-1])
        return response


class AsyncRecorder(httpx.AsyncHTTPTransport):  # type: ignore[misc]
    """The same for asyncio."""

    def __init__(self, record: list[Exchange]) -> None:
        super().__init__()
        self._record = record

    async def handle_async_request(self, request: Any) -> Any:
        response = await super().handle_async_request(request)
        self._record.append(Exchange(request, response))
        response.stream = Tee(response.stream, self._record[-1])
        return response


def admin(method: str, path: str, document: Any = None) -> Any:
    """The simulator's own controls, past every record."""
    data = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{API}/_sim/{path}", data, method=method)) as answer:
        raw = answer.read()
    return json.loads(raw) if raw else None


def ask(**options: Any) -> dict[str, Any]:
    return {"model": NEW, "max_tokens": 120, "messages": USER, **options}


def seen(message: Any) -> str:
    """What the SDK made of an answer."""
    return repr(message.model_dump(warnings=False))


def failure(call: Callable[[], Any], *faults: dict[str, Any]) -> str:
    """The exception that a call ends with, and all that it knows."""
    admin("PUT", "faults", list(faults))
    try:
        return f"no error but {call()!r}"
    except Exception as error:  # noqa: BLE001  whatever the SDK raises is the outcome
        known = [getattr(error, name, None) for name in ("status_code", "body", "request_id")]
        return repr((type(error).__name__, str(error), *known))
    finally:
        admin("DELETE", "faults")


# -- scenarios -----------------------------------------------------------------------------------------------------------------------------


def message(side: Side) -> Any:
    answers = [side.client.messages.create(**ask(model=model)) for model in (OLD, NEW, SMALL)]
    return [(seen(answer), answer._request_id) for answer in answers]


def every_parameter(side: Side) -> Any:
    options: dict[str, Any] = {"system": "Be brief.", "stop_sequences": ["END"], "metadata": {"user_id": "u-1"}, "service_tier": "auto"}
    if "temperature" in inspect.signature(side.client.messages.create).parameters:  # the newest API version has none
        options |= {"temperature": 0.3, "top_k": 5}
    return seen(side.client.messages.create(**ask(model=SMALL, **options)))


def streaming(side: Side) -> Any:
    with side.client.messages.stream(**ask()) as stream:
        text = "".join(stream.text_stream)
        return text, seen(stream.get_final_message())


def raw_events(side: Side) -> Any:
    return [event.model_dump(warnings=False) for event in side.client.messages.create(**ask(stream=True))]


def asynchronous(side: Side) -> Any:
    async def work() -> Any:
        async with side.asynchronous() as client:
            first = seen(await client.messages.create(**ask()))
            async with client.messages.stream(**ask(model=OLD)) as stream:
                text = [part async for part in stream.text_stream]
                return first, text, seen(await stream.get_final_message())

    return asyncio.run(work())


def concurrent(side: Side) -> Any:
    async def work() -> Any:
        async with side.asynchronous() as client:
            asked = [client.messages.create(**ask(max_tokens=20 + number)) for number in range(8)]
            return [seen(answer) for answer in await asyncio.gather(*asked)]

    answers = asyncio.run(work())
    side.record.sort(key=lambda exchange: exchange.body)
    return answers


def tools(side: Side) -> Any:
    first = side.client.messages.create(**ask(model=OLD, tools=[TOOL], tool_choice={"type": "tool", "name": "read_level"}))
    call = first.content[-1]
    turns = [
        *USER,
        {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "80 percent"}]},
    ]
    second = side.client.messages.create(**ask(model=OLD, tools=[TOOL], messages=turns))
    with side.client.messages.stream(**ask(tools=[TOOL])) as stream:
        return seen(first), seen(second), seen(stream.get_final_message())


def thinking(side: Side) -> Any:
    adaptive = side.client.messages.create(**ask(thinking={"type": "adaptive"}))
    budget = {"type": "enabled", "budget_tokens": 1024}
    with side.client.messages.stream(**ask(model=OLD, max_tokens=2048, thinking=budget)) as stream:
        return seen(adaptive), seen(stream.get_final_message())


def caching(side: Side) -> Any:
    system = [{"type": "text", "text": "pool rules " * 1500, "cache_control": {"type": "ephemeral"}}]
    return [seen(side.client.messages.create(**ask(system=system))) for _ in range(2)]


def count_tokens(side: Side) -> Any:
    counted = [side.client.messages.count_tokens(model=model, messages=USER, tools=[TOOL]) for model in (OLD, NEW)]
    return [one.input_tokens for one in counted]


def models(side: Side) -> Any:
    listed = [model.id for model in side.client.models.list(limit=4)]
    return listed, side.client.models.retrieve(SMALL).id


def beta(side: Side) -> Any:
    return seen(side.client.beta.messages.create(**ask(betas=["context-1m-2025-08-07"])))


def raw_response(side: Side) -> Any:
    answer = side.client.messages.with_raw_response.create(**ask())
    return answer.status_code, seen(answer.parse()), answer.headers.get("request-id")


def transcripts(side: Side) -> Any:
    """Every kind of event there is, unknown ones and pings included, byte for byte."""
    found = []
    for name in sorted(admin("GET", "transcripts")):
        options = ask(metadata={"user_id": f"transcript:{name}"}, max_tokens=1000)
        try:
            found.append([event.model_dump(warnings=False) for event in side.client.messages.create(**options, stream=True)])
        except anthropic.APIError as error:
            found.append(repr(error))
    return found


def batches(side: Side) -> Any:
    requests = [{"custom_id": f"r{number}", "params": ask(max_tokens=10 + number)} for number in range(3)]
    made = side.client.messages.batches.create(requests=requests)
    wait_for_batch(made.id)
    listed = [batch.id for batch in side.client.messages.batches.list(limit=2)]
    ended = side.client.messages.batches.retrieve(made.id)
    results = side.client.get(f"/v1/messages/batches/{made.id}/results", cast_to=httpx.Response).text
    admin("PUT", "faults", [{"kind": "stall"}])  # or it might have ended before it is cancelled
    dropped = side.client.messages.batches.create(requests=requests[:1])
    cancelled = side.client.messages.batches.cancel(dropped.id)
    admin("DELETE", "faults")
    wait_for_batch(dropped.id)
    deleted = side.client.messages.batches.delete(made.id)
    return [seen(made), listed, seen(ended).replace(side.url, "…"), results, cancelled.id, seen(deleted)]


def batch_results(side: Side) -> Any:
    """By the URL that the batch itself names: it leads to the side that was asked."""
    requests = [{"custom_id": f"r{number}", "params": ask(max_tokens=10 + number)} for number in range(3)]
    made = side.client.messages.batches.create(requests=requests)
    wait_for_batch(made.id)
    ended = side.client.messages.batches.retrieve(made.id)
    listed = [batch.results_url for batch in side.client.messages.batches.list() if batch.id == made.id]
    results = sorted(seen(result) for result in side.client.messages.batches.results(made.id))
    assert ended.results_url is not None
    return [ended.results_url.removeprefix(side.url), listed == [ended.results_url], results]


def wait_for_batch(identity: str) -> None:
    """Past every record: how often one has to ask is no part of the answer."""
    until_s = time.monotonic() + 20
    request = urllib.request.Request(f"{API}/v1/messages/batches/{identity}", headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"})
    while time.monotonic() < until_s:
        with urllib.request.urlopen(request) as answer:
            if json.loads(answer.read())["processing_status"] == "ended":
                return
        time.sleep(0.02)
    raise TimeoutError(f"{identity} did not end")


def files(side: Side) -> Any:
    desk = getattr(side.client, "files", None) or side.client.beta.files
    made = desk.upload(file=("level.txt", b"80 percent\n" * 1000, "text/plain"))
    listed = [file.id for file in desk.list()]
    found = desk.retrieve_metadata(made.id)
    refused = failure(lambda: desk.download(made.id))
    return [seen(made), listed, seen(found), refused, seen(desk.delete(made.id))]


def refused(side: Side) -> Any:
    """Errors of the API's own: what it says is passed on as it says it."""
    create = side.client.messages.create
    return [
        failure(lambda: create(**ask(messages=[]))),
        failure(lambda: create(**ask(messages=[{"role": "user", "content": ""}]))),
        failure(lambda: create(**ask(stop_sequences=["x"] * 10_000))),
        failure(lambda: side.client.messages.count_tokens(model=NEW, messages=[])),
        failure(lambda: side.client.models.retrieve("claude-none")),
    ]


def failing(side: Side) -> Any:
    """Faults: answers that never were any, and streams that break."""

    def create() -> Any:
        return side.client.messages.create(**ask())

    def stream() -> Any:
        return list(side.client.messages.create(**ask(stream=True)))

    return [
        failure(create, {"kind": "overloaded"}),
        failure(create, {"kind": "error500"}),
        failure(stream, {"kind": "overloaded"}),
        failure(stream, {"kind": "stream_error", "after_events": 4}),
        failure(create, {"kind": "throttle", "retry_after_s": 1}),
    ]


SCENARIOS = (
    message, every_parameter, streaming, raw_events, asynchronous, concurrent, tools, thinking, caching, count_tokens, models, beta,
    raw_response, transcripts, batches, batch_results, files, refused, failing,
)  # fmt: skip


def received() -> list[str]:
    """What the API got, as far as its log says: of every request but those past the record."""
    kept = ("method", "path", "code", "api_version", "user_agent", "stainless", "body_sha256")
    found = []
    for entry in admin("GET", "requests?limit=1000"):
        if "urllib" not in entry["user_agent"]:
            names = sorted({name.lower() for name in entry["header_names"]} - KEYS - NOT_COMPARED)
            is_form = entry["path"] == "/v1/files"  # its boundary is another one each time
            found.append(repr([*(entry[name] for name in kept if not (is_form and name == "body_sha256")), names]))
    return sorted(found)


def play(side: Side) -> dict[str, tuple[list[Exchange], str]]:
    """Every scenario at one side, from the same beginning."""
    admin("POST", "reset")
    played = {}
    for scenario in SCENARIOS:
        side.record.clear()
        try:
            outcome = repr(scenario(side))
        except Exception:  # noqa: BLE001  reported to the test of this scenario
            outcome = f"failed: {traceback.format_exc()}"
        played[scenario.__name__] = (list(side.record), outcome)
    return played


def differences(api: list[Exchange], proxy: list[Exchange]) -> list[str]:
    """What a person needs to see of each."""
    found = []
    if [one.what for one in api] != [one.what for one in proxy]:
        return [f"asked {[one.what for one in api]}, and through the proxy {[one.what for one in proxy]}"]
    for one, other in zip(api, proxy, strict=True):
        if one.is_proxied or not other.is_proxied:
            found.append(f"{one.what}: the answer did not come from where it should")
        for name in ("status", "headers", "body", "is_whole"):
            mine, theirs = getattr(one, name), getattr(other, name)
            if name == "headers":
                mine, theirs = [pair for pair in mine if pair not in other.headers], [pair for pair in theirs if pair not in one.headers]
            if name == "headers" and {pair[0] for pair in (*mine, *theirs)} <= FRAMING:
                continue
            if name == "body":
                mine, theirs = RESULTS_URL.sub(rb"\1", mine), RESULTS_URL.sub(rb"\1", theirs)
            if mine != theirs:
                found.append(f"{one.what}: {name} {mine!r:.600} became {theirs!r:.600}")
    return found


def main() -> None:
    api, asked = play(Side(API, KEY)), received()
    proxy, passed_on = play(Side(PROXY, PLACEHOLDER)), received()
    report = {
        name: {
            "exchanges": len(api[name][0]),
            "differences": differences(api[name][0], proxy[name][0]),
            "outcomes": [api[name][1], proxy[name][1]] if api[name][1] != proxy[name][1] else [],
            "failed": next((side[name][1] for side in (api, proxy) if side[name][1].startswith("failed: ")), ""),
        }
        for name in api
    }
    lost, added = [entry for entry in asked if entry not in passed_on], [entry for entry in passed_on if entry not in asked]
    requests = {"count": len(asked), "lost": lost, "added": added}
    print(json.dumps({"version": anthropic.__version__, "scenarios": report, "requests": requests}))


main()
