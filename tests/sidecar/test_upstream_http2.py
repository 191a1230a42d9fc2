"""HTTP/2 to the upstream: the same bytes, fewer connections, and every way in which a stream or a connection may end."""

from __future__ import annotations

import asyncio
import gc
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from h2.settings import SettingCodes
from tests.sidecar.http2_peer import Certificate, Exchange, Http2Server
from tests.sidecar.rig import KEY, PRIMARY, Rig, ask, config, is_settled, proxy, resilience, run, until

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import Connections, ProxyConfig, Retry, Timeouts, Upstream
from claudeops.sidecar import target
from claudeops.wire.http2_pool import Http2Pool

USAGE = {"input_tokens": 9, "output_tokens": 3}
MESSAGE = json.dumps({"id": "msg_1", "type": "message", "role": "assistant", "model": PRIMARY, "content": [], "usage": USAGE}).encode()
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0}\n\n'
)
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"%b"}}\n\n'
STOP = (
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":3}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


def http2(url: str, **parts: Any) -> ProxyConfig:
    return config(url, **({"connections": Connections(min=0, max=300, protocol="HTTP2")} | parts))


def pool_of(rig: Rig) -> Http2Pool:
    pool = rig.pipeline.pool
    assert isinstance(pool, Http2Pool)
    return pool


def whole(exchange: Exchange) -> None:
    exchange.answer(MESSAGE, request_id="req_1", content_length=str(len(MESSAGE)))


def nothing(exchange: Exchange) -> None:
    """The test answers."""


def test_a_request_goes_out_over_tls_with_its_bytes_and_the_key() -> None:
    async def test() -> None:
        certificate = Certificate()
        async with Http2Server(whole, certificate=certificate) as api:
            document = http2(api.url, upstream=Upstream(base_url=api.url + "/base", ca_bundle=certificate.pem))
            async with proxy(document) as rig:
                body = b'{"messages":[{"role":"user","content":"h\xc3\xa9"}], "max_tokens" :64, "model":"%b"}' % PRIMARY.encode()
                reply = await rig.call(body, headers={"x-Odd": "kept", "Connection": "keep-alive, x-hop", "x-hop": "1"})
                assert (reply.status, reply.body, reply.headers["request-id"]) == (200, MESSAGE, "req_1")
                (seen,) = api.requests
                assert seen.body == body
                assert (seen.headers[":method"], seen.headers[":path"], seen.headers[":scheme"]) == ("POST", "/base/v1/messages", "https")
                assert seen.headers[":authority"] == api.url.removeprefix("https://")
                assert (seen.headers["x-api-key"], seen.headers["x-odd"]) == (KEY.decode(), "kept")
                assert not {"host", "connection", "x-hop", "transfer-encoding"} & seen.headers.keys()
                assert is_settled(rig)

    run(test)


def test_requests_at_once_share_a_connection_up_to_what_the_upstream_allows() -> None:
    async def test() -> None:
        async with Http2Server(nothing, streams_max=10) as api, proxy(http2(api.url)) as rig:
            calls = [asyncio.ensure_future(rig.call(ask(f"number {number}"))) for number in range(25)]
            await until(lambda: len(api.requests) == 25)
            assert rig.pipeline.pool_counts()["busy"] == len(api.connections) == 3
            for exchange in reversed(api.requests):
                exchange.answer(json.dumps({"echo": json.loads(exchange.body)["messages"]}).encode())
            for number, call in enumerate(calls):
                assert (await call).json == {"echo": ask(f"number {number}")["messages"]}
            assert is_settled(rig)
            assert rig.pipeline.pool_counts() == {"idle": 3, "busy": 0, "opening": 0}

    run(test)


def test_a_stream_is_relayed_byte_for_byte_as_it_arrives() -> None:
    async def test() -> None:
        async with Http2Server(nothing) as api, proxy(http2(api.url)) as rig:
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=True)).encode())
            await until(lambda: len(api.requests) == 1)
            (exchange,) = api.requests
            exchange.head(content_type="text/event-stream")
            exchange.data(START)
            assert (await client.read_head())[0] == 200
            assert await client.read_chunk() == START
            for text in (b"a", b"b" * 40_000, b"event: unknown"):
                exchange.data(DELTA % text)
                got = b""
                while len(got) < len(DELTA % text):
                    got += await client.read_chunk()
                assert got == DELTA % text
            exchange.data(STOP, is_last=True)
            assert await client.read_chunk() == STOP
            assert await client.read_chunk() == b""
            assert rig.runtime.models[PRIMARY].used.standard.output == 3
            assert is_settled(rig)

    run(test)


