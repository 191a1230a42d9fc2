"""What HTTP/1.1 lets a client do, over real sockets: each way of asking gets its answer, whole and in order."""

from __future__ import annotations

import asyncio
import json
import pathlib
import socket

import pytest
from tests.hostile_http import CHUNKED, POST
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.rig import Client, Rig, ask, config, proxy, run, simulator, until

from claudeops.wire.intake import ARRIVAL_TICKS

BODY = json.dumps(ask()).encode()
REQUEST = POST + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


def end_of_stream(client: Client) -> None:
    """The client shuts its side: it sends no more, and still reads."""
    client.writer.write_eof()


@pytest.mark.parametrize("sent", [REQUEST, CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), REQUEST.replace(b"/1.1", b"/1.0")])
@pytest.mark.parametrize("ttft_s", [0.0, 0.3])
def test_a_client_that_sends_no_more_gets_its_answer(sent: bytes, ttft_s: float) -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=ttft_s, tokens_per_s=10_000.0) as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            client.writer.write(sent)
            end_of_stream(client)
            reply = await client.read()
            assert (reply.status, reply.json["type"]) == (200, "message")
            assert await client.reader.read() == b"", "nothing else can come: the connection is closed"
            await until(lambda: not rig.pipeline.server.connections)

    run(test)


def test_a_client_that_sends_no_more_gets_all_answers_it_has_asked_for() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            client.writer.write(REQUEST * 3 + POST[:20])
            end_of_stream(client)
            for _ in range(3):
                assert (await client.read()).status == 200
            assert await client.reader.read() == b""
            assert len(api.requests()) == 3

    run(test)


def test_a_client_that_sends_no_more_gets_its_whole_stream() -> None:
    async def test() -> None:
        async with (
            simulator(speed=1.0, ttft_s=0.01, tokens_per_s=400.0, output_median_tokens=60.0, output_sigma=0.01) as api,
            proxy(config(api.url)) as rig,
        ):
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=True, max_tokens=100)).encode())
            status, _ = await client.read_head()
            assert status == 200
            end_of_stream(client)
            parts = b""
            while part := await client.read_chunk():
                parts += part
            assert parts.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')

    run(test)


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_client_that_is_gone_for_good_is_told_from_one_that_waits_without_the_sweep(is_reset: bool) -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=30.0) as api, proxy(config(api.url), sweep_s=60.0) as rig:
            client = await rig.connect()
            client.writer.write(REQUEST)
            await until(lambda: any(group.in_flight for group in api.stats().groups))
            if is_reset:
                client.writer.transport.abort()
            else:
                client.close()
            await until(lambda: is_settled(rig))
            await until(lambda: not any(group.in_flight for group in api.stats().groups))

    run(test)


def test_half_a_request_and_no_more_is_no_request() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            for size in (10, len(POST) + 10, len(REQUEST) - 1):
                client = await rig.connect()
                client.writer.write(REQUEST[:size])
                end_of_stream(client)
                assert await client.reader.read() == b""
            assert api.requests() == []

    run(test)


