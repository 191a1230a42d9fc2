"""Which streams rest between two reads: those whose events come faster than anybody reads them, and little at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.wire_harness import Wire

from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.relay import BURST_BYTES, BURST_S
from claudeops.sidecar.runtime import Runtime
from claudeops.wire.upstream import UpstreamConnection

MODEL = "claude-sonnet-5-5"
BODY = b'{"model":"%b","max_tokens":8,"stream":true,"messages":[{"role":"user","content":"hi"}]}' % MODEL.encode()
REQUEST = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
BEGIN = b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(BEGIN), BEGIN)


def delta(size_bytes: int = 12) -> bytes:
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % (b"x" * size_bytes)
    event = b"event: content_block_delta\ndata: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


class Stream:
    """One that runs, on a clock of its own; its head and first event are with the client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = 100.0
        runtime = Runtime(lambda: self.now, wall_clock=lambda: 1.8e9)
        self.pipeline = pipeline = Pipeline(loop, runtime)
        config = ProxyConfig(
            revision=1,
            workload=WorkloadKey(namespace="n", name="w"),
            upstream=Upstream(base_url="http://127.0.0.1:9"),
            model=ModelChoice(name=MODEL),
        )
        runtime.apply_config(config, self.now)
        runtime.set_key(b"sk-x")
        assert pipeline.pool is not None
        self.to_client, self.to_upstream = Wire(), Wire()
        self.upstream = UpstreamConnection(pipeline.pool)
        self.upstream.connection_made(self.to_upstream)  # type: ignore[arg-type]
        self.upstream.retires_at = 1_000
        pipeline.pool.idle.append(self.upstream)
        client = pipeline.new_connection()
        client.connection_made(self.to_client)
        client.data_received(REQUEST)
        self.upstream.data_received(HEAD)

    def read(self, data: bytes, *, after_s: float) -> bool:
        """One read of the upstream, so long after the last. Does the stream rest now?"""
        self.now += after_s
        self.upstream.data_received(data)
        assert self.to_client.written.endswith(data), "whatever was read is on its way at once"
        return self.to_upstream.is_paused


@pytest.fixture
def stream() -> Iterator[Stream]:
    loop = asyncio.new_event_loop()
    yield Stream(loop)
    loop.close()


def test_a_stream_that_is_read_twice_within_a_millisecond_rests(stream: Stream) -> None:
    assert not stream.read(delta(), after_s=5 * BURST_S)
    assert stream.read(delta(), after_s=BURST_S / 2)


def test_events_at_a_readers_pace_never_wait(stream: Stream) -> None:
    assert not any(stream.read(delta(), after_s=2 * BURST_S) for _ in range(5))


def test_a_large_read_is_followed_by_the_next_at_once(stream: Stream) -> None:
    assert not any(stream.read(delta(BURST_BYTES), after_s=0.0) for _ in range(5))
