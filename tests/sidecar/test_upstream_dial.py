"""How connections to the upstream are made, kept and replaced: names, families, proxies, TLS, age; on real sockets."""

from __future__ import annotations

import asyncio
import pathlib
import socket
import ssl
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tests.sidecar.http2_peer import Certificate
from tests.sidecar.rig import KEY, ask, config, proxy, resilience, run, simulator, until

from claudeops.errors import UpstreamUnavailable
from claudeops.proxyconfig import Connections, Retry, Timeouts, Upstream
from claudeops.sidecar.credentials import read_proxy_login
from claudeops.wire.dial import ATTEMPT_DELAY_S, Address, Dialer, race
from claudeops.wire.resolver import SocketAddress
from claudeops.wire.tls import client_context

BODY = b'{"type":"message","usage":{"input_tokens":1,"output_tokens":1}}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
ONCE = resilience(retry=Retry(max_attempts=1))


class Upstreams:
    """A server on one address that answers each request whole, and keeps its connections in mind."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.tls = tls
        self.host = host
        self.port = port
        self.writers: list[asyncio.StreamWriter] = []
        self.requests = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Upstreams:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                await self.gate.wait()
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def dialer() -> Dialer:
    return Dialer(asyncio.get_running_loop(), Random(7))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def address(host: str, port: int) -> SocketAddress:
    return SocketAddress(socket.AF_INET, (host, port))


class Blackhole:
    """An address that answers no SYN: a listener whose backlog is full."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port: int = self.listener.getsockname()[1]
        self.fillers = [socket.socket() for _ in range(8)]
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        for sock in (*self.fillers, self.listener):
            sock.close()


# -- addresses


def test_an_address_that_answers_nothing_costs_a_quarter_of_a_second_and_not_the_time_limit() -> None:
    async def test() -> None:
        hole = Blackhole()
        async with Upstreams() as upstream:
            began = time.monotonic()
            loop = asyncio.get_running_loop()
            sock = await asyncio.wait_for(race(loop, [address("127.0.0.1", hole.port), address("127.0.0.1", upstream.port)]), 10)
            assert sock.getpeername()[1] == upstream.port
            assert time.monotonic() - began >= ATTEMPT_DELAY_S
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            sock.close()
        hole.close()

    run(test)


def test_the_first_address_has_the_preference_and_a_refusal_is_not_waited_for() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with Upstreams() as first, Upstreams() as second:
            sock = await race(loop, [address("127.0.0.1", first.port), address("127.0.0.1", second.port)])
            assert sock.getpeername()[1] == first.port
            sock.close()
            refusing = [address("127.0.0.1", free_port()) for _ in range(20)]
            sock = await asyncio.wait_for(race(loop, [*refusing, address("127.0.0.1", second.port)]), 20 * ATTEMPT_DELAY_S)
            assert sock.getpeername()[1] == second.port
            sock.close()
        with pytest.raises(ConnectionRefusedError):
            await race(loop, [address("127.0.0.1", first.port), address("127.0.0.1", second.port)])

    run(test)


class Names:
    """A resolver's answers, as the test changes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] | OSError = []
        self.asked = 0
        loop: Any = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "getaddrinfo", self._answer)

    async def _answer(self, host: str, port: int, **_: object) -> list[Any]:
        self.asked += 1
        if isinstance(self.hosts, OSError):
            raise self.hosts
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port)) for found in self.hosts]


class OwnLoop(asyncio.SelectorEventLoop):
    """A loop whose resolver and clock a test may set."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def run_own(test: Callable[[OwnLoop], Any]) -> None:
    with asyncio.Runner(loop_factory=OwnLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, OwnLoop)
        runner.run(test(loop))


def test_a_name_is_looked_up_again_after_seconds_and_new_connections_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: OwnLoop) -> None:
        names = Names(monkeypatch)
        resolver = Dialer(loop, Random(7)).resolver
        names.hosts = ["127.0.0.1"]
        first = await asyncio.gather(*(resolver.resolve("api.test", 443) for _ in range(5)))
        assert {found for (found,) in first} == {address("127.0.0.1", 443)}
        names.hosts = ["127.0.0.2"]
        assert await resolver.resolve("api.test", 443) == (address("127.0.0.1", 443),)
        assert names.asked == 1
        loop.ahead_s = 11.0
        assert await resolver.resolve("api.test", 443) == (address("127.0.0.2", 443),)

    run_own(test)


