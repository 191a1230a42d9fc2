"""What the application sees when the API fails: an answer of the API's shape, and as often as possible no failure at all."""

from __future__ import annotations

import json

import pytest
from tests.sidecar.rig import PRIMARY, Client, Reply, Rig, ask, config, is_settled, proxy, resilience, run, simulator, until

from claudeops.proxyconfig import Retry, Timeouts
from claudeops.sidecar.relay import Relay
from claudeops.simulator import Simulator
from claudeops.simulator.fault import Fault


def assert_error(reply: Reply, status: int, kind: str, reason: str | None) -> None:
    assert (reply.status, reply.reason) == (status, reason), reply.body
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == kind
    assert reply.json["error"]["message"]


@pytest.mark.parametrize("kind", ["throttle", "overloaded", "error500", "reset", "garbage", "half_json"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_that_passes_is_not_seen_by_the_application(kind: str, stream: bool) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind=kind, count=1)])  # type: ignore[arg-type]
            reply = await rig.call(ask(stream=stream))
            assert reply.status == 200, reply.body
            assert sum(rig.runtime.models[PRIMARY].counters[0].retries.values()) == 1
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize(
    ("kind", "status", "error", "reason"),
    [
        ("throttle", 429, "rate_limit_error", None),
        ("overloaded", 529, "overloaded_error", None),
        ("error500", 500, "api_error", None),
        ("reset", 502, "api_error", "upstream"),
        ("garbage", 502, "api_error", "upstream"),
        ("half_json", 502, "api_error", "upstream"),
    ],
)
def test_a_fault_that_stays_is_passed_on_in_the_apis_shape(kind: str, status: int, error: str, reason: str | None) -> None:
    async def test() -> None:
        document = resilience(retry=Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100))
        async with simulator() as api, proxy(config(api.url, resilience=document)) as rig:
            api.set_faults([Fault(kind=kind)])  # type: ignore[arg-type]
            reply = await rig.call(ask())
            assert_error(reply, status, error, reason)
            assert is_settled(rig)

    run(test)


def test_an_upstream_that_refuses_connections_is_a_502() -> None:
    async def test() -> None:
        async with simulator() as api:
            url = api.url
        async with proxy(config(url)) as rig:
            assert_error(await rig.call(ask()), 502, "api_error", "upstream")
            assert rig.runtime.models[PRIMARY].counters[0].upstream == {0: 3}
            assert is_settled(rig)

    run(test)


def test_an_upstream_that_says_nothing_is_a_504() -> None:
    async def test() -> None:
        document = resilience(timeouts=Timeouts(connect_s=1, first_byte_s=0.2, stream_idle_s=1, total_s=0.5))
        async with simulator() as api, proxy(config(api.url, resilience=document)) as rig:
            api.set_faults([Fault(kind="slow", delay_s=30.0)])
            assert_error(await rig.call(ask()), 504, "timeout_error", "upstream")
            assert is_settled(rig)
            assert set(rig.runtime.models[PRIMARY].counters[0].upstream) == {504}

    run(test)


def test_an_error_event_before_any_content_is_retried() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind="stream_error", after_events=0, count=1)])
            reply = await rig.call(ask(stream=True))
            assert [name for name, _ in reply.events][-1] == "message_stop"
            assert "error" not in [name for name, _ in reply.events]
            assert rig.runtime.models[PRIMARY].counters[0].upstream == {529: 1, 200: 1}
            assert is_settled(rig)

    run(test)


def test_an_error_event_after_content_is_passed_on_and_never_retried() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig, is_streamed=True)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
            relay.response(200, head, b"event: content_block_start\ndata: {}\n\n", False)
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            relay.more(b"event: error\ndata: %b\n\n" % json.dumps(error).encode(), True)
            assert (await client.read()).events == [("content_block_start", {}), ("error", error)]
            assert rig.runtime.models[PRIMARY].counters[0].upstream == {529: 1}
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize("kind", ["reset", "garbage", "half_json"])
def test_a_stream_that_breaks_off_ends_with_an_error_event(kind: str) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind=kind, after_events=2)])  # type: ignore[arg-type]
            reply = await rig.call(ask(stream=True))
            name, data = reply.events[-1]
            assert (name, data["error"]["type"]) == ("error", "api_error")
            assert any(name == "content_block_delta" for name, _ in reply.events)
            assert is_settled(rig)
            assert rig.runtime.groups["sonnet-4.x"].counters.used_output > 0

    run(test)


