"""Which headers pass, in both directions, and what answers say about themselves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.recorder import events, message, recorder, stream, whole
from tests.sidecar.rig import FALLBACK, KEY, PRIMARY, ask, config, proxy, run, simulator

from claudeops.exchange import Assignment, Flip
from claudeops.proxyconfig import ModelChoice


def lines(head: bytes) -> dict[str, str]:
    """Header lines by lower-case name."""
    pairs = [line.decode().partition(":") for line in head.strip().split(b"\r\n")[1:]]
    assert len({name.lower() for name, _, _ in pairs}) == len(pairs), "nothing is sent twice"
    return {name.lower(): value.strip() for name, _, value in pairs}


def test_requests_lose_what_belongs_to_one_hop_and_to_the_proxy_and_keep_the_rest() -> None:
    async def test() -> None:
        stays = {"Anthropic-Beta": "a,b", "User-Agent": "x/1", "X-Stainless-Timeout": "600", "X-Unknown": "1", "Accept": "*/*"}
        goes = {
            "Authorization": "Bearer t",
            "X-Claudeops-Session": "s",
            "x-claudeops-anything": "1",
            "Connection": "keep-alive, X-Hop , x-other-hop",
            "X-Hop": "1",
            "X-Other-Hop": "2",
            "Keep-Alive": "timeout=5",
            "TE": "trailers",
            "Trailer": "x",
            "Proxy-Authorization": "Basic x",
            "Proxy-Connection": "keep-alive",
        }
        async with recorder(lambda body: whole(message())) as api, proxy(config(api.url)) as rig:
            assert (await rig.call(ask(), headers=stays | goes)).status == 200
            seen = lines(api.seen[-1][0])
            length = str(len(api.seen[-1][1]))
            expected = {name.lower(): value for name, value in stays.items()}
            expected |= {"host": api.url.removeprefix("http://"), "x-api-key": KEY.decode(), "content-length": length}
            expected |= {"anthropic-version": "2023-06-01", "content-type": "application/json", "accept-encoding": "identity"}
            assert seen == expected

    run(test)


@pytest.mark.parametrize("is_stream", [False, True])
def test_answers_lose_what_belongs_to_one_hop_and_what_only_a_proxy_may_say_and_keep_the_rest(is_stream: bool) -> None:
    async def test() -> None:
        stays = {"request-id": "req_1", "anthropic-organization-id": "o", "set-cookie": "a=b", "x-unknown": "1", "cf-ray": "x"}
        goes = ["Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Upgrade: h2c", "X-Claudeops-Model: fake", "x-claudeops-other: 1"]
        all_lines = (*goes, *(f"{name}: {value}" for name, value in stays.items()))
        data = events({"type": "content_block_start"}, {"type": "message_stop"})
        answer = stream(data, lines=all_lines) if is_stream else whole(message(), *all_lines)
        async with recorder(lambda body: answer) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(stream=is_stream))
            ours = {name: reply.headers.pop(name) for name in list(reply.headers) if name.startswith("x-claudeops-")}
            for name in ("content-type", "content-length", "transfer-encoding"):
                reply.headers.pop(name, None)
            assert reply.headers == stays
            assert set(ours) == {f"x-claudeops-{name}" for name in ("tier", "model", "queue-ms", "context-percent")}
            assert (ours["x-claudeops-tier"], ours["x-claudeops-model"]) == ("primary", PRIMARY)

    run(test)


@pytest.mark.parametrize("size_bytes", [0, 300_000])
def test_a_line_whose_name_begins_as_the_lengths_does_is_no_length(size_bytes: int) -> None:
    """Its client would wait for the connection's end, and take the next answer for more of this one."""
    body = message()[:-1] + b',"pad":"%b"}' % (b"x" * size_bytes)

    async def unframed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length-hint: 5\r\n\r\n" + body)
        await writer.drain()

    async def test() -> None:
        async with raw_upstream(unframed) as api, proxy(config(api.url, endpoints=("Files",))) as rig:
            client = await rig.connect()
            for path, method in (("/v1/messages", "POST"), ("/v1/files/f", "GET")):
                await client.send(json.dumps(ask()).encode() if method == "POST" else b"", path=path, method=method)
                reply = await client.read()
                assert (reply.body, reply.headers["content-length-hint"]) == (body, "5")
                assert {"content-length", "transfer-encoding"} & reply.headers.keys()

    run(test)


