"""A batch's results by the URL that the batch itself names: through the proxy, with the workload's key."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.sidecar.desk import desk
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.rig import Rig, ask, config, proxy, run, simulator

from claudeops.proxyconfig import ProxyConfig

BATCHES = "/v1/messages/batches"
API = "https://api.anthropic.com"


def opened(url: str) -> ProxyConfig:
    return config(url, endpoints=("Batches",))


def batch(base: str) -> bytes:
    return json.dumps({"id": "b", "results_url": f"{base}{BATCHES}/b/results", "note": f"{base}{BATCHES}"}).encode()


def led(body: bytes, base: str, host: str = "proxy") -> bytes:
    return body.replace(b'"results_url": "' + base.encode(), b'"results_url": "http://' + host.encode())


async def get(rig: Rig, path: str, host: str) -> Any:
    return await rig.call(b"", path=path, method="GET", headers={"host": host})


def test_an_application_that_follows_the_url_gets_the_results() -> None:
    async def test() -> None:
        async with simulator(speed=1e6) as api, proxy(opened(api.url)) as rig:
            host = f"127.0.0.1:{rig.port}"
            made = await rig.call({"requests": [{"custom_id": "a", "params": ask()}]}, path=BATCHES, headers={"host": host})
            path = f"{BATCHES}/{made.json['id']}"
            while (ended := (await get(rig, path, host)).json)["processing_status"] != "ended":
                await asyncio.sleep(0.01)
            url = urlsplit(ended["results_url"])
            assert (url.scheme, url.netloc, url.path) == ("http", host, f"{path}/results")
            assert (await get(rig, BATCHES, host)).json["data"] == [ended]
            results = await get(rig, url.path, url.netloc)
            assert [json.loads(line)["custom_id"] for line in results.body.splitlines()] == ["a"]

    run(test)


@pytest.mark.parametrize("has_prefix", [False, True])
@pytest.mark.parametrize("is_api", [False, True])
def test_an_answer_that_is_whole_gets_its_new_length(has_prefix: bool, is_api: bool) -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url + ("/gateway" if has_prefix else ""))) as rig:
            base = API if is_api else api.url + ("/gateway" if has_prefix else "")
            body = batch(base)
            client = await rig.connect()
            for path, method in ((f"{BATCHES}/b", "GET"), (f"{BATCHES}/b/cancel", "POST"), (f"{BATCHES}?limit=1", "GET")):
                await client.send(b"", path=path, method=method)
                (await api.next()).answer(body)
                reply = await client.read()
                assert reply.body == led(body, base) != body
            await client.send(json.dumps({"requests": [{"custom_id": "a", "params": ask()}]}).encode(), path=BATCHES)
            (await api.next()).answer(body)
            assert (await client.read()).body == led(body, base)

    run(test)


def test_what_is_no_batch_object_or_has_no_such_url_passes_as_it_came() -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            for path, status, host, body in (
                (f"{BATCHES}/b/results", 200, "proxy", batch(api.url)),
                (f"{BATCHES}/b", 404, "proxy", batch(api.url)),
                (f"{BATCHES}/b", 200, "pro/xy", batch(api.url)),
                (f"{BATCHES}/b", 200, "proxy", batch("https://elsewhere.example")),
                (f"{BATCHES}/b", 200, "proxy", b'{"results_url": null}'),
            ):
                await client.send(b"", path=path, method="GET", headers={"host": host})
                (await api.next()).answer(body, status=status)
                reply = await client.read()
                assert (reply.status, reply.body, reply.headers["content-length"]) == (status, body, str(len(body)))

    run(test)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_it_makes_no_difference_where_the_answer_is_cut(is_chunked: bool) -> None:
    """The rest follows when the beginning has been passed on."""

    async def test() -> None:
        body = b'{"data": [%b, %b]}' % (batch(API), batch(API))
        cuts = range(0, len(body), 7)
        has_begun: asyncio.Queue[None] = asyncio.Queue()

        def framed(piece: bytes) -> bytes:
            return b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked and piece else piece

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            framing = b"transfer-encoding: chunked" if is_chunked else b"content-length: %d" % len(body)
            for cut in cuts:
                await read_request(reader)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%b\r\n\r\n" % framing
                writer.write(head + framed(body[:cut]))
                await has_begun.get()
                writer.write(framed(body[cut:]) + (b"0\r\n\r\n" if is_chunked else b""))

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            for _ in cuts:
                await client.send(b"", path=BATCHES, method="GET")
                status, headers = await client.read_head()
                has_begun.put_nowait(None)
                found = b""
                while part := await client.read_chunk():
                    found += part
                assert (status, "content-length" in headers, found) == (200, False, led(body, API))
            assert api.connections == 1

    run(test)


def test_an_answer_that_breaks_off_stays_broken() -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(
                b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"a": 1, "results_url": "https://api'
            )
            await writer.drain()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(b"", path=BATCHES, method="GET")
            _, headers = await client.read_head()
            assert headers["transfer-encoding"] == "chunked"
            assert "content-length" not in headers
            assert await client.read_chunk() == b'{"a": 1, '
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.reader.readexactly(1)

    run(test)