def test_a_stream_that_falls_silent_ends_with_an_error_event() -> None:
    async def test() -> None:
        document = resilience(timeouts=Timeouts(connect_s=1, first_byte_s=20, stream_idle_s=0.3, total_s=20))
        async with (
            simulator(tokens_per_s=20.0, speed=1.0, ttft_s=0.01, tokens_per_event=1) as api,
            proxy(config(api.url, resilience=document)) as rig,
        ):
            api.set_faults([Fault(kind="slow", factor=200.0)])
            reply = await rig.call(ask(stream=True))
            name, data = reply.events[-1]
            assert (name, data["error"]["type"]) == ("error", "timeout_error")
            assert is_settled(rig)

    run(test)


def test_a_ten_megabyte_event_goes_through() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind="big_event", after_events=1)])
            reply = await rig.call(ask(stream=True))
            assert len(reply.body) > 10_000_000
            assert reply.events[-1][0] == "message_stop"
            assert is_settled(rig)

    run(test)


def test_content_that_comes_after_the_hold_is_the_first_token() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind="slow", delay_s=30)])
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=True)).encode())
            await until(lambda: rig.runtime.in_flight == 1 and rig.pipeline.pool_counts()["busy"] == 1)
            (connection,) = rig.pipeline.server.connections
            relay = connection.transit
            assert isinstance(relay, Relay)
            assert relay.upstream is not None
            relay.upstream.abandon()  # the simulator sends head and content together: here they come apart
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
            relay.response(200, head, b'event: message_start\ndata: {"type":"message_start"}\n\n', False)
            await until(lambda: relay.has_relayed)
            assert relay.first_content_at == 0.0
            relay.more(b"event: content_block_start\ndata: {}\n\n", False)
            assert relay.first_content_at == relay.last_byte_at
            relay.more(b"event: message_stop\ndata: {}\n\n", True)
            assert [name for name, _ in (await client.read()).events] == ["message_start", "content_block_start", "message_stop"]
            assert is_settled(rig)

    run(test)


def test_a_429_pauses_the_group_and_is_told_at_once() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            api.set_faults([Fault(kind="throttle", count=1, retry_after_s=1)])
            began = rig.runtime.clock()
            reply = await rig.call(ask())
            assert reply.status == 200
            assert rig.runtime.clock() - began >= 1.0
            assert "429" in rig.urgent
            assert rig.runtime.models[PRIMARY].counters[0].throttles == {"RateLimited": 1}

    run(test)


def test_a_refused_key_is_a_503_that_is_not_worth_retrying() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            rig.runtime.set_key(b"sk-ant-other")
            reply = await rig.call(ask())
            assert_error(reply, 503, "api_error", "credentials")
            assert reply.headers["x-should-retry"] == "false"
            rig.runtime.set_key(None)
            reply = await rig.call(ask())
            assert_error(reply, 503, "api_error", "credentials")
            await until(lambda: is_settled(rig))

    run(test)


async def held_back(api: Simulator, rig: Rig, *, is_streamed: bool = False) -> tuple[Client, Relay]:
    """A client and its request, which the API has and will not answer: the test answers in its place. Later requests are answered."""
    api.set_faults([Fault(kind="slow", delay_s=30)])
    client = await rig.connect()
    await client.send(json.dumps(ask(stream=True) if is_streamed else ask()).encode())
    await until(lambda: rig.runtime.in_flight == 1 and rig.pipeline.pool_counts()["busy"] == 1)
    (connection,) = [connection for connection in rig.pipeline.server.connections if connection.transit is not None]
    relay = connection.transit
    assert isinstance(relay, Relay)
    assert relay.upstream is not None
    relay.upstream.abandon()
    relay.upstream = None
    api.set_faults([])
    return client, relay


def test_a_redirect_is_passed_on_and_not_followed() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig)
            relay.response(
                307, b"HTTP/1.1 307 Temporary Redirect\r\nlocation: %b/v1/messages\r\ncontent-length: 0" % api.url.encode(), b"", True
            )
            reply = await client.read()
            assert (reply.status, reply.headers["location"]) == (307, f"{api.url}/v1/messages")
            assert rig.runtime.models[PRIMARY].counters[0].upstream == {307: 1}
            assert is_settled(rig)

    run(test)


