"""The request path end to end: one request through everything, against the simulator."""

from __future__ import annotations

import json

from tests.sidecar.rig import PRIMARY, ask, config, proxy, run, simulator


def test_a_json_request_goes_through_with_its_bytes_unchanged() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            body = json.dumps(ask(), indent=1).encode()
            reply = await rig.call(body)
            assert reply.status == 200, reply.body
            assert reply.json["type"] == "message"
            assert reply.headers["x-claudeops-tier"] == "primary"
            assert reply.headers["x-claudeops-model"] == PRIMARY
            assert reply.headers["x-claudeops-queue-ms"] == "0"
            assert "request-id" in reply.headers
            counters = rig.runtime.models[PRIMARY].counters[0]
            assert counters.requests == {(200, ""): 1}
            assert counters.tokens_output == reply.json["usage"]["output_tokens"]
            assert rig.runtime.in_flight == 0

    run(test)


def test_a_stream_goes_through_event_by_event() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(stream=True))
            assert reply.status == 200, reply.body
            names = [name for name, _ in reply.events]
            assert names[0] == "message_start"
            assert names[-2:] == ["message_delta", "message_stop"]
            output = [data["usage"]["output_tokens"] for name, data in reply.events if name == "message_delta"][-1]
            counters = rig.runtime.models[PRIMARY].counters[0]
            assert counters.tokens_output == output
            assert rig.runtime.in_flight == 0

    run(test)

