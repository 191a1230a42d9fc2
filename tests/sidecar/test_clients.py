"""What clients may do to the proxy: leave, talk nonsense, ask for what is not there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.sidecar.desk import desk
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.recorder import events
from tests.sidecar.rig import PRIMARY, ask, config, is_settled, proxy, run, simulator, until

from claudeops.catalogue import RateLimits
from claudeops.proxyconfig import Limits, Queue, Rates
from claudeops.sidecar.relay import Relay
from claudeops.simulator.fault import Fault
from claudeops.simulator.pool import COUNT_TOKENS_GROUP
from claudeops.wire.upstream import UpstreamConnection

TIGHT = Limits(
    baseline={"sonnet-4.x": Rates(requests_per_minute=6000, input_tokens_per_minute=6_000_000, output_tokens_per_minute=2400)},
    queue=Queue(max_wait_s=120.0),
)
"""One stream at a time."""

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def test_a_client_that_leaves_in_the_queue_is_forgotten() -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=30.0) as api, proxy(config(api.url, limits=TIGHT)) as rig:
            first, second = await rig.connect(), await rig.connect()
            await first.send(json.dumps(ask()).encode())
            await until(lambda: rig.runtime.in_flight == 1)
            await second.send(json.dumps(ask()).encode())
            await until(lambda: rig.runtime.queued == 1)
            assert "queue" in rig.urgent
            second.close()
            await until(lambda: rig.runtime.queued == 0)
            first.close()
            await until(lambda: is_settled(rig))
            assert rig.pipeline.is_idle

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_the_first_byte_closes_the_upstream_call(stream: bool) -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=30.0) as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=stream)).encode())
            await until(lambda: any(group.in_flight for group in api.stats().groups))
            client.close()
            await until(lambda: is_settled(rig))
            await until(lambda: not any(group.in_flight for group in api.stats().groups))
            assert rig.runtime.models[PRIMARY].counters[0].requests == {(499, ""): 1}
            assert rig.runtime.groups["sonnet-4.x"].counters.used_requests == 1

    run(test)


def test_a_client_that_leaves_mid_stream_closes_the_upstream_call_and_what_was_used_is_settled() -> None:
    async def test() -> None:
        async with (
            simulator(speed=1.0, ttft_s=0.01, tokens_per_s=100.0, output_median_tokens=4000.0, output_sigma=0.01) as api,
            proxy(config(api.url)) as rig,
        ):
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=True, max_tokens=8000)).encode())
            status, _ = await client.read_head()
            assert status == 200
            for _ in range(5):
                assert await client.read_chunk()
            client.close()
            await until(lambda: is_settled(rig))
            await until(lambda: not any(group.in_flight for group in api.stats().groups))
            used = rig.runtime.groups["sonnet-4.x"].counters
            assert used.used_output > 0
            assert used.used_input > 0

    run(test)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost : x\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-filler: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1" + b"0" * 5000 + b"\r\n\r\n", 400),
    ],
)
def test_malformed_http_gets_the_apis_error_shape(sent: bytes, status: int) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            client.writer.write(sent)
            reply = await client.read()
            assert reply.status == status
            assert reply.json["type"] == "error"
            assert reply.reason == ("too_large" if status == 413 else "bad_request")
            assert await client.reader.read() == b"", "the connection is closed"

    run(test)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"{}", b'{"model": 5}', b'{"model":"m","messages":3}', b"\xff\xfe", b"[" * 100_000, b'{"model":"\xff"}'],
)
def test_malformed_json_gets_the_apis_error_shape(body: bytes) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(body)
            assert (reply.status, reply.reason) == (400, "bad_request")
            assert reply.json["error"]["type"] == "invalid_request_error"
            assert "request_id" in reply.json

    run(test)


@pytest.mark.parametrize("path", ["/", "/v1/messages/batches", "/v1/files", "/v1/messages/", "/v1/models/a/b", "/v2/messages"])
def test_every_other_path_is_a_404(path: str) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(), path=path)
            assert (reply.status, reply.reason) == (404, "no_such_path")
            assert reply.json["error"]["type"] == "not_found_error"

    run(test)


def test_models_and_probes_are_relayed_or_answered() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(b"", path="/v1/models?limit=5", method="GET")
            assert len(reply.json["data"]) == 5
            reply = await rig.call(b"", path=f"/v1/models/{PRIMARY}", method="GET")
            assert reply.json["id"] == PRIMARY
            client = await rig.connect()
            await client.send(b"", path="/api/hello", method="HEAD")
            assert (await client.read(is_head=True)).status == 200

    run(test)


def test_count_tokens_takes_its_own_pool() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            body: dict[str, Any] = {"model": PRIMARY, "messages": [{"role": "user", "content": "hello there"}]}
            reply = await rig.call(body, path="/v1/messages/count_tokens")
            assert reply.json["input_tokens"] > 0
            assert rig.runtime.groups["count-tokens"].counters.admitted == 1
            assert rig.runtime.groups["sonnet-4.x"].counters.admitted == 0

    run(test)


def test_a_429_of_count_tokens_is_waited_for_and_says_nothing_about_the_model() -> None:
    async def test() -> None:
        limits = {COUNT_TOKENS_GROUP: RateLimits(120, 10**9, 10**9)}
        async with simulator(limits=limits, burst_s=0.5) as api, proxy(config(api.url)) as rig:
            body: dict[str, Any] = {"model": PRIMARY, "messages": [{"role": "user", "content": "hello there"}]}
            replies = [await rig.call(body, path="/v1/messages/count_tokens") for _ in range(3)]
            assert [reply.status for reply in replies] == [200] * 3
            model = rig.runtime.models[PRIMARY]
            counters = model.counters[0]
            assert sum(counters.retries.values()) >= 1
            assert (counters.throttles, counters.throttles_above_level, counters.upstream) == ({}, 0, {})
            assert "429" not in rig.urgent
            assert model.breaker.throttles == 0
            assert model.group.limiter.paused_until <= 0.0
            assert rig.runtime.groups["count-tokens"].limiter.paused_until > 0.0

    run(test)


def test_the_beta_query_is_the_same_path() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            assert (await rig.call(ask(), path="/v1/messages?beta=true")).status == 200

    run(test)


def test_both_kinds_of_credentials_and_our_own_headers_stop_at_the_proxy() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            headers = {"authorization": "Bearer secret", "x-claudeops-session": "s", "x-custom": "1", "connection": "x-hop", "x-hop": "1"}
            assert (await rig.call(ask(), headers=headers)).status == 200
            seen = api.requests()[0]
            assert seen.key == "-rig"
            names = set(seen.header_names)
            assert "x-custom" in names
            assert not names & {"authorization", "x-claudeops-session", "connection", "x-hop"}

    run(test)


def test_a_connection_serves_one_request_after_the_other_pipelined_ones_too() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            body = json.dumps(ask()).encode()
            head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n" % len(body)
            client.writer.write((head + body) * 3)
            for _ in range(3):
                assert (await client.read()).status == 200
            await client.send(body, headers={"content-length": str(len(body))})
            assert (await client.read()).status == 200

    run(test)


def test_a_chunked_request_is_understood() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            body = json.dumps(ask()).encode()
            client.writer.write(
                b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\ntransfer-encoding: chunked\r\n\r\n"
                + b"5\r\n%b\r\n" % body[:5]
            )
            await client.writer.drain()
            client.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 5, body[5:]))
            assert (await client.read()).status == 200

    run(test)


def test_a_request_that_comes_in_many_pieces_is_understood() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            body = json.dumps(ask("x" * 3000)).encode()
            raw = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            for at in range(0, len(raw), 97):
                client.writer.write(raw[at : at + 97])
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await client.read()).status == 200

    run(test)


def test_a_body_over_32_mebibytes_is_a_413() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (33 * 1024 * 1024)
            client.writer.write(head + b"x" * 100_000)
            reply = await client.read()
            assert (reply.status, reply.reason) == (413, "too_large")
            assert reply.json["error"]["type"] == "request_too_large"

    run(test)


def test_a_chunked_body_over_32_mebibytes_is_a_413_too() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            client.writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            chunk = b"100000\r\n%b\r\n" % (b"x" * 0x100000)
            for _ in range(33):
                client.writer.write(chunk)
            reply = await client.read()
            assert (reply.status, reply.reason) == (413, "too_large")
            assert reply.json["error"]["type"] == "request_too_large"
            assert api.requests() == []

    run(test)


def test_draining_refuses_new_requests_and_cuts_no_stream() -> None:
    async def test() -> None:
        release = asyncio.Event()
        begun: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, body = await read_request(reader)
            begun.append(body)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + events({"type": "content_block_start"}))
            await release.wait()
            writer.write(events({"type": "message_stop"}))
            await writer.drain()

        async with raw_upstream(script) as api, proxy(config(api.url)) as rig:
            running = [asyncio.ensure_future(rig.call(ask(stream=True))) for _ in range(20)]
            await until(lambda: len(begun) == 20)
            rig.pipeline.start_drain()
            reply = await rig.call(ask())
            assert (reply.status, reply.reason) == (503, "draining")
            assert reply.headers["retry-after"] == "1"
            assert not rig.pipeline.is_idle
            release.set()
            for reply in await asyncio.gather(*running):
                assert [name for name, _ in reply.events] == ["content_block_start", "message_stop"]
            await until(lambda: rig.pipeline.is_idle)

    run(test)


def test_answers_given_while_draining_end_their_connections_and_say_so() -> None:
    """Relayed and refused, whole and streamed, of a model and of a batch; what has begun before goes on as it began."""

    async def test() -> None:
        async with desk() as api, proxy(config(api.url, endpoints=("Batches",))) as rig:
            begun, streamed, whole, batch, idle = [await rig.connect() for _ in range(5)]
            await begun.send(json.dumps(ask(stream=True)).encode())
            running = await api.next()
            running.writer.write(STREAM_HEAD + events({"type": "content_block_start"}))
            assert "connection" not in (await begun.read_head())[1]
            await streamed.send(json.dumps(ask(stream=True)).encode())
            held = await api.next()
            await whole.send(json.dumps(ask()).encode())
            asked = await api.next()
            await batch.send(b"", path="/v1/messages/batches/b", method="GET")
            listed = await api.next()
            rig.pipeline.start_drain()
            held.writer.write(STREAM_HEAD + events({"type": "content_block_start"}, {"type": "message_stop"}))
            asked.answer(lines="connection: keep-alive\r\n")
            listed.answer()
            for arrival in (held, running):
                arrival.writer.write(events({"type": "message_stop"}) if arrival is running else b"")
                arrival.writer.close()
            for client in (streamed, whole, batch):
                reply = await client.read()
                assert (reply.status, reply.headers["connection"]) == (200, "close")
            for client in (begun, streamed, whole, batch, idle):
                await asyncio.wait_for(client.reader.read(), 5)
            for path, method, status in (("/v1/messages", "POST", 503), ("/v1/models", "GET", 503), ("/", "HEAD", 200)):
                client = await rig.connect()
                await client.send(json.dumps(ask()).encode() if method == "POST" else b"", path=path, method=method)
                reply = await client.read()
                assert (reply.status, reply.headers["connection"]) == (status, "close")
                assert await client.reader.read() == b""

    run(test)


def test_a_slow_reader_slows_the_upstream_down_and_loses_nothing() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind="big_event", after_events=0, size_bytes=4_000_000)])
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=True)).encode())
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: rig.runtime.models[PRIMARY].group.in_flight == 1)
            client.reader._transport.resume_reading()  # type: ignore[attr-defined]
            reply = await client.read()
            assert reply.events[-1][0] == "message_stop"

    run(test)


def test_a_slow_reader_is_never_taken_for_a_silent_upstream() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind="big_event", after_events=0, size_bytes=40_000_000)])
            client = await rig.connect()
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(json.dumps(ask(stream=True)).encode())
            await until(lambda: any(connection.transit is not None for connection in rig.pipeline.server.connections))
            relay = next(connection.transit for connection in rig.pipeline.server.connections if connection.transit is not None)
            assert isinstance(relay, Relay)
            await until(lambda: isinstance(relay.upstream, UpstreamConnection) and relay.upstream.is_paused)
            relay.last_byte_at -= 3600.0  # as if the reader had been at it for an hour
            relay.check()
            client.reader._transport.resume_reading()  # type: ignore[attr-defined]
            reply = await client.read()
            assert len(reply.body) > 40_000_000
            assert reply.events[-1][0] == "message_stop"

    run(test)
