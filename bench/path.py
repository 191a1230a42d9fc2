"""The request path of the proxy in this process, between transports that do nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.subject import KEY, config_document, request_body
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.runtime import Runtime
from claudeops.wire.upstream import UpstreamConnection

BATCH = 20
UPSTREAM_URL = "http://127.0.0.1:9"
NEVER = 1 << 60
_USAGE = b'{"input_tokens":512,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":35}'
"""So few tokens that what a lease without limits stands for (``group.UNLIMITED``) is not used up at 70,000 answers a second."""
ANSWER_BODY = (
    b'{"id":"msg_01ABCDEFGHIJKLMNOPQRSTUV","type":"message","role":"assistant","model":"claude-sonnet-5-5",'
    b'"content":[{"type":"text","text":"%b"}],"stop_reason":"end_turn","stop_sequence":null,"usage":%b}'
) % (b"steady answer " * 112, _USAGE)
_LIMITS = b"".join(
    b"anthropic-ratelimit-%b-limit: 900000000\r\nanthropic-ratelimit-%b-remaining: 900000000\r\n"
    b"anthropic-ratelimit-%b-reset: 2026-11-22T18:00:00Z\r\n" % (name, name, name)
    for name in (b"requests", b"input-tokens", b"output-tokens")
)
_COMMON = b"request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\nanthropic-organization-id: 00000000-0000-4000-8000-000000000001\r\n%b" % _LIMITS
ANSWER_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d" % (_COMMON, len(ANSWER_BODY))
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n%btransfer-encoding: chunked\r\n\r\n" % _COMMON


class Sink:
    """A transport that takes everything and remembers the last of it."""

    def __init__(self) -> None:
        self.last: Any = b""

    def write(self, data: bytes) -> None:
        """Takes one part."""
        self.last = data

    def writelines(self, parts: Any) -> None:
        """Takes several."""
        self.last = parts

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no buffer."""

    def pause_reading(self) -> None:
        """What is read is decided elsewhere."""


class Path:
    """One client connection, one upstream connection, and the requests between them."""

    def __init__(self, size: int, *, is_streamed: bool = False) -> None:
        runtime = Runtime(time.monotonic, wall_clock=time.time)
        self.pipeline = Pipeline(asyncio.new_event_loop(), runtime)
        runtime.apply_config(config_document(UPSTREAM_URL), runtime.clock())
        runtime.set_key(KEY.encode())
        pool = self.pipeline.pool
        assert pool is not None
        self.to_client, self.to_upstream = Sink(), Sink()
        self.upstream = UpstreamConnection(pool)
        self.upstream.retires_at = NEVER
        self.upstream.connection_made(self.to_upstream)  # type: ignore[arg-type]
        pool.idle.append(self.upstream)
        self.client = self.pipeline.new_connection()
        self.client.connection_made(self.to_client)
        self.request = _request(size, is_streamed=is_streamed)
        self.whole_answer = ANSWER_HEAD + b"\r\n\r\n" + ANSWER_BODY
        self.round_trip()
        self._check()

    def ask(self) -> None:
        """The client sends."""
        self.client.data_received(self.request)

    def answer(self) -> None:
        """The upstream answers."""
        self.upstream.data_received(self.whole_answer)

    def round_trip(self) -> None:
        """One request in, edited, out, answered, relayed."""
        self.ask()
        self.answer()

    def _check(self) -> None:
        """Raises RuntimeError unless it came to that."""
        if b"x-claudeops-adjusted: " not in self.to_client.last[0] or b'"cache_control"' not in b"".join(self.to_upstream.last):
            raise RuntimeError(f"not the three edits: {self.to_client.last[0]!r}")


class StreamPath(Path):
    """The same for a stream of 100 events; each read of the upstream has so many bytes, 0: one event."""

    def __init__(self, read_bytes: int) -> None:
        events = _events()
        self.events = len(events)
        chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
        whole = b"".join(chunks)
        parts = [whole[at : at + read_bytes] for at in range(0, len(whole), read_bytes)] if read_bytes else chunks
        self.reads = [_STREAM_HEAD + parts[0], *parts[1:-1], parts[-1] + b"0\r\n\r\n"]
        super().__init__(2048, is_streamed=True)

    def answer(self) -> None:
        """The upstream streams."""
        for data in self.reads:
            self.upstream.data_received(data)

    def _check(self) -> None:
        """Raises RuntimeError unless the stream came to its end."""
        if not self.to_client.last.endswith(b"0\r\n\r\n") or b"message_stop" not in self.to_client.last:
            raise RuntimeError(f"the stream did not end: {self.to_client.last!r}")


def _events() -> list[bytes]:
    def event(name: str, data: str = "") -> bytes:
        return f'event: {name}\ndata: {{"type":"{name}"{data}}}\n\n'.encode()

    message = f',"message":{{"id":"msg_01ABC","type":"message","role":"assistant","content":[],"usage":{_USAGE.decode()}}}'
    delta = ',"index":0,"delta":{"type":"text_delta","text":" a few words more"}'
    return [
        event("message_start", message),
        event("content_block_start", ',"index":0,"content_block":{"type":"text","text":""}'),
        event("ping"),
        *[event("content_block_delta", delta)] * 94,
        event("content_block_stop", ',"index":0'),
        event("message_delta", ',"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":350}'),
        event("message_stop"),
    ]


def _request(size: int, *, is_streamed: bool) -> bytes:
    body = request_body(size, is_streamed=is_streamed)
    head = (
        b"POST /v1/messages HTTP/1.1\r\ncontent-type: application/json\r\nHost: 127.0.0.1:4141\r\n"
        b"anthropic-version: 2023-06-01\r\nx-api-key: placeholder\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(body) + body