def test_a_client_that_leaves_resets_its_stream_at_once_and_no_other() -> None:
    async def test() -> None:
        async with Http2Server(nothing) as api, proxy(http2(api.url)) as rig:
            stays, leaves = await rig.connect(), await rig.connect()
            for client in (stays, leaves):
                await client.send(json.dumps(ask(stream=True)).encode())
                count = len(api.requests)
                await until(lambda count=count: len(api.requests) > count)  # type: ignore[misc]
            for exchange in api.requests:
                exchange.head(content_type="text/event-stream")
                exchange.data(START)
            await leaves.read_head()
            leaves.writer.transport.abort()

            def is_reset() -> bool:
                if api.requests[1].reset is None:
                    api.requests[1].data(DELTA % b"to nobody")
                return api.requests[1].reset is not None

            await until(is_reset)
            assert api.requests[1].reset == 8  # CANCEL
            api.requests[0].data(STOP, is_last=True)
            assert [name for name, _ in (await stays.read()).events][-1] == "message_stop"
            assert api.requests[0].reset is None
            assert is_settled(rig)
            assert len(api.connections) == 1

    run(test)


def test_a_slow_client_holds_back_its_own_stream_only() -> None:
    async def test() -> None:
        async with Http2Server(nothing) as api, proxy(http2(api.url)) as rig:
            client = await rig.connect()
            incoming: Any = client.writer.transport
            incoming.pause_reading()
            await client.send(json.dumps(ask(stream=True)).encode())
            await until(lambda: len(api.requests) == 1)
            (exchange,) = api.requests
            exchange.head(content_type="text/event-stream")
            event = DELTA % (b"x" * 16_000)
            sent = [START]
            exchange.data(START)

            def fill() -> None:
                while exchange.room >= len(event) and len(sent) < 1_200:
                    sent.append(event)
                    exchange.data(event)

            api.on_room = fill
            fill()
            (stream,) = pool_of(rig).connections[0].streams.values()
            await until(lambda: stream.is_held and exchange.room < len(event))
            api.handle = whole
            assert (await rig.call(ask())).status == 200
            assert len(api.connections) == 1
            assert stream.is_held
            assert len(sent) < 1_200
            incoming.resume_reading()
            await until(lambda: len(sent) == 1_200, within_s=20)
            exchange.data(STOP, is_last=True)
            assert (await client.read()).body == b"".join(sent) + STOP
            assert is_settled(rig)

    run(test)


def test_a_large_body_goes_out_at_the_upstreams_pace() -> None:
    async def test() -> None:
        async with Http2Server(whole) as api, proxy(http2(api.url)) as rig:
            body = json.dumps(ask("x" * 3_000_000)).encode()
            assert (await rig.call(body)).status == 200
            assert api.requests[0].body == body

    run(test)


def goaway(exchange: Exchange, last_id: int, code: int = 0) -> None:
    """Written by hand: h2 would count the connection as closed."""
    exchange.peer.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + struct.pack("!II", last_id, code))


def test_what_runs_ends_on_a_connection_that_is_going_away_and_new_requests_take_another() -> None:
    async def test() -> None:
        async with Http2Server(nothing) as api, proxy(http2(api.url)) as rig:
            running = asyncio.ensure_future(rig.call(ask(stream=True)))
            await until(lambda: len(api.requests) == 1)
            first = api.requests[0]
            first.head(content_type="text/event-stream")
            first.data(START)
            goaway(first, first.number)
            first.data(DELTA % b"more")
            await until(lambda: pool_of(rig).connections[0].is_draining)
            api.handle = whole
            assert (await rig.call(ask())).status == 200
            assert len(api.connections) == 2
            first.data(STOP, is_last=True)
            assert (await running).body == START + DELTA % b"more" + STOP
            await until(lambda: api.connections[0].is_lost)
            assert is_settled(rig)

    run(test)


def test_what_the_upstream_had_not_begun_is_sent_again_unseen() -> None:
    async def test() -> None:
        async with Http2Server(whole) as api, proxy(http2(api.url)) as rig:
            assert (await rig.call(ask())).status == 200

            def turn_away(exchange: Exchange) -> None:
                api.handle = whole
                goaway(exchange, exchange.number - 2)

            api.handle = turn_away
            assert (await rig.call(ask())).status == 200
            assert (len(api.connections), len(api.requests)) == (2, 3)
            assert rig.runtime.models[PRIMARY].counters[0].retries == {}

    run(test)


def reset(exchange: Exchange) -> None:
    exchange.peer.h2.reset_stream(exchange.number, 2)


def cut(exchange: Exchange) -> None:
    exchange.peer.transport.abort()


def garbage(exchange: Exchange) -> None:
    exchange.peer.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")


def line_end(exchange: Exchange) -> None:
    exchange.peer.h2.config.validate_outbound_headers = False
    exchange.answer(MESSAGE, x_evil="a\r\nset-cookie: b")


@pytest.mark.parametrize(
    ("fault", "words"),
    [(reset, "INTERNAL_ERROR"), (cut, "closed the connection"), (garbage, "not valid HTTP/2"), (line_end, "not valid HTTP/2")],
)
def test_a_broken_answer_is_a_502_in_the_apis_shape(fault: Callable[[Exchange], None], words: str) -> None:
    async def test() -> None:
        document = resilience(retry=Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100))
        async with Http2Server(fault) as api, proxy(http2(api.url, resilience=document)) as rig:
            reply = await rig.call(ask())
            assert (reply.status, reply.reason) == (502, "upstream")
            assert words in reply.json["error"]["message"]
            assert len(api.requests) == 2
            assert is_settled(rig)
            api.handle = whole
            assert (await rig.call(ask())).status == 200

    run(test)


