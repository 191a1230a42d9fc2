"""Each kind of fault on the wire, as a client sees it."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import msgspec
import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Fault, Simulator, SimulatorConfig

HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2023-06-01"}
BODY: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


def script(simulator: Simulator, *faults: Fault) -> None:
    assert exchange(simulator.url, "PUT", "/_sim/faults", list(faults))[0] == 200


def post(simulator: Simulator, **members: Any) -> tuple[int, dict[str, str], bytes]:
    return exchange(simulator.url, "POST", "/v1/messages", BODY | {"max_tokens": 60} | members, HEADERS)


def streamed(simulator: Simulator) -> list[tuple[str, str]]:
    status, _, data = post(simulator, stream=True)
    assert status == 200
    chunks = [chunk.split("\n", 1) for chunk in data.decode().strip().split("\n\n")]
    return [(first.removeprefix("event: "), second.removeprefix("data: ")) for first, second in chunks]


def by_fault(simulator: Simulator) -> Any:
    return json.loads(exchange(simulator.url, "GET", "/_sim/stats")[2])["by_fault"]


@pytest.mark.parametrize(("kind", "status", "error"), [("overloaded", 529, "overloaded_error"), ("error500", 500, "api_error")])
@pytest.mark.parametrize("stream", [False, True])
def test_plain_errors(simulator: Simulator, kind: Any, status: int, error: str, stream: bool) -> None:
    script(simulator, Fault(kind, count=1))
    found, _, data = post(simulator, stream=stream)
    assert (found, json.loads(data)["error"]["type"]) == (status, error)
    assert post(simulator, stream=stream)[0] == 200
    assert by_fault(simulator) == {kind: 1}


def test_a_throttle_keeps_its_own_retry_after_and_debits_nothing(simulator: Simulator) -> None:
    script(simulator, Fault("throttle", retry_after_s=16))
    status, headers, data = post(simulator)
    assert (status, headers["retry-after"], headers["x-should-retry"]) == (429, "16", "true")
    assert json.loads(data)["error"]["type"] == "rate_limit_error"
    assert int(headers["anthropic-ratelimit-output-tokens-remaining"]) > 0
    stats = json.loads(exchange(simulator.url, "GET", "/_sim/stats")[2])
    assert stats["groups"][0]["used"]["requests"] == 0
    assert stats["by_code"] == {"429": 1}


@pytest.mark.parametrize(("after", "deltas"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_overload_inside_a_stream(simulator: Simulator, after: int | None, deltas: int) -> None:
    with live_simulator(SimulatorConfig(speed=1e6, output_median_tokens=60, output_sigma=0.01)) as steady:
        script(steady, Fault("stream_error", after_events=after))
        events = streamed(steady)
    names = [name for name, _ in events]
    assert names[0] == "message_start"
    assert names.count("content_block_delta") == deltas
    assert names[-1] == "error"
    assert json.loads(events[-1][1])["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert "message_stop" not in names


@pytest.mark.parametrize("fault", [Fault("reset"), Fault("down"), Fault("reset", after_events=0), Fault("reset", after_events=2)])
@pytest.mark.parametrize("stream", [False, True])
def test_resets(simulator: Simulator, fault: Fault, stream: bool) -> None:
    script(simulator, fault)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(simulator, stream=stream)
    script(simulator)
    assert post(simulator, stream=stream)[0] == 200


def test_garbage_instead_of_an_answer(simulator: Simulator) -> None:
    script(simulator, Fault("garbage"))
    with pytest.raises(http.client.BadStatusLine):
        post(simulator)


def test_garbage_inside_an_answer(simulator: Simulator) -> None:
    script(simulator, Fault("garbage", after_events=0))
    status, _, data = post(simulator)
    assert status == 200
    with pytest.raises(ValueError):
        json.loads(data)
    with pytest.raises((http.client.HTTPException, ValueError)):
        post(simulator, stream=True)


def test_half_a_json(simulator: Simulator) -> None:
    script(simulator, Fault("half_json"))
    status, _, data = post(simulator)
    assert status == 200
    assert data.startswith(b'{"id":"msg_')
    with pytest.raises(json.JSONDecodeError):
        json.loads(data)
    name, text = streamed(simulator)[-1]
    assert name == "content_block_delta"
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_a_big_event(simulator: Simulator) -> None:
    script(simulator, Fault("big_event", size_bytes=3_000_000))
    sizes = [len(text) for _, text in streamed(simulator)]
    assert sum(size > 3_000_000 for size in sizes) == 1
    assert len(post(simulator)[2]) > 3_000_000


def test_slow_answers_are_late() -> None:
    with live_simulator(SimulatorConfig(speed=1000, output_median_tokens=20)) as simulator:
        script(simulator, Fault("slow", delay_s=0.4))
        begin_s = time.monotonic()
        assert post(simulator)[0] == 200
        assert time.monotonic() - begin_s >= 0.4


def test_faults_are_shown_with_their_hits(simulator: Simulator) -> None:
    script(simulator, Fault("overloaded", count=3, model="claude-sonnet-5-5"), Fault("slow", for_s=60))
    post(simulator)
    shown = json.loads(exchange(simulator.url, "GET", "/_sim/faults")[2])
    assert [(entry["fault"]["kind"], entry["hits"]) for entry in shown] == [("overloaded", 1), ("slow", 0)]
    assert shown[1]["ends_at"] > time.time()
    exchange(simulator.url, "DELETE", "/_sim/faults")
    assert json.loads(exchange(simulator.url, "GET", "/_sim/faults")[2]) == []


def test_a_fault_can_be_for_one_client(simulator: Simulator) -> None:
    script(simulator, Fault("overloaded", client="10.0.0.0/8"))
    assert post(simulator)[0] == 200
    script(simulator, Fault("overloaded", client="127.0.0.1"))
    assert post(simulator)[0] == 529


def test_faults_can_be_in_force_from_the_start() -> None:
    with live_simulator(SimulatorConfig(faults=(Fault("overloaded"),))) as simulator:
        assert post(simulator)[0] == 529
        assert msgspec.json.decode(exchange(simulator.url, "GET", "/_sim/faults")[2])[0]["fault"] == {"kind": "overloaded"}
