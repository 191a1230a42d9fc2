"""Compressed bodies: what clients send, and what comes back although nobody asked for it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from tests.sidecar.recorder import Answer, events, message, recorder, stream, whole
from tests.sidecar.rig import PRIMARY, ask, config, proxy, run, simulator

BODY = json.dumps(ask(), indent=1).encode()
USAGE = 5
EVENTS = events(
    {"type": "message_start", "message": {"usage": {"input_tokens": USAGE}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [("gzip", gzip.compress(BODY)), ("X-Gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY)), ("deflate", raw_deflate(BODY))],
)
def test_a_compressed_request_goes_on_as_what_it_becomes(coding: str, packed: bytes) -> None:
    async def test() -> None:
        async with recorder(lambda body: whole(message())) as api, proxy(config(api.url)) as rig:
            assert (await rig.call(packed, headers={"content-encoding": coding})).status == 200
            head, body = api.seen[-1]
            assert body == BODY
            assert b"content-encoding" not in head.lower()
            counted = await rig.call(packed, headers={"content-encoding": coding}, path="/v1/messages/count_tokens")
            assert (counted.status, api.seen[-1][1]) == (200, BODY)
            await rig.call(BODY, headers={"content-encoding": "identity"})
            assert api.seen[-1][1] == BODY

    run(test)


@pytest.mark.parametrize(
    ("coding", "body", "status", "kind", "code"),
    [
        ("br", b"\x0b\x02\x80{}\x03", 400, "invalid_request_error", "request_body_encoding_unsupported"),
        ("zstd", b"\x28\xb5\x2f\xfd", 400, "invalid_request_error", "request_body_encoding_unsupported"),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 400, "invalid_request_error", "request_body_encoding_unsupported"),
        ("gzip", BODY, 400, "invalid_request_error", "request_body_encoding_invalid"),
        ("gzip", gzip.compress(BODY)[:-9], 400, "invalid_request_error", "request_body_encoding_invalid"),
        ("deflate", b"\xff" * 20, 400, "invalid_request_error", "request_body_encoding_invalid"),
        ("gzip", gzip.compress(b" " * (32 * 1024 * 1024 + 1)), 413, "request_too_large", "request_body_too_large_after_decoding"),
    ],
)
def test_what_cannot_be_decoded_is_refused_as_the_api_would(coding: str, body: bytes, status: int, kind: str, code: str) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(body, headers={"content-encoding": coding})
            assert (reply.status, reply.json["error"]["type"], reply.json["error"]["details"]["error_code"]) == (status, kind, code)
            assert reply.reason == ("too_large" if status == 413 else "bad_request")
            assert api.requests() == []

    run(test)


@pytest.mark.parametrize("accepts", ["gzip, deflate, br", "identity;q=0, gzip", "", "*;q=0"])
def test_upstream_is_asked_for_plain_bytes_whatever_the_client_takes(accepts: str) -> None:
    async def test() -> None:
        async with recorder(lambda body: whole(message())) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(BODY, headers={"accept-encoding": accepts})
            assert (reply.status, reply.json["type"]) == (200, "message")
            assert api.seen[-1][0].lower().count(b"accept-encoding") == 1
            assert b"\r\naccept-encoding: identity\r\n" in api.seen[-1][0]

    run(test)


def packed_whole(body: Any) -> Answer:
    return whole(gzip.compress(message(input_tokens=USAGE)), "Content-Encoding: gzip")


def packed_in_parts(body: Any) -> Answer:
    head, (data,) = whole(zlib.compress(message(input_tokens=USAGE)), "content-encoding: deflate")
    return head, (data[:20], data[20:])


def packed_and_long(body: Any) -> Answer:
    head, (data,) = whole(gzip.compress(message(text="word " * 200_000, input_tokens=USAGE)), "content-encoding: gzip")
    return head, (data[:400], data[400:900], data[900:])


@pytest.mark.parametrize("answer", [packed_whole, packed_in_parts, packed_and_long])
def test_an_answer_compressed_unasked_is_relayed_plain_and_its_usage_read(answer: Any) -> None:
    async def test() -> None:
        async with recorder(answer) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask())
            assert (reply.status, reply.json["usage"]["input_tokens"]) == (200, USAGE)
            assert "content-encoding" not in reply.headers
            group = rig.runtime.models[PRIMARY].group
            assert (group.counters.used_input, group.in_flight) == (USAGE, 0)

    run(test)


@pytest.mark.parametrize("size", [7, 10_000])
def test_a_stream_compressed_unasked_is_relayed_plain_and_its_usage_read(size: int) -> None:
    async def test() -> None:
        packed = gzip.compress(EVENTS)
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        async with recorder(lambda body: stream(*pieces, lines=("content-encoding: gzip",))) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(stream=True))
            assert reply.body == EVENTS
            assert "content-encoding" not in reply.headers
            assert rig.runtime.models[PRIMARY].group.counters.used_output == 9

    run(test)


def test_an_error_compressed_unasked_is_read_and_relayed_plain() -> None:
    async def test() -> None:
        error = {"type": "rate_limit_error", "message": "spent", "details": {"error_code": "enforced_spend_limit_reached"}}
        packed = gzip.compress(json.dumps({"type": "error", "error": error}).encode())
        async with recorder(lambda body: whole(packed, "content-encoding: gzip", status=429)) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask())
            assert (reply.status, reply.json["error"], reply.headers["x-should-retry"]) == (429, error, "false")
            assert len(api.seen) == 1

    run(test)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_coding_unknown_here_passes_untouched_and_unread(is_stream: bool) -> None:
    async def test() -> None:
        lines = ("content-encoding: br",)
        answer = stream(b"\x0b\x02", b"\x80", lines=lines) if is_stream else whole(b"\x0b\x02\x80", *lines)
        async with recorder(lambda body: answer) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(stream=is_stream))
            assert (reply.status, reply.headers["content-encoding"], reply.body) == (200, "br", b"\x0b\x02\x80")
            assert rig.runtime.models[PRIMARY].group.in_flight == rig.runtime.in_flight == 0

    run(test)


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_not_what_its_coding_says_is_a_502(is_stream: bool) -> None:
    async def test() -> None:
        lines = ("content-encoding: gzip",)
        answer = stream(EVENTS, lines=lines) if is_stream else whole(b"<html>", *lines)
        async with recorder(lambda body: answer) as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(stream=is_stream))
            assert (reply.status, reply.reason) == (502, "upstream")
            assert rig.runtime.models[PRIMARY].group.in_flight == rig.runtime.in_flight == 0

    run(test)