def test_a_connection_that_answers_no_ping_is_given_up() -> None:
    async def test() -> None:
        async with (
            Http2Server(nothing) as api,
            proxy(http2(api.url, resilience=resilience(retry=Retry(max_attempts=1))), sweep_s=0.01) as rig,
        ):
            call = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: len(api.requests) == 1)
            await until(lambda: pool_of(rig).tick > 60)  # answered PINGs keep it
            assert not call.done()
            api.is_deaf = True
            reply = await call
            assert reply.status == 502
            assert "PING" in reply.json["error"]["message"]
            assert pool_of(rig).connections == []

    run(test)


def test_old_connections_end_between_requests_and_never_during_one() -> None:
    async def test() -> None:
        async with Http2Server(nothing) as api, proxy(http2(api.url), sweep_s=0.01) as rig:
            pool_of(rig).age_ticks = 10
            call = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: len(api.requests) == 1)
            connection = pool_of(rig).connections[0]
            await until(lambda: pool_of(rig).tick > connection.retires_at)
            assert connection.is_open
            whole(api.requests[0])
            assert (await call).status == 200
            await until(lambda: api.connections[0].is_lost)
            assert rig.pipeline.pool_counts() == {"idle": 0, "busy": 0, "opening": 0}

    run(test)


def test_an_upstream_without_http2_is_a_502_that_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        certificate = Certificate()
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, "127.0.0.1", 0, ssl=certificate.server_context("http/1.1")
        )
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        document = http2(url, upstream=Upstream(base_url=url, ca_bundle=certificate.pem))
        async with proxy(document) as rig:
            reply = await rig.call(ask())
            assert reply.status == 502
            assert "set connections.protocol to HTTP1" in reply.json["error"]["message"]
        server.close()

    run(test)
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_without_h2_the_configuration_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "find_spec", lambda name: None)
    with pytest.raises(InvalidResource, match=r"connections\.protocol: HTTP2 needs the package h2 .* install claudeops\[http2\]"):
        target.target_of(http2("https://127.0.0.1"))
    assert target.target_of(config("https://127.0.0.1")).shared is None


REFUSED_STREAM = 7


def test_requests_that_were_refused_because_the_upstream_takes_fewer_now_are_sent_again_unseen() -> None:
    """They were not worked on (RFC 9113 section 8.7), and say nothing about the model."""

    async def test() -> None:
        async with Http2Server(whole) as api, proxy(http2(api.url)) as rig:
            assert (await rig.call(ask())).status == 200
            api.handle = nothing
            calls = [asyncio.ensure_future(rig.call(ask(f"number {number}"))) for number in range(40)]
            await until(lambda: len(api.requests) == 41)
            api.handle = whole
            (connection,) = api.connections
            connection.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 5})
            for exchange in api.requests[6:41]:
                connection.h2.reset_stream(exchange.number, REFUSED_STREAM)
            connection.flush()
            for exchange in api.requests[1:6]:
                whole(exchange)
            assert [reply.status for reply in await asyncio.gather(*calls)] == [200] * 40
            assert rig.runtime.models[PRIMARY].counters[0].retries == {}
            assert len(api.connections) == 2
            assert is_settled(rig)

    run(test)


def test_an_upstream_that_refuses_whatever_comes_is_not_asked_without_an_end() -> None:
    async def test() -> None:
        document = resilience(retry=Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100))
        async with Http2Server(whole) as api, proxy(http2(api.url, resilience=document)) as rig:
            assert (await rig.call(ask())).status == 200
            api.handle = lambda exchange: exchange.peer.h2.reset_stream(exchange.number, REFUSED_STREAM)
            reply = await rig.call(ask())
            assert reply.status == 502
            assert "REFUSED_STREAM" in reply.json["error"]["message"]
            assert len(api.requests) <= 5
            assert is_settled(rig)

    run(test)


def test_an_upstream_that_takes_no_request_at_all_is_a_502_and_not_a_storm_of_connections() -> None:
    async def test() -> None:
        async with Http2Server(whole, streams_max=0) as api, proxy(http2(api.url)) as rig:
            reply = await rig.call(ask())
            assert reply.status == 502
            assert "MAX_CONCURRENT_STREAMS is 0" in reply.json["error"]["message"]
            assert len(api.connections) == 3, "one for each attempt"
            await until(lambda: all(connection.is_lost for connection in api.connections))
            assert is_settled(rig)
            api.streams_max = None
            assert (await rig.call(ask())).status == 200

    run(test)


def test_a_silent_upstream_is_a_504_and_its_stream_reset() -> None:
    async def test() -> None:
        document = resilience(timeouts=Timeouts(connect_s=1, first_byte_s=0.2, stream_idle_s=1, total_s=0.5))
        async with Http2Server(nothing) as api, proxy(http2(api.url, resilience=document)) as rig:
            assert (await rig.call(ask())).status == 504
            await until(lambda: all(exchange.reset == 8 for exchange in api.requests))
            assert is_settled(rig)

    run(test)
