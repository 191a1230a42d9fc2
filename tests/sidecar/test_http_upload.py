"""Request bodies that go through in parts, over real sockets: every byte, no more memory than the sockets, and no answer lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from tests.sidecar.raw_upstream import raw_upstream
from tests.sidecar.rig import run, until

from claudeops.sidecar.answer import framing_refusal
from claudeops.wire import transit as transit_module
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.http1 import RequestHead
from claudeops.wire.listener import ServerContext
from claudeops.wire.pool import Pool
from claudeops.wire.server import ServerConnection
from claudeops.wire.transit import Transit
from claudeops.wire.upload import begin_upload

pytestmark = pytest.mark.skipif(not transit_module.__file__.endswith(".py"), reason="a compiled Transit has no interpreted subclasses")
DONE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
HEAD = b"POST /v1/files HTTP/1.1\r\nhost: x\r\n"


class PassThrough(Transit):
    """The thinnest application: what comes is sent on."""

    __slots__ = ("client", "is_gone", "slowed")

    def __init__(self, client: ServerConnection) -> None:
        super().__init__()
        self.client = client
        self.is_gone = False
        self.slowed = 0

    def request_part(self, data: bytes) -> None:
        if self.upstream is not None:
            self.upstream.send_part(data)

    def request_end(self) -> None:
        if self.upstream is not None:
            self.upstream.send_end()

    def upstream_slow(self, is_slow: bool) -> None:
        self.slowed += is_slow
        self.client.slow(is_slow)

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        assert is_complete
        self.client.write_parts(head, b"\r\n\r\n", body)
        self.client.finish()

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        self.client.write(framing_refusal(502, reason))
        self.client.finish()

    def client_gone(self) -> None:
        self.is_gone = True
        if self.upstream is not None:
            self.upstream.abandon()

    def check(self) -> None:
        pass


class Rig:
    """The wire layer alone, listening, in front of one upstream."""

    def __init__(self, upstream_port: int, begins: Callable[[PassThrough, RequestHead], None] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.pool = Pool(Dialer(loop, Random(1)), Address("127.0.0.1", upstream_port), limit=10, connect_timeout_s=5.0)
        self.context = ServerContext(self.handle, framing_refusal, handle_head=self.handle_head)
        self.transits: list[PassThrough] = []
        self.begins = begins or self.begin
        self.port = 0

    def handle(self, head: RequestHead, body: bytes, connection: ServerConnection) -> None:
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        connection.finish()

    def handle_head(self, head: RequestHead, connection: ServerConnection) -> Transit | None:
        if head.path != b"/v1/files":
            return None
        transit = PassThrough(connection)
        self.transits.append(transit)
        self.begins(transit, head)
        return transit

    def begin(self, transit: PassThrough, head: RequestHead) -> None:
        begin_upload(self.pool, transit, HEAD, length_bytes=None if head.is_chunked else head.length)


@contextlib.asynccontextmanager
async def wire(upstream_port: int, begins: Callable[[PassThrough, RequestHead], None] | None = None) -> AsyncIterator[Rig]:
    rig = Rig(upstream_port, begins)
    server = await asyncio.get_running_loop().create_server(rig.context.new_connection, "127.0.0.1", 0)
    rig.port = server.sockets[0].getsockname()[1]
    try:
        yield rig
    finally:
        server.close()
        rig.context.close()
        rig.pool.close()


async def read_chunked(reader: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    while size := int(await reader.readline(), 16):
        take(await reader.readexactly(size))
        await reader.readexactly(2)
    assert await reader.readline() == b"\r\n"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_goes_through_as_fast_as_the_upstream_takes_it_and_is_never_held(is_chunked: bool) -> None:
    async def test() -> None:
        may_read = asyncio.Event()
        got = hashlib.sha256()

        async def slow_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert (b"chunked" in head, b"content-length: %d\r\n" % total in head) == (is_chunked, not is_chunked)
            await may_read.wait()
            if is_chunked:
                await read_chunked(reader, got.update)
            else:
                left = total
                while left:
                    data = await reader.read(65_536)
                    got.update(data)
                    left -= len(data)
            writer.write(DONE)
            await writer.drain()

        part = Random(1).randbytes(1_000_003)
        total = len(part) * 24
        async with raw_upstream(slow_upstream) as upstream, wire(upstream.port) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            framing = b"transfer-encoding: chunked" if is_chunked else b"content-length: %d" % total
            writer.write(HEAD + framing + b"\r\n\r\n")

            async def send() -> None:
                for _ in range(24):
                    writer.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
                    await writer.drain()
                if is_chunked:
                    writer.write(b"0\r\n\r\n")

            sending = asyncio.ensure_future(send())
            await until(lambda: len(rig.transits) == 1 and rig.transits[0].slowed > 1)
            (connection,) = rig.context.connections
            assert connection.is_reading_paused
            assert not sending.done(), "24 MB do not fit into the sockets"
            may_read.set()
            await sending
            assert await reader.readuntil(b"{}") == DONE
            sent = hashlib.sha256()
            for _ in range(24):
                sent.update(part)
            assert got.digest() == sent.digest()
            writer.write(b"POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200"), "the connection goes on"
            writer.close()

    run(test)


def test_an_early_answer_reaches_the_client_and_ends_both_connections() -> None:
    async def test() -> None:
        async def refusing_upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\n{}")
            await reader.read()

        async with raw_upstream(refusing_upstream) as upstream, wire(upstream.port) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 1000)
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 413")
            assert await reader.read() == b""
            await until(lambda: upstream.connections == 1 and upstream.open == 0)
            assert (rig.pool.busy, rig.pool.idle) == (0, [])
            writer.close()
            await until(lambda: not rig.context.connections)

    run(test)


def test_a_client_that_waits_for_100_continue_gets_it_when_its_body_may_come() -> None:
    async def test() -> None:
        async def upstream_script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert (await reader.readuntil(b"hello")).endswith(b"\r\n\r\nhello")
            writer.write(DONE)
            await writer.drain()

        async with raw_upstream(upstream_script) as upstream, wire(upstream.port, lambda transit, _: transit.client.slow(True)) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(HEAD + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n")
            await until(lambda: len(rig.transits) == 1)
            (transit,) = rig.transits
            for _ in range(100):
                rig.context.sweep()
            assert transit.client.is_reading_paused, "time does not count while we do not want it"
            rig.begin(transit, transit.client.head)  # type: ignore[arg-type]
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert await reader.readuntil(b"{}") == DONE
            writer.close()

    run(test)


def test_a_request_refused_by_its_head_is_not_asked_for_its_body() -> None:
    async def test() -> None:
        def refuse(transit: PassThrough, head: RequestHead) -> None:
            assert transit.client.is_body_open
            transit.client.write(framing_refusal(404, "not open"))
            transit.client.finish()

        async with wire(9, refuse) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(HEAD + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 404")
            writer.close()

    run(test)


@pytest.mark.parametrize("how", ["leaves", "stalls", "sends no chunk"])
def test_a_client_that_does_not_go_on_ends_the_upload(how: str) -> None:
    async def test() -> None:
        ends: list[bytes] = []

        async def upstream_script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            try:
                ends.append(await reader.read(-1))
            except ConnectionResetError:
                ends.append(b"reset")

        async with raw_upstream(upstream_script) as upstream, wire(upstream.port) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await until(lambda: upstream.open == 1 and not rig.transits[0].client.is_reading_paused)
            if how == "leaves":
                writer.close()
            elif how == "stalls":
                for _ in range(31):
                    rig.context.sweep()
                assert (await reader.read()).startswith(b"HTTP/1.1 408")
            else:
                writer.write(b"nonsense\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
            await until(lambda: len(ends) == 1)
            assert b"0\r\n\r\n" not in ends[0], "the upstream must not take it for whole"
            assert rig.transits[0].is_gone
            assert rig.pool.busy == 0
            writer.close()

    run(test)


def test_an_upstream_that_cannot_be_reached_is_told() -> None:
    async def test() -> None:
        async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """It closes at once."""

        async with raw_upstream(nothing) as upstream:
            port = upstream.port
        async with wire(port) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 1000)
            assert b"502" in await reader.readline()
            assert rig.pool.opening == 0
            writer.close()

    run(test)
