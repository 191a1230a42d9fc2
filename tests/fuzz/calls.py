"""Fuzz target: JSON and SSE through the whole request path, without a socket. A request is refused or sent with nothing changed but
what a stage edits; an answer or a stream reaches the client byte for byte, or ends in an error the client can read; how the reads were
cut changes nothing; and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any, NamedTuple

import httptools
from tests.fuzz.choices import Choices
from tests.sidecar.rig import KEY, PRIMARY, config, resilience
from tests.wire_harness import Wire

from claudeops.proxyconfig import BreakerPolicy, Connections, Retry
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.runtime import Runtime
from claudeops.wire.body import chunk
from claudeops.wire.upstream import UpstreamConnection

DOCUMENT = config(
    "http://127.0.0.1:9",
    resilience=resilience(retry=Retry(max_attempts=1), breaker=BreakerPolicy()),
    connections=Connections(min=0, max=4),
)
VALUES: list[Any] = [
    None, True, 0, -1, 1e300, 2**70, "", "x", "\u2028\ud83d\ude00", [], {}, [[]], {"a": None}, [{"type": "text", "text": "hi"}], "a" * 300,
    [{"role": "user", "content": "hi"}], {"type": "ephemeral"}, {"type": "enabled", "budget_tokens": 1024},
]  # fmt: skip
MEMBERS = [
    "system", "tools", "metadata", "temperature", "top_p", "top_k", "stop_sequences", "thinking", "tool_choice", "output_config", "speed",
    "service_tier", "unknown", "max_tokens", "messages", "model", "stream", "betas", "container", "context_management",
]  # fmt: skip
EDITED = {
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "system",
    "tools",
    "messages",
    "thinking",
    "output_config",
    "cache_control",
    "tool_choice",
}
EVENTS = [
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xc3\xa9 ev"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}\n\n',
    b"event: future_event\ndata: {}\n\n",
    b": a comment\n\n",
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
    + b"y" * 3_000
    + b'"}}\n\n',
]
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"claude-sonnet-4-6","content":[],"stop_reason":null,"usage":{"input_tokens":12,"output_tokens":1}}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
ANSWER = b'{"id":"msg_1","type":"message","model":"claude-sonnet-4-6","content":[],"usage":{"input_tokens":3,"output_tokens":4}}'
ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'


class Outcome(NamedTuple):
    """What both ends have seen."""

    sent: bytes
    """The body that went upstream, b"" if none did."""
    status: int
    body: bytes
    is_cut: bool
    """The client's connection was cut in the middle of its answer."""
    usage: tuple[int, int]


def check(data: bytes) -> None:
    """One request and its answer."""
    choices = Choices(data)
    is_streamed = bool(choices.below(2))
    request, is_plain = _request(choices, is_streamed=is_streamed)
    stream, is_valid = _stream(choices) if is_streamed else _document(choices)
    status = choices.one_of([200, 200, 200, 400, 429, 500, 529])
    if status != 200:
        stream = choices.mangle(ERROR) if choices.below(2) else ERROR
    answer = _framed(choices, stream, status=status if status != 200 else 0, is_streamed=is_streamed)
    whole = _run([request], [answer])
    parts = _run(choices.cut(request), choices.cut(answer))
    assert parts.sent == whole.sent
    pieces = choices.cut(answer)
    broken = _run([request], pieces[: choices.below(len(pieces) + 1)], is_broken=True)
    if not whole.sent:
        assert whole.status >= 400 and json.loads(whole.body)["type"] == "error"
        assert not is_plain, whole.body
        return
    _check_sent(request, whole.sent)
    is_valid = is_valid and (is_plain or not is_streamed)  # a broken request may not have asked for a stream
    if (broken.status, broken.body) != (status, stream):
        _check_answer(broken, stream, is_streamed=is_streamed, is_valid=False)
    for seen in (whole, parts):
        if status == 200:
            _check_answer(seen, stream, is_streamed=is_streamed, is_valid=is_valid)
        else:
            assert (seen.status, seen.body, seen.is_cut) == (status, stream, False)
    if is_valid:
        assert parts == whole