@pytest.mark.parametrize("framing", [b"content-length: %d\r\n" % len(BODY), b"transfer-encoding: chunked\r\n"])
def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(framing: bytes) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            client.writer.write(POST + framing + b"expect: 100-continue\r\n\r\n")
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.writer.write(BODY if b"length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
            assert (await client.read()).status == 200
            client.writer.write(REQUEST)
            assert (await client.read()).status == 200, "the connection goes on"
            assert not {"expect", "transfer-encoding"} & set(api.requests()[0].header_names)

    run(test)


def test_a_client_is_not_asked_for_a_body_that_is_too_large() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            client.writer.write(POST + b"content-length: 34000000\r\nexpect: 100-continue\r\n\r\n")
            status, headers = await client.read_head()
            assert (status, headers["connection"]) == (413, "close")

    run(test)


def test_http_1_0_gets_an_answer_it_can_read_and_the_end_of_the_connection() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            for is_streamed in (False, True):
                body = json.dumps(ask(stream=is_streamed)).encode()
                client = await rig.connect()
                client.writer.write(POST.replace(b"/1.1", b"/1.0") + b"content-length: %d\r\n\r\n%b" % (len(body), body))
                reply = await client.read()
                assert reply.status == 200
                assert "transfer-encoding" not in reply.headers
                assert b"message_stop" in reply.body if is_streamed else reply.json["type"] == "message"
                assert await client.reader.read() == b""

    run(test)


def test_pipelined_requests_are_answered_in_order_whatever_they_ask_for() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            stream = json.dumps(ask(stream=True)).encode()
            client.writer.write(
                b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"
                + POST + b"content-length: %d\r\n\r\n%b" % (len(stream), stream)
                + b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n\r\n"
                + CHUNKED + b"%x;a=b\r\n%b\r\n0\r\nx-a: b\r\n\r\n" % (len(BODY), BODY)
                + b"GET /v1/models?limit=2 HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\n\r\n"
                + POST + b"content-length: 1\r\nconnection: close\r\n\r\n{" + REQUEST
            )  # fmt: skip
            assert (await client.read(is_head=True)).status == 200
            assert (await client.read()).events[-1][0] == "message_stop"
            assert (await client.read()).reason == "no_such_path"
            assert (await client.read()).json["type"] == "message"
            assert len((await client.read()).json["data"]) == 2
            assert (await client.read()).reason == "bad_request"
            assert await client.reader.read() == b"", "it was to be the last"

    run(test)


@pytest.mark.parametrize("begun", [b"POST /v1", POST, POST + b"content-length: 100\r\n\r\n{", CHUNKED + b"5\r\n{"])
def test_a_client_that_is_too_slow_to_ask_is_told_and_left(begun: bytes) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url), sweep_s=60.0) as rig:
            client = await rig.connect()
            client.writer.write(begun)
            await until(lambda: any(not connection.is_idle for connection in rig.pipeline.server.connections))
            for _ in range(ARRIVAL_TICKS):
                rig.pipeline.sweep()
                client.writer.write(b"" if b"chunked" in begun else b"a")
            rig.pipeline.sweep()
            reply = await client.read()
            assert (reply.status, reply.json["error"]["type"], reply.headers["connection"]) == (408, "timeout_error", "close")
            assert await client.reader.read() == b""
            for _ in range(3):
                rig.pipeline.sweep()
            await until(lambda: not rig.pipeline.server.connections)
            assert api.requests() == []

    run(test)


def peak_mib() -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def test_a_body_of_32_megabytes_is_held_once() -> None:
    """The client and the upstream are blocking sockets on threads, which hold a few kilobytes of it at a time."""
    size = 32 * 1024 * 1024 - 1000
    head = b'{"model":"claude-sonnet-4-6","max_tokens":64,"messages":[{"role":"user","content":[{"type":"text","text":"'
    tail = b'"}]}]}'
    filling = b"x" * 65_536

    def send(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30.0) as sock:
            sock.sendall(POST + b"content-length: %d\r\n\r\n%b" % (size, head))
            left = size - len(head) - len(tail)
            while left:
                part = filling[:left]
                sock.sendall(part)
                left -= len(part)
            sock.sendall(tail)
            return sock.recv(65_536)

    async def test() -> None:
        got = 0

        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            left = int((await reader.readuntil(b"\r\n\r\n")).lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            while left:
                data = await reader.read(65_536)
                left -= len(data)
                got += len(data)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()

        async with raw_upstream(swallow) as upstream, proxy(config(upstream.url)) as rig:
            assert (await asyncio.to_thread(send, rig.port)).startswith(b"HTTP/1.1 200")
            pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before_mib = peak_mib()
            got = 0
            assert (await asyncio.to_thread(send, rig.port)).startswith(b"HTTP/1.1 200")
            assert got >= size
            grown_mib = peak_mib() - before_mib
            print(f"{grown_mib:.1f} MiB at the peak for a body of 32 MiB")
            assert grown_mib < 1.5 * 32, "it was held twice"

    run(test)


def test_an_upstreams_bytes_before_nonsense_in_the_same_read_reach_the_client() -> None:
    start = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    delta = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}\n\n'

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        part = start + b'event: content_block_start\ndata: {"type":"content_block_start"}\n\n' + delta
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%b\r\nno chunk\r\n" % (len(part), part))
        await writer.drain()
        await reader.read()

    async def test() -> None:
        async with raw_upstream(broken) as upstream, proxy(config(upstream.url)) as rig:
            reply = await rig.call(ask(stream=True))
            assert [name for name, _ in reply.events] == ["message_start", "content_block_start", "content_block_delta", "error"]
            assert upstream.connections == 1, "it is not repeated"
            await until(lambda: is_settled(rig))

    run(test)


def is_settled(rig: Rig) -> bool:
    return rig.runtime.in_flight == 0 and rig.pipeline.pool_counts()["busy"] == 0
