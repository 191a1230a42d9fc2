"""Clients that stay and read nothing lose their place; those that read slowly never do."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from tests.sidecar.raw_upstream import Script, raw_upstream, read_request
from tests.sidecar.rig import PRIMARY, Rig, ask, config, is_settled, proxy, resilience, run, until

from claudeops.proxyconfig import ProxyConfig, Timeouts
from claudeops.sidecar.settle import GONE
from claudeops.wire.server import IDLE_TICKS

IDLE_S = 12.0
"""So many sweeps too: here they come faster than once a second."""
PIECE = b"event: content_block_delta\ndata: %b\n\n" % (b"x" * 65_536)
PIECES = 160
MESSAGE = json.dumps(ask(stream=True)).encode()


def impatient(url: str, **parts: Any) -> ProxyConfig:
    timeouts = Timeouts(connect_s=1.0, first_byte_s=20.0, stream_idle_s=IDLE_S, total_s=30.0)
    return config(url, resilience=resilience(timeouts=timeouts), endpoints=("Files",), **parts)


def streaming(pieces: int) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        kind = b"text/event-stream" if b"/v1/messages" in head else b"application/octet-stream"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\nevent: content_block_start\ndata: {}\n\n" % kind)
        for _ in range(pieces):
            writer.write(PIECE)
            await writer.drain()
        writer.write(b"event: message_stop\ndata: {}\n\n")
        await writer.drain()

    return script


async def ask_by_hand(rig: Rig, method: str, path: str, body: bytes = b"") -> socket.socket:
    """A client that reads when the test does; HTTP/1.0: its answer comes without chunks, and ends with the connection."""
    client = socket.socket()
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", rig.port))
    lines = f"{method} {path} HTTP/1.0\r\nhost: x\r\nanthropic-version: 2023-06-01\r\n"
    await loop.sock_sendall(client, f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
    return client


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/files/file_1/content"])
def test_a_client_that_takes_nothing_of_its_answer_is_cut_and_counted_as_gone(path: str) -> None:
    async def test() -> None:
        is_message = path == "/v1/messages"
        async with raw_upstream(streaming(100_000)) as api, proxy(impatient(api.url)) as rig:
            with await ask_by_hand(rig, "POST" if is_message else "GET", path, MESSAGE if is_message else b""):
                await until(lambda: any(connection.is_full for connection in rig.pipeline.server.connections))
                await until(lambda: not rig.pipeline.server.connections and is_settled(rig) and not api.open)
            if is_message:
                assert rig.runtime.models[PRIMARY].counters[0].requests == {(GONE, ""): 1}
                assert rig.runtime.models[PRIMARY].breaker.counts(rig.runtime.clock()) == (0, 0)
            else:
                assert rig.runtime.groups["files"].counters.answers == {(GONE, ""): 1}

    run(test)


def test_a_slow_client_that_takes_something_now_and_then_gets_all_of_it() -> None:
    async def test() -> None:
        async with raw_upstream(streaming(PIECES)) as api, proxy(impatient(api.url), sweep_s=0.005) as rig:
            server, loop = rig.pipeline.server, asyncio.get_running_loop()
            with await ask_by_hand(rig, "POST", "/v1/messages", MESSAGE) as client:
                await until(lambda: any(connection.is_full for connection in server.connections))
                seen = bytearray()
                for _ in range(12):
                    tick = server.tick + int(IDLE_S) // 2
                    await until(lambda tick=tick: server.tick >= tick)  # type: ignore[misc]
                    seen += await loop.sock_recv(client, 1)
                while data := await loop.sock_recv(client, 1_048_576):
                    seen += data
                assert seen.count(PIECE) == PIECES
                assert seen.endswith(b"event: message_stop\ndata: {}\n\n")
                await until(lambda: is_settled(rig))

    run(test)


def test_an_answer_that_is_whole_does_not_wait_for_ever_either() -> None:
    async def test() -> None:
        size_bytes = 16_000_000

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size_bytes + b"x" * size_bytes)
            await writer.drain()

        async with raw_upstream(script) as api, proxy(impatient(api.url)) as rig:
            server = rig.pipeline.server
            with await ask_by_hand(rig, "GET", "/v1/models"):
                await until(lambda: bool(server.connections))
                await until(lambda: not server.connections)
                assert server.tick < IDLE_TICKS

    run(test)
