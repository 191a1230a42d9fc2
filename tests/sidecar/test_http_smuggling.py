"""Hostile requests over real sockets: an error of the API's shape, the end of the connection, and the API has seen nothing."""

from __future__ import annotations

import json

import pytest
from tests.hostile_http import CHUNKED, HOSTILE, POST, SMUGGLED
from tests.sidecar.rig import Client, ask, config, proxy, run, simulator


async def assert_refused(client: Client, status: int) -> None:
    reply = await client.read()
    assert reply.status == status
    assert reply.headers["connection"] == "close"
    assert reply.json["type"] == "error"
    assert reply.json["error"]["message"]
    assert reply.reason == ("too_large" if status == 413 else "bad_request")
    assert await client.reader.read() == b"", "the connection is closed"


@pytest.mark.parametrize("group", range(4))
def test_a_hostile_request_is_refused_and_nothing_of_it_reaches_the_api(group: int) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            for name, (sent, status) in list(HOSTILE.items())[group::4]:
                client = await rig.connect()
                client.writer.write(sent)
                try:
                    await assert_refused(client, status)
                except Exception as error:
                    raise AssertionError(name) from error
                client.close()
            assert api.requests() == []

    run(test)


@pytest.mark.parametrize(
    "rest", [b"nonsense\r\n\r\n", b"\x00", b"0\r\n\r\n", b" " + SMUGGLED, POST + b"transfer-encoding: x, chunked\r\n\r\n" + SMUGGLED]
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_bytes_behind_a_request_are_the_next_request_or_the_end(rest: bytes, is_chunked: bool) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            body = json.dumps(ask()).encode()
            whole = (
                CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                if is_chunked
                else POST + b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            client.writer.write(whole + rest)
            client.writer.write_eof()
            assert (await client.read()).status == 200
            if rest != b"\x00":  # a byte that may be the beginning of a head, and then no more
                await assert_refused(client, 501 if b"x, chunked" in rest else 400)
            assert await client.reader.read() == b""
            assert len(api.requests()) == 1

    run(test)
