"""User-space microseconds a request: the whole request path between transports that do nothing. ``--profile`` says where they go."""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from collections.abc import Callable
from typing import Any

from bench.subject import KEY, config_document, request_body
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.runtime import Runtime
from claudeops.wire.upstream import UpstreamConnection

BATCH = 100
UPSTREAM_PORT = 9
_WORDS = b"steady answer " * 112
_ANSWER_BODY = (
    b'{"id":"msg_01ABCDEFGHIJKLMNOPQRSTUV","type":"message","role":"assistant","model":"claude-sonnet-4-6",'
    b'"content":[{"type":"text","text":"%b"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":512,'
    b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":350}}'
) % _WORDS
_LIMITS = b"".join(
    b"anthropic-ratelimit-%b-limit: 900000000\r\nanthropic-ratelimit-%b-remaining: 900000000\r\n"
    b"anthropic-ratelimit-%b-reset: 2026-11-22T18:00:00Z\r\n" % (name, name, name)
    for name in (b"requests", b"input-tokens", b"output-tokens")
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n"
    b"anthropic-organization-id: 00000000-0000-4000-8000-000000000001\r\n%bcontent-length: %d\r\n\r\n%b"
) % (_LIMITS, len(_ANSWER_BODY), _ANSWER_BODY)


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


def request(size: int) -> bytes:
    """What wrk sends in the other benchmark."""
    body = request_body(size)
    head = (
        b"POST /v1/messages HTTP/1.1\r\ncontent-type: application/json\r\nHost: 127.0.0.1:4141\r\n"
        b"anthropic-version: 2023-06-01\r\nx-api-key: placeholder\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(body) + body


def make_round_trip(size: int) -> Callable[[], None]:
    """One request in, edited out, answered, relayed. Raises RuntimeError if it does not come to that."""
    runtime = Runtime(time.monotonic, wall_clock=time.time)
    pipeline = Pipeline(asyncio.new_event_loop(), runtime)
    runtime.apply_config(config_document(UPSTREAM_PORT), runtime.clock())
    runtime.set_key(KEY.encode())
    pool = pipeline.pool
    assert pool is not None
    to_client, to_upstream = Sink(), Sink()
    upstream = UpstreamConnection(pool)
    upstream.connection_made(to_upstream)  # type: ignore[arg-type]
    pool.idle.append(upstream)
    client = pipeline.new_connection()
    client.connection_made(to_client)
    data = request(size)

    def round_trip() -> None:
        client.data_received(data)
        upstream.data_received(ANSWER)

    round_trip()
    if b"x-claudeops-adjusted: " not in to_client.last[0] or b'"cache_control"' not in to_upstream.last[1]:
        raise RuntimeError(f"not the three edits: {to_client.last[0]!r}")
    return round_trip


def measure_us(round_trip: Callable[[], None], batches: int) -> float:
    """The best batch: everything else that the machine does only adds."""
    best_s = float("inf")
    for _ in range(batches):
        started_at = time.perf_counter()
        for _ in range(BATCH):
            round_trip()
        best_s = min(best_s, time.perf_counter() - started_at)
    return best_s / BATCH * 1e6


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=400, help=f"of {BATCH} requests")
    parser.add_argument("--size", type=int, default=2048, help="of the request body in bytes")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    round_trip = make_round_trip(args.size)
    gc.collect()
    gc.freeze()
    print(f"{measure_us(round_trip, args.batches):.1f} us of user space a request")
    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(measure_us, round_trip, args.batches)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