def _request(choices: Choices, *, is_streamed: bool) -> tuple[bytes, bool]:
    body: dict[str, Any] = {"model": PRIMARY, "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    if is_streamed:
        body["stream"] = True
    is_plain = not choices.chance(70)
    if not is_plain:
        for _ in range(choices.below(5)):
            body[choices.one_of(MEMBERS)] = choices.one_of(VALUES)
        body["stream"] = is_streamed
    raw = json.dumps(body, ensure_ascii=bool(choices.below(2)), indent=choices.one_of([None, None, 1])).encode("utf-8", "surrogatepass")
    if not is_plain and choices.below(2):
        raw = choices.mangle(raw)
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n" % len(raw)
    return head + raw, is_plain


def _document(choices: Choices) -> tuple[bytes, bool]:
    is_valid = not choices.chance(60)
    return ANSWER if is_valid else choices.mangle(ANSWER), is_valid


def _stream(choices: Choices) -> tuple[bytes, bool]:
    stream = START + b"".join(choices.one_of(EVENTS) for _ in range(choices.below(8))) + STOP
    if choices.below(4) == 3:
        stream = stream.replace(b"\n", b"\r\n")
    is_valid = not choices.chance(60)
    return stream if is_valid else choices.mangle(stream), is_valid


def _framed(choices: Choices, stream: bytes, *, status: int, is_streamed: bool) -> bytes:
    if status:
        return b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(stream), stream)
    if not is_streamed:
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(stream), stream)
    parts, at = [], 0
    while at < len(stream):
        size = choices.below(500) + 1
        parts.append(chunk(stream[at : at + size]))
        at += size
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % b"".join(parts)


def _run(request: list[bytes], answer: list[bytes], *, is_broken: bool = False) -> Outcome:
    """``is_broken``: the upstream closes behind these pieces."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        return _walk(loop, request, answer, is_broken=is_broken)


def _walk(loop: asyncio.AbstractEventLoop, request: list[bytes], answer: list[bytes], *, is_broken: bool) -> Outcome:
    runtime = Runtime(time.monotonic, wall_clock=time.time)
    pipeline = Pipeline(loop, runtime)
    runtime.apply_config(DOCUMENT, runtime.clock())
    runtime.set_key(KEY)
    pool: Any = pipeline.pool
    to_client, to_upstream = Wire(), Wire()
    upstream: Any = UpstreamConnection(pool)
    upstream.retires_at = 1_000
    upstream.connection_made(to_upstream)
    pool.idle.append(upstream)
    client = pipeline.new_connection()
    client.connection_made(to_client)
    for piece in request:
        if not to_client.is_closing:
            client.data_received(piece)
    call: Any = client.transit
    sent = bytes(to_upstream.written).partition(b"\r\n\r\n")[2]
    if sent:
        for piece in answer:
            if not to_upstream.is_closing and not to_client.is_closing and client.transit is call:
                upstream.data_received(piece)
    if is_broken:
        upstream.connection_lost(None)
    is_cut = to_client.is_closing and not to_client.is_ended
    usage = (call.usage.input, call.usage.output) if call is not None else (0, 0)
    assert not sent or client.transit is None, "the client waits for ever"
    client.connection_lost(None)
    if not is_broken:
        upstream.connection_lost(None)
    assert runtime.in_flight == 0
    assert all(group.in_flight == 0 and group.limiter.gate.in_flight == 0 for group in runtime.groups.values())
    assert (pool.busy, pool.idle, pool.opening) == (0, [], 0)
    return Outcome(sent, *_read(bytes(to_client.written), is_cut=is_cut), is_cut, usage)


def _check_sent(request: bytes, sent: bytes) -> None:
    """Whoever reads it finds the client's own members, but for those that stages edit."""
    body = request.partition(b"\r\n\r\n")[2]
    try:
        before = json.loads(body.decode())
    except (ValueError, RecursionError):
        return  # in a part that no stage reads: the API will say so
    after = json.loads(sent)
    for name in before.keys() | after.keys():
        assert name in EDITED or before.get(name) == after.get(name), name


def _check_answer(seen: Outcome, stream: bytes, *, is_streamed: bool, is_valid: bool) -> None:
    if is_valid:
        assert (seen.status, seen.body, seen.is_cut) == (200, stream, False), seen
    elif seen.status != 200:
        assert json.loads(seen.body)["type"] == "error" or b"event: error" in seen.body
    elif is_streamed and seen.body != stream:
        if stream.startswith(seen.body) and (b"event: message_stop" in seen.body or b"event: error" in seen.body):
            return  # it had ended before the connection did
        relayed, mark, error = seen.body.rpartition(b"event: error\ndata: ")
        assert mark, "a stream that ends without a word"
        assert stream.startswith(relayed.removesuffix(b"\n\n")) or stream.startswith(relayed)
        assert json.loads(error)["type"] == "error"


class _Reader:
    def __init__(self) -> None:
        self.body = b""
        self.ends = 0

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def _read(written: bytes, *, is_cut: bool) -> tuple[int, bytes]:
    """Status and body of the one answer in these bytes."""
    reader = _Reader()
    parser = httptools.HttpResponseParser(reader)
    parser.feed_data(written)
    assert reader.ends == 1 or (is_cut and reader.ends == 0), "not one whole answer"
    return parser.get_status_code(), reader.body