def test_an_old_answer_serves_while_the_resolver_is_away_but_not_once_the_name_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: OwnLoop) -> None:
        names = Names(monkeypatch)
        resolver = Dialer(loop, Random(7)).resolver
        names.hosts = ["127.0.0.1"]
        await resolver.resolve("api.test", 443)
        names.hosts = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        loop.ahead_s = 200.0
        assert await resolver.resolve("api.test", 443) == (address("127.0.0.1", 443),)
        loop.ahead_s = 400.0
        for _ in range(2):
            with pytest.raises(OSError, match=r"the name api\.test cannot be resolved: Temporary failure"):
                await resolver.resolve("api.test", 443)
        names.hosts = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        loop.ahead_s = 0.0
        resolver.expire()
        with pytest.raises(OSError, match="Name or service not known"):
            await resolver.resolve("api.test", 443)

    run_own(test)


def test_a_failed_connection_makes_the_next_one_look_the_name_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: OwnLoop) -> None:
        async with Upstreams() as upstream:
            names = Names(monkeypatch)
            names.hosts = ["127.0.0.9"]  # nobody listens there
            opening = Dialer(loop, Random(7))
            place = Address("api.test", upstream.port)
            with pytest.raises(UpstreamUnavailable, match="cannot connect to the upstream"):
                await opening.dial(asyncio.Protocol, place, timeout_s=5)
            names.hosts = ["127.0.0.1"]
            await opening.dial(asyncio.Protocol, place, timeout_s=5)
            assert (opening.opened, opening.failed, names.asked) == (1, 1, 2)

    run_own(test)


def test_a_name_that_no_resolver_takes_is_a_reason_too() -> None:
    async def test() -> None:
        with pytest.raises(UpstreamUnavailable, match=r"a\.\.b is no name of a host"):
            await dialer().dial(asyncio.Protocol, Address("a..b", 443), timeout_s=5)

    run(test)


# -- TLS