def test_what_the_api_wishes_to_be_retried_is_retried() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig)
            relay.response(400, b"HTTP/1.1 400 Bad Request\r\nx-should-retry: true\r\ncontent-length: 2", b"{}", True)
            assert (await client.read()).status == 200
            assert rig.runtime.models[PRIMARY].counters[0].retries == {"400": 1}
            assert is_settled(rig)

    run(test)


def test_a_spend_limit_is_passed_on_and_the_sdks_are_told_not_to_retry() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig)
            error = {"type": "rate_limit_error", "message": "spent", "details": {"error_code": "enforced_spend_limit_reached"}}
            body = json.dumps({"type": "error", "error": error}).encode()
            head = b"HTTP/1.1 429 Too Many Requests\r\nx-should-retry: true\r\nrequest-id: req_1\r\ncontent-length: %d" % len(body)
            relay.response(429, head, body, True)
            reply = await client.read()
            assert (reply.status, reply.body, reply.reason) == (429, body, None)
            assert (reply.headers["x-should-retry"], reply.headers["request-id"]) == ("false", "req_1")
            assert rig.runtime.models[PRIMARY].counters[0].throttles == {"SpendLimited": 1}
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_that_breaks_off_inside_an_event_has_its_error_event_apart(line_end: bytes) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig, is_streamed=True)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
            whole = b"event: content_block_start\ndata: {}\n\n".replace(b"\n", line_end)
            relay.response(200, head, whole + b"event: content_block_delta", False)
            relay.more(line_end + b'data: {"ty', False)
            relay.failed("the upstream closed the connection", is_unreachable=False)
            reply = await client.read()
            assert b"\n\nevent: error\ndata: " in reply.body
            assert is_settled(rig)

    run(test)


def test_a_stream_without_its_last_blank_line_is_whole() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig, is_streamed=True)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
            relay.response(200, head, b"event: content_block_start\ndata: {}\n\n", False)
            relay.more(b"event: message_stop\ndata: {}", True)
            assert [name for name, _ in (await client.read()).events] == ["content_block_start", "message_stop"]
            assert rig.runtime.models[PRIMARY].counters[0].upstream == {200: 1}

    run(test)


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_stream_that_names_its_length_breaks_off_like_any_other_and_the_connection_goes_on(is_whole: bool) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig, is_streamed=True)
            begun, stop = b"event: content_block_start\ndata: {}\n\n", b"event: message_stop\ndata: {}\n\n"
            length = len(begun) + len(stop)
            relay.response(200, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d" % length, begun, False)
            if is_whole:
                relay.more(stop, True)
            else:
                relay.failed("the upstream closed the connection", is_unreachable=False)
            events = [name for name, _ in (await client.read()).events]
            assert events == ["content_block_start", "message_stop" if is_whole else "error"]
            await client.send(json.dumps(ask()).encode())
            assert (await client.read()).status == 200

    run(test)


@pytest.mark.parametrize("last", ["message_stop", "error"])
def test_a_stream_whose_last_event_has_come_ends_well_before_its_silence_would_end_it(last: str) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            client, relay = await held_back(api, rig, is_streamed=True)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
            relay.response(200, head, b"event: content_block_start\ndata: {}\n\n", False)
            relay.more(b'event: %b\ndata: {"error":{"type":"overloaded_error","message":"x"}}\n\n' % last.encode(), False)
            assert [name for name, _ in (await client.read()).events] == ["content_block_start", last]
            assert is_settled(rig)

    run(test)


def test_an_error_without_an_end_is_given_up() -> None:
    async def test() -> None:
        once = resilience(retry=Retry(max_attempts=1))
        async with simulator() as api, proxy(config(api.url, resilience=once)) as rig:
            client, relay = await held_back(api, rig)
            relay.response(500, b"HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked", b"x" * 600_000, False)
            relay.more(b"x" * 600_000, False)
            assert_error(await client.read(), 502, "api_error", "upstream")
            assert is_settled(rig)

    run(test)