def test_the_percentage_of_the_context_is_the_apis_count_where_it_is_there_in_time_else_the_estimate() -> None:
    async def test() -> None:
        usage = {"input_tokens": 200_000, "cache_read_input_tokens": 150_000, "cache_creation_input_tokens": 1, "output_tokens": 1}
        start: dict[str, Any] = {"type": "message_start", "message": {"usage": usage}}

        def answer(body: Any) -> Any:
            if body.get("metadata"):
                return whole(b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}', status=400)
            if body.get("stream"):
                return stream(events(start), events({"type": "content_block_start"}, {"type": "message_stop"}))
            return whole(message(input_tokens=120_000))

        async with recorder(answer) as api, proxy(config(api.url, model=ModelChoice(name=PRIMARY))) as rig:
            for body, percent in ((ask(), "12"), (ask(stream=True), "35")):
                assert (await rig.call(body)).headers["x-claudeops-context-percent"] == percent
            refused = await rig.call(ask("word " * 100_000, metadata={"user_id": "u"}))
            assert (refused.status, refused.reason) == (400, None)
            assert 5 <= int(refused.headers["x-claudeops-context-percent"]) <= 30

    run(test)


def test_of_what_is_no_message_nothing_is_said_about_the_context() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            count = {name: value for name, value in ask().items() if name != "max_tokens"}
            for path, method, body in (("/v1/messages/count_tokens", "POST", json.dumps(count).encode()), ("/v1/models", "GET", b"")):
                reply = await rig.call(body, path=path, method=method)
                assert reply.status == 200
                ours = {name for name in reply.headers if name.startswith("x-claudeops-")}
                assert ours == {f"x-claudeops-{name}" for name in ("tier", "model", "queue-ms")}

    run(test)


def test_a_session_is_named_by_the_applications_own_header_which_stays_behind() -> None:
    async def test() -> None:
        model = ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,))
        async with recorder(lambda body: whole(message())) as api, proxy(config(api.url, model=model)) as rig:
            rig.assign(Assignment(epoch=1, version=1, flips=[Flip(model=PRIMARY)]))
            client = await rig.connect()
            ours, theirs = {"x-claudeops-session": "s1"}, {"X-Chat-Id": "s2"}
            for revision, own_name, headers, session in (
                (2, "", ours | theirs, b"s1"),
                (3, "x-chat-id", theirs, b"s2"),
                (4, "x-chat-id", ours | theirs, b"s1"),
                (5, "", theirs, b"u"),
            ):
                parts = {"session_header": own_name} if own_name else {}
                rig.apply(config(api.url, revision=revision, model=model, **parts))
                rig.runtime.sticky.entries.clear()
                await client.send(json.dumps(ask(metadata={"user_id": "u"})).encode(), headers=headers)
                assert (await client.read()).status == 200
                assert list(rig.runtime.sticky.entries) == [session]
                assert ("x-chat-id" in lines(api.seen[-1][0])) == (not own_name)

    run(test)


@pytest.mark.parametrize(
    ("status", "framing"),
    [(204, ""), (304, ""), (204, "connection: keep-alive"), (204, "transfer-encoding: chunked"), (304, "content-length: 1234")],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("DELETE", "/v1/files/file_1")])
def test_an_answer_that_has_no_body_by_its_status_gets_no_length_that_it_did_not_have_and_the_connections_go_on(
    method: str, path: str, status: int, framing: str
) -> None:
    async def test() -> None:
        lines = "".join(f"{line}\r\n" for line in ("etag: x", framing) if line)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await read_request(reader)
                writer.write(f"HTTP/1.1 {status} -\r\n{lines}\r\n".encode())

        async with raw_upstream(script) as api, proxy(config(api.url, endpoints=("Files",))) as rig:
            client = await rig.connect()
            for _ in range(2):
                await client.send(b"", path=path, method=method)
                found, headers = await client.read_head()
                assert (found, headers["etag"]) == (status, "x")
                assert headers.get("content-length") == ("1234" if "1234" in framing else None)
                assert "transfer-encoding" not in headers
            assert api.connections == 1

    run(test)