def test_a_later_connection_resumes_the_session_of_an_earlier_one() -> None:
    async def test() -> None:
        certificate = Certificate()
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            server = certificate.server_context("http/1.1")
            server.maximum_version = newest
            async with Upstreams(tls=server) as upstream:
                document = config(upstream.url, upstream=Upstream(base_url=upstream.url, ca_bundle=certificate.pem))
                async with proxy(document, sweep_s=0.01) as rig:
                    assert (await rig.call(ask())).status == 200
                    place = rig.pipeline.pool.address  # type: ignore[union-attr]
                    assert place.tls is not None
                    await until(lambda place=place: place.tls.session is not None)  # type: ignore[misc]
                    upstream.writers[0].transport.abort()
                    await until(lambda rig=rig: rig.pipeline.pool_counts()["idle"] == 0)  # type: ignore[misc]
                    assert (await rig.call(ask())).status == 200
                    tls = upstream.writers[1].get_extra_info("ssl_object")
                    assert (tls.version(), tls.session_reused) == ({"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[newest.name], True)
                    assert (rig.pipeline.dialer.opened, rig.pipeline.dialer.resumed) == (2, 1)

    run(test)


def test_an_upstream_with_another_certificate_is_refused_and_nothing_below_tls_1_2_is_offered() -> None:
    async def test() -> None:
        certificate, other = Certificate(), Certificate()
        async with Upstreams(tls=certificate.server_context("http/1.1")) as upstream:
            trusting = Address("127.0.0.1", upstream.port, client_context(certificate.pem, "http/1.1"))
            assert await dialer().dial(asyncio.Protocol, trusting, timeout_s=5)
            stranger = Address("127.0.0.1", upstream.port, client_context(other.pem, "http/1.1"))
            with pytest.raises(UpstreamUnavailable, match=r"the certificate of 127\.0\.0\.1 is not trusted"):
                await dialer().dial(asyncio.Protocol, stranger, timeout_s=5)
        assert client_context(certificate.pem, "http/1.1").minimum_version == ssl.TLSVersion.TLSv1_2

    run(test)


def test_an_upstream_that_never_finishes_the_handshake_is_given_up_in_time() -> None:
    async def test() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = Address("127.0.0.1", port, client_context(Certificate().pem, "http/1.1"))
        with pytest.raises(UpstreamUnavailable, match="timed out"):
            await dialer().dial(asyncio.Protocol, place, timeout_s=0.1)
        server.close()

    run(test)


# -- reuse, age, minimum


def test_connections_are_opened_for_one_request_in_a_hundred_at_most() -> None:
    async def test() -> None:
        async with Upstreams() as upstream, proxy(config(upstream.url)) as rig:
            for _ in range(60):
                replies = await asyncio.gather(*(rig.call(ask()) for _ in range(4)))
                assert {reply.status for reply in replies} == {200}
            assert rig.pipeline.pool is not None
            assert (rig.pipeline.pool.sent, upstream.requests) == (240, 240)
            assert rig.pipeline.dialer.opened == len(upstream.writers) <= 4

    run(test)


@pytest.mark.parametrize("protocol", ["HTTP1", "HTTP2"])
def test_an_upstream_that_closes_every_new_connection_is_a_502_for_each_request(protocol: Any) -> None:
    async def test() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxy(config(url, resilience=ONCE, connections=Connections(min=0, protocol=protocol))) as rig:
            replies = await asyncio.wait_for(asyncio.gather(*(rig.call(ask()) for _ in range(5))), 10)
            assert [(reply.status, reply.reason) for reply in replies] == [(502, "upstream")] * 5
            assert rig.pipeline.pool is not None
            assert (rig.pipeline.pool.waiting, rig.pipeline.pool.promised, rig.pipeline.pool.opening) == ({}, 0, 0)
        server.close()

    run(test)


def test_the_minimum_is_open_before_the_first_request_and_kept() -> None:
    async def test() -> None:
        document_connections = Connections(min=3, max=5)
        async with Upstreams() as upstream, proxy(config(upstream.url, connections=document_connections), sweep_s=0.01) as rig:
            await until(lambda: rig.pipeline.pool_counts() == {"idle": 3, "busy": 0, "opening": 0})
            assert rig.pipeline.pool is not None
            await until(lambda: rig.pipeline.pool.tick > 60)  # type: ignore[union-attr]
            assert rig.pipeline.dialer.opened == 3
            assert (await rig.call(ask())).status == 200
            assert rig.pipeline.dialer.opened == 3
            upstream.writers[0].transport.abort()
            await until(lambda: rig.pipeline.dialer.opened == 4)
            await until(lambda: rig.pipeline.pool_counts()["idle"] == 3)

    run(test)


def test_an_upstream_that_refuses_is_not_asked_for_its_minimum_every_second() -> None:
    async def test() -> None:
        document = config(f"http://127.0.0.1:{free_port()}", connections=Connections(min=2, max=5))
        async with proxy(document, sweep_s=0.005) as rig:
            assert rig.pipeline.pool is not None
            await until(lambda: rig.pipeline.pool.tick >= 130)  # type: ignore[union-attr]
            assert 2 <= rig.pipeline.dialer.failed <= 2 * 9  # after 1, 2, 4, ... seconds

    run(test)


def test_old_connections_end_between_requests_and_never_during_one() -> None:
    async def test() -> None:
        async with Upstreams() as upstream, proxy(config(upstream.url), sweep_s=0.01) as rig:
            pool = rig.pipeline.pool
            assert pool is not None
            pool.age_ticks = 10
            upstream.gate.clear()
            call = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: upstream.requests == 1)
            began = pool.tick
            await until(lambda: pool.tick > began + 20)
            assert rig.pipeline.pool_counts()["busy"] == 1
            upstream.gate.set()
            assert (await call).status == 200
            await until(lambda: rig.pipeline.pool_counts() == {"idle": 0, "busy": 0, "opening": 0})
            assert (await rig.call(ask())).status == 200
            await until(lambda: rig.pipeline.pool_counts()["idle"] == 0)
            assert len(upstream.writers) == 2

    run(test)


def test_the_end_of_a_connections_life_is_jittered() -> None:
    async def test() -> None:
        async with Upstreams() as upstream, proxy(config(upstream.url, connections=Connections(min=20, max=20))) as rig:
            await until(lambda: rig.pipeline.pool_counts()["idle"] == 20)
            assert rig.pipeline.pool is not None
            ages = [connection.retires_at for connection in rig.pipeline.pool.idle]
            assert 480 <= min(ages) < 560
            assert 640 < max(ages) <= 721

    run(test)


def test_a_request_goes_out_on_whatever_connection_is_free_first() -> None:
    async def test() -> None:
        async with Upstreams() as upstream, proxy(config(upstream.url, resilience=resilience(timeouts=Timeouts(connect_s=10)))) as rig:
            upstream.gate.clear()
            first = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: upstream.requests == 1)
            hole = Blackhole()
            pool = rig.pipeline.pool
            assert pool is not None
            pool.address = Address("127.0.0.1", hole.port)
            second = asyncio.ensure_future(rig.call(ask()))
            await until(lambda: pool.opening == 1)
            upstream.gate.set()
            assert [(await call).status for call in (first, second)] == [200, 200]
            assert (upstream.requests, len(upstream.writers), pool.opening) == (2, 1, 1)
            hole.close()

    run(test)


