"""Many at once, against the proxy as a process: connections that say nothing, and streams that are checked byte by byte."""

from __future__ import annotations

import asyncio
import json
import pathlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.test_control_process import KEY, Process, ask, document
from tests.sidecar.test_control_process import proxy as proxy

from claudeops.proxyconfig import Connections
from claudeops.wire.body import chunk

IDLE = 10_000
STREAMS = 2_000
ROUNDS = 5
FILES = 12_000
ANSWER = json.dumps({"id": "msg_1", "type": "message", "content": [], "usage": {"input_tokens": 3, "output_tokens": 4}}).encode()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """As many open files as the hard limit allows, or as are needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"the hard limit of open files is {hard}, {FILES} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_mib(process: Process) -> float:
    assert process.process is not None
    return int(pathlib.Path(f"/proc/{process.process.pid}/statm").read_text().split()[1]) / 256


def drive(test: Callable[[], Any]) -> None:
    uvloop.run(asyncio.wait_for(test(), 120.0))


def start_as_shells_do(process: Process) -> None:
    """With a limit of 1,024 open files, which the proxy raises itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
    process.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))


def test_ten_thousand_idle_connections_cost_little_and_shut_nobody_out(
    proxy: Process, record_property: Callable[[str, object], None]
) -> None:
    async def test() -> None:
        async with raw_upstream(answer) as upstream:
            proxy.write(document(upstream.url), key=KEY)
            start_as_shells_do(proxy)
            await proxy.ready()
            assert (await ask(proxy.api))[0] == 200
            before_mib = resident_mib(proxy)
            idle = []
            try:
                for count in range(IDLE):
                    idle.append(socket.create_connection(("127.0.0.1", proxy.api)))
                    if count % 100 == 0:
                        assert (await ask(proxy.api))[0] == 200
                status, _, body = await ask(proxy.api)
                assert (status, body) == (200, ANSWER)
                grown_mib = resident_mib(proxy) - before_mib
                print(f"{grown_mib * 1024 / IDLE:.2f} KiB for each idle connection")
                assert grown_mib < IDLE * 4 / 1024, f"{grown_mib:.1f} MiB for {IDLE} idle connections"
                one = idle[IDLE // 2]
                one.settimeout(10.0)
                one.sendall(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
                assert one.recv(100).startswith(b"HTTP/1.1 200")
                proxy.signal(signal.SIGTERM)
                assert await proxy.ended() == 0, "idle connections do not hold the drain up"
            finally:
                for each in idle:
                    each.close()

    drive(test)


def event(stream: int, number: int) -> bytes:
    """Different for each."""
    text = f"{stream}:{number}:" + chr(97 + (stream + number) % 26) * (stream % 97)
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: %b\n\n" % json.dumps(data).encode()


START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


async def read_stream(reader: asyncio.StreamReader, upto: int) -> bytes:
    """At least so many bytes of a chunked body, or all of it (upto 0)."""
    body = b""
    while not upto or len(body) < upto:
        size = int(await reader.readline(), 16)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if not size:
            break
    return body


def test_two_thousand_streams_at_once_are_relayed_byte_for_byte(proxy: Process) -> None:
    async def test() -> None:
        may_go_on = asyncio.Event()

        async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                _, body = await read_request(reader)
                number = int(json.loads(body)["metadata"]["user_id"])
                writer.write(STREAM_HEAD + chunk(START))
                await may_go_on.wait()
                for count in range(ROUNDS):
                    data = event(number, count)
                    half = (number * 7 + count) % len(data)
                    writer.write(chunk(data[:half]))
                    await writer.drain()
                    await asyncio.sleep(0)
                    writer.write(chunk(data[half:]))
                writer.write(chunk(STOP) + b"0\r\n\r\n")

        async def ask_for_stream(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.api)
            message = {"role": "user", "content": "hi"}
            body = json.dumps(
                {
                    "model": "claude-sonnet-4-6",
                    "max_tokens": 64,
                    "stream": True,
                    "messages": [message],
                    "metadata": {"user_id": str(number)},
                }
            ).encode()
            head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            assert await read_stream(reader, len(START)) == START
            return reader, writer

        async def read_rest(number: int, reader: asyncio.StreamReader) -> None:
            assert await read_stream(reader, 0) == b"".join(event(number, count) for count in range(ROUNDS)) + STOP

        async with raw_upstream(stream) as upstream:
            proxy.write(document(upstream.url, connections=Connections(min=0, max=STREAMS + 100)), key=KEY)
            proxy.start()
            await proxy.ready()
            before_mib = resident_mib(proxy)
            clients = []
            for first in range(0, STREAMS, 200):
                clients += await asyncio.gather(*map(ask_for_stream, range(first, first + 200)))
            open_mib = resident_mib(proxy)
            assert upstream.open == STREAMS
            may_go_on.set()
            await asyncio.gather(*(read_rest(number, reader) for number, (reader, _) in enumerate(clients)))
            print(f"{before_mib:.1f} MiB before, {open_mib:.1f} with {STREAMS} open streams, {resident_mib(proxy):.1f} behind them")
            for _, writer in clients:
                writer.close()
            assert resident_mib(proxy) < 120, "the bar of the data plane with 2,000 open streams"

    drive(test)
