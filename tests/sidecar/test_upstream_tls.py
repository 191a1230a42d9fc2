"""TLS towards the upstream: what one read brings comes in one piece, and every way in which a connection may end is told."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import ssl
import termios
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from tests.sidecar.http2_peer import Certificate
from tests.sidecar.rig import ask, config, proxy, run, until

from claudeops.errors import UpstreamUnavailable
from claudeops.proxyconfig import Upstream
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.tls import client_context

CERTIFICATE = Certificate()
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Above:
    """What stands above the connection, and what it has been told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.reads: list[bytes] = []
        self.is_lost = False
        self.error: Exception | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost, self.error = True, error

    def pause_writing(self) -> None:
        """Nobody writes on."""

    def resume_writing(self) -> None:
        """Nobody waits for it."""

    @property
    def data(self) -> bytes:
        return b"".join(self.reads)


class Peer:
    """A server that does one thing with every connection, in TLS or not."""

    def __init__(self, serve: Serve, *, version: ssl.TLSVersion | None = ssl.TLSVersion.TLSv1_3) -> None:
        self.serve = serve
        self.context = None if version is None else CERTIFICATE.server_context("http/1.1")
        if self.context is not None and version is not None:
            self.context.maximum_version = version
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Address:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.writers.append(writer)
            await self.serve(reader, writer)

        self._server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self.context)
        return Address("127.0.0.1", self._server.sockets[0].getsockname()[1], client_context(CERTIFICATE.pem, "http/1.1"))

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()


async def dial(place: Address) -> Above:
    made = await Dialer(asyncio.get_running_loop(), Random(7)).dial(Above, place, timeout_s=5)
    assert isinstance(made, Above)
    return made


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_go_both_ways_unchanged_in_records_of_any_size(version: ssl.TLSVersion) -> None:
    rng = Random(11)
    parts = [rng.randbytes(size) for size in (1, 130, 131, 16_384, 65_537, 1_000_000)]
    whole = b"".join(parts)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(2 * len(whole)))

    async def test() -> None:
        async with Peer(echo, version=version) as place:
            above = await dial(place)
            above.transport.writelines((*parts[:3], b""))
            for part in parts[3:]:
                above.transport.write(part)
            above.transport.writelines(parts)
            await until(lambda: len(above.data) == 2 * len(whole))
            assert above.data == whole + whole
            above.transport.abort()
            await until(lambda: above.is_lost)
            above.transport.write(b"too late")

    run(test)


def test_all_records_of_one_read_are_one_piece() -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        for _ in range(100):
            writer.write(b"event: ping\n\n")

    async def test() -> None:
        async with Peer(stream) as place:
            above = await dial(place)
            above.transport.pause_reading()
            above.transport.write(b"x")
            peek = above.transport.get_extra_info("socket").fileno()
            await until(lambda: _readable_bytes(peek) >= 100 * (13 + 22))
            above.transport.resume_reading()
            await until(lambda: bool(above.reads))
            assert above.reads == [b"event: ping\n\n" * 100]

    run(test)


def _readable_bytes(descriptor: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def test_a_farewell_ends_the_connection_without_an_error_nonsense_and_a_cut_with_one() -> None:
    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(b"some of it")
        await writer.drain()

    async def farewell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await part(writer)
        writer.close()

    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await part(writer)
        os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + 32 * b"?")

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await part(writer)
        writer.transport.abort()

    async def test() -> None:
        for serve, error in ((farewell, None), (nonsense, ssl.SSLError), (cut, ConnectionError)):
            async with Peer(serve) as place:
                above = await dial(place)
                await until(lambda above=above: above.is_lost)  # type: ignore[misc]
                assert above.data == b"some of it"
                assert above.error is None if error is None else isinstance(above.error, error)

    run(test)


def test_closing_says_farewell_once_everything_is_sent() -> None:
    seen: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go on")  # uvloop's server loses what comes with the last of the handshake if the end comes with it, too
        seen.append(await reader.read())

    async def test() -> None:
        async with Peer(read) as place:
            above = await dial(place)
            await until(lambda: above.data == b"go on")
            above.transport.write(b"last words")
            above.transport.close()
            await until(lambda: seen == [b"last words"])
            await until(lambda: above.is_lost)
            assert above.error is None

    run(test)


def test_a_large_body_is_encrypted_as_the_upstream_takes_it_and_never_held_twice() -> None:
    body = Random(3).randbytes(1_000_000) * 30
    parts = [b"head", body, b"tail" * 20_000, b"end"]
    may_read = asyncio.Event()
    seen: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go on")
        await may_read.wait()
        seen.append(await reader.readexactly(sum(map(len, parts))))

    async def test() -> None:
        async with Peer(read) as place:
            above = await dial(place)
            await until(lambda: above.data == b"go on")
            above.transport.writelines(parts[:2])
            for part in parts[2:]:
                above.transport.write(part)
            assert above.transport.transport.get_write_buffer_size() < 1_000_000
            may_read.set()
            await until(lambda: bool(seen))
            assert seen[0] == b"".join(parts)
            above.transport.abort()
            await until(lambda: above.is_lost)

    run(test)


def test_an_upstream_that_does_not_shake_hands_says_why() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def test() -> None:
        for serve, words in ((hang_up, "closed the connection during the TLS handshake|reset"), (speak_plainly, "(?i)wrong.version")):
            async with Peer(serve, version=None) as place:
                with pytest.raises(UpstreamUnavailable, match=words):
                    await dial(place)

    run(test)


def test_an_answer_that_breaks_off_in_the_middle_of_its_records_is_no_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b'{"type":')
        await writer.drain()
        os.write(writer.get_extra_info("socket").fileno(), 200 * b"?")

    async def test() -> None:
        async with Peer(nonsense) as place:
            url = f"https://127.0.0.1:{place.port}"
            async with proxy(config(url, upstream=Upstream(base_url=url, ca_bundle=CERTIFICATE.pem))) as rig:
                reply = await rig.call(ask())
                assert (reply.status, reply.headers["x-claudeops-reason"]) == (502, "upstream")

    run(test)


@pytest.mark.parametrize("is_cut", [False, True])
def test_an_answer_that_ends_with_its_connection_is_whole_only_behind_a_farewell(is_cut: bool) -> None:
    """Anybody on the way may end the connection; only the upstream can say in TLS that this is the end (RFC 9112 section 9.8)."""

    async def results(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\nconnection: close\r\n\r\n" + b'{"custom_id":"a"}\n')
        await writer.drain()
        if is_cut:
            writer.transport.abort()
        else:
            writer.close()

    async def test() -> None:
        async with Peer(results) as place:
            url = f"https://127.0.0.1:{place.port}"
            document = config(url, upstream=Upstream(base_url=url, ca_bundle=CERTIFICATE.pem), endpoints=("Batches",))
            async with proxy(document) as rig:
                client = await rig.connect()
                await client.send(b"", path="/v1/messages/batches/msgbatch_1/results", method="GET")
                if is_cut:
                    with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
                        await client.read()
                else:
                    assert (await client.read()).body == b'{"custom_id":"a"}\n'

    run(test)