# -- a proxy on the way


class HttpProxy:
    """Takes CONNECT, and says what ``answer`` says; without one it connects and copies bytes."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server
        self.url = ""

    async def __aenter__(self) -> HttpProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        self.writers.append(writer)
        if self.answer:
            writer.write(self.answer)
            writer.close()
            return
        host, _, port = head.split(b" ")[1].rpartition(b":")
        inner_reader, inner_writer = await asyncio.open_connection(host.decode(), int(port))
        self.writers.append(inner_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
        for source, sink in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.get_running_loop().create_task(self._copy(source, sink))
            self.tasks.add(task)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
        sink.close()


def through(rig_url: str, way: HttpProxy, *, ca: str = "") -> Any:
    return config(rig_url, upstream=Upstream(base_url=rig_url, ca_bundle=ca, proxy_url=way.url), resilience=ONCE)


def test_tls_goes_through_a_proxy_which_sees_neither_key_nor_request() -> None:
    async def test() -> None:
        certificate = Certificate()
        async with (
            Upstreams(tls=certificate.server_context("http/1.1")) as upstream,
            HttpProxy() as way,
            proxy(through(upstream.url, way, ca=certificate.pem)) as rig,
        ):
            for _ in range(3):
                assert (await rig.call(ask())).status == 200
            host = upstream.url.removeprefix("https://")
            assert way.asked == [f"CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()]
            assert KEY not in b"".join(way.asked)

    run(test)


def test_a_proxy_is_logged_in_to_with_what_the_file_holds_now(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        login = tmp_path / "proxy-credentials"
        async with simulator() as api, HttpProxy() as way, proxy(through(api.url, way)) as rig:
            rig.pipeline.dialer.proxy_login = lambda: read_proxy_login(str(login))
            seen = []
            for content in (None, "user:pässword", "user:word\n", "no login"):
                if content is not None:
                    login.write_text(content)
                rig.apply(through(api.url, way))
                assert (await rig.call(ask())).status == 200
                assert rig.pipeline.pool is not None
                rig.pipeline.pool.idle[0].close()
                seen.append(way.asked[-1].partition(b"proxy-authorization: ")[2])
            assert seen == [b"", b"", b"Basic dXNlcjp3b3Jk\r\n\r\n", b""]

    run(test)


def test_plain_http_to_a_service_goes_through_the_proxy_too() -> None:
    async def test() -> None:
        async with simulator() as api, HttpProxy() as way, proxy(through(api.url, way)) as rig:
            assert (await rig.call(ask())).status == 200
            assert len(way.asked) == 1

    run(test)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Not for you\r\ncontent-length: 0\r\n\r\n", "the proxy refused a tunnel to 127.0.0.1:1: 403 Not for you"),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n",
            "407 Proxy Authentication Required; write user:password under the key proxy-credentials",
        ),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the proxy's answer to CONNECT is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", "the proxy sent bytes into the tunnel"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5_000, "has no end"),
        (b"HTTP/1.1 200", "the proxy closed the connection instead of opening a tunnel"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_a_502_with_its_reason(answer: bytes, words: str) -> None:
    async def test() -> None:
        async with HttpProxy(answer) as way, proxy(through("http://127.0.0.1:1", way)) as rig:
            reply = await rig.call(ask())
            assert (reply.status, reply.reason) == (502, "upstream")
            assert words in reply.json["error"]["message"]
            assert rig.pipeline.pool_counts() == {"idle": 0, "busy": 0, "opening": 0}

    run(test)


def test_a_proxy_that_is_not_there_is_a_502() -> None:
    async def test() -> None:
        way = HttpProxy()
        way.url = f"http://127.0.0.1:{free_port()}"
        async with proxy(through("http://127.0.0.1:1", way)) as rig:
            reply = await rig.call(ask())
            assert (reply.status, reply.reason) == (502, "upstream")

    run(test)


def test_another_proxy_or_none_is_used_from_the_next_request_on() -> None:
    async def test() -> None:
        async with simulator() as api, HttpProxy() as way, proxy(config(api.url)) as rig:
            assert (await rig.call(ask())).status == 200
            rig.apply(through(api.url, way))
            assert (await rig.call(ask())).status == 200
            assert len(way.asked) == 1
            rig.apply(config(api.url))
            assert (await rig.call(ask())).status == 200
            assert len(way.asked) == 1

    run(test)
