"""Clients that read slowly, over real sockets: what they have asked for waits for them, and nothing of it piles up or is lost."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from tests.hostile_http import POST
from tests.sidecar.raw_upstream import Script, raw_upstream, read_request
from tests.sidecar.rig import Client, Rig, ask, config, proxy, resilience, run, until

from claudeops.proxyconfig import Retry, Timeouts
from claudeops.wire.server import LINGER_TICKS

BODY = json.dumps(ask()).encode()
REQUEST = POST + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
LAST_REQUEST = REQUEST.replace(b"host: x", b"host: x\r\nconnection: close")


def answer(size_bytes: int) -> bytes:
    body = b'{"usage":{"input_tokens":1,"output_tokens":1},"pad":"%b"}' % (b"x" * size_bytes)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def answering(size_bytes: int, seen: list[bytes]) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await read_request(reader))[1])
            writer.write(answer(size_bytes))
            await writer.drain()

    return script


async def connect_slowly(rig: Rig) -> tuple[Client, Any]:
    """A client that does not read, and what makes it."""
    client = await rig.connect()
    incoming: Any = client.writer.transport
    incoming.pause_reading()
    return client, incoming


def buffered_bytes(rig: Rig) -> int:
    return sum(connection.transport.get_write_buffer_size() for connection in rig.pipeline.server.connections)


async def until_nothing_moves(rig: Rig, seen: list[bytes]) -> None:
    async def state() -> tuple[int, int]:
        await asyncio.sleep(0.05)
        return len(seen), buffered_bytes(rig)

    before = (0, 0)
    for _ in range(100):
        now = await state()
        if seen and now == before:
            return
        before = now
    raise AssertionError("it never came to rest")


def test_a_client_that_reads_nothing_gets_no_more_answers_made() -> None:
    count, size_bytes = 120, 150_000

    async def test() -> None:
        seen: list[bytes] = []
        patient = resilience(timeouts=Timeouts(stream_idle_s=7200.0))
        async with raw_upstream(answering(size_bytes, seen)) as api, proxy(config(api.url, resilience=patient)) as rig:
            client, incoming = await connect_slowly(rig)
            client.writer.write(REQUEST * count)
            await until_nothing_moves(rig, seen)
            assert buffered_bytes(rig) < 3 * size_bytes
            assert len(seen) < count
            (connection,) = rig.pipeline.server.connections
            rig.pipeline.server.tick += 3600
            await until(lambda: rig.pipeline.server.tick > 3610)
            assert not connection.is_closed, "slow is not late: streamIdle says when"
            incoming.resume_reading()
            for _ in range(count):
                assert (await client.read()).status == 200
            client.writer.write(LAST_REQUEST)
            assert (await client.read()).status == 200
            assert await client.reader.read() == b""

    run(test)


def test_all_answers_reach_a_slow_client_that_sends_no_more() -> None:
    async def test() -> None:
        seen: list[bytes] = []
        async with raw_upstream(answering(1_000_000, seen)) as api, proxy(config(api.url)) as rig:
            client, incoming = await connect_slowly(rig)
            client.writer.write(REQUEST * 12)
            client.writer.write_eof()
            await until_nothing_moves(rig, seen)
            incoming.resume_reading()
            for _ in range(12):
                assert (await client.read()).status == 200
            assert await client.reader.read() == b""
            await until(lambda: not rig.pipeline.server.connections)

    run(test)


@pytest.mark.parametrize("behind", [b"\r\n", REQUEST])
def test_a_slow_client_gets_the_whole_of_its_last_answer_whatever_it_sent_behind_its_request(behind: bytes) -> None:
    async def test() -> None:
        async with raw_upstream(answering(200_000, [])) as api, proxy(config(api.url), sweep_s=0.01) as rig:
            client, incoming = await connect_slowly(rig)
            server = rig.pipeline.server
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            client.writer.write(LAST_REQUEST + behind)
            await until(lambda: buffered_bytes(rig) > 0 and connection.head is None)
            tick = server.tick
            await until(lambda: server.tick > tick + 2 * LINGER_TICKS)
            incoming.resume_reading()
            assert len((await client.read()).body) > 200_000
            assert await client.reader.read() == b""

    run(test)


def test_an_upstream_that_answers_before_it_has_the_request_gets_no_other_on_that_connection() -> None:
    """It may never read the rest, and whatever comes behind that neither."""
    refusal = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'

    async def test() -> None:
        is_over = asyncio.Event()

        async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: %d\r\n" % len(BODY) in head:
                writer.write(answer(0))
            else:
                writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(refusal), refusal))
            await is_over.wait()

        async with raw_upstream(hasty) as api, proxy(config(api.url, resilience=resilience(retry=Retry(max_attempts=1)))) as rig:
            reply = await rig.call(ask("x" * 20_000_000))
            assert (reply.status, reply.body) == (400, refusal)
            assert (await rig.call(BODY)).status == 200
            assert api.connections == 2
            is_over.set()

    run(test)
