"""Requests of many kilobytes on real sockets: marked, repeated and pipelined, they reach the upstream whole."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.hostile_http import POST
from tests.sidecar.http2_peer import Certificate
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.rig import Rig, ask, config, proxy, run

from claudeops.proxyconfig import Upstream
from claudeops.wire.large import LargeReader

PROMPTS = [f"{number} pages\n" * 10_000 for number in range(6)]
MARK = {"cache_control": {"type": "ephemeral"}}


def request(prompt: str) -> bytes:
    body = json.dumps(ask(system=prompt)).encode()
    return POST + b"content-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_marked_prompt_of_any_size_arrives_whole_and_again_when_it_is_repeated(is_secure: bool) -> None:
    certificate = Certificate() if is_secure else None
    bodies: list[bytes] = []

    async def refuse_every_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            bodies.append((await read_request(reader))[1])
            status = b"529 Overloaded" if len(bodies) % 2 else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}" % status)
            await writer.drain()

    async def test() -> None:
        tls = None if certificate is None else certificate.server_context("http/1.1")
        bundle = "" if certificate is None else certificate.pem
        async with raw_upstream(refuse_every_second, tls=tls) as api:
            document = config(api.url, upstream=Upstream(base_url=api.url, ca_bundle=bundle), prompt_cache="Always")
            async with proxy(document) as rig:
                await ask_all(rig)
        assert bodies[::2] == bodies[1::2], "a repeated request is the same"
        expected = [ask(system=[{"type": "text", "text": prompt, **MARK}]) for prompt in PROMPTS]
        assert [json.loads(body) for body in bodies[::2]] == expected

    run(test)


async def ask_all(rig: Rig) -> None:
    """One after the other, then two at once."""
    client = await rig.connect()
    for prompt in PROMPTS[:4]:
        client.writer.write(request(prompt))
        assert (await client.read()).status == 200
    (connection,) = rig.pipeline.server.connections
    assert isinstance(connection.transport.get_protocol(), LargeReader), "else this is no test of it"
    client.writer.write(b"".join(map(request, PROMPTS[4:])))
    client.writer.write_eof()
    for _ in PROMPTS[4:]:
        assert (await client.read()).status == 200
    assert await client.reader.read() == b""
