"""The simulator's rate limits over real sockets, and what its referee says of them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.catalogue import RateLimits
from claudeops.simulator import Account, Simulator, SimulatorConfig

GROUP = "sonnet-5.5"
HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2023-06-01"}
BODY: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
WAIT_S = 10.0


def post(simulator: Simulator, key: str = "sk-ant-sim-test", **members: Any) -> tuple[int, dict[str, str], Any]:
    status, headers, data = exchange(simulator.url, "POST", "/v1/messages", BODY | members, HEADERS | {"x-api-key": key})
    return status, headers, json.loads(data) if not members.get("stream") else data


def control(simulator: Simulator, method: str, path: str, body: Any = None) -> Any:
    status, _, data = exchange(simulator.url, method, f"/_sim/{path}", body)
    assert status == 200, data
    return json.loads(data)


def group(simulator: Simulator, name: str = GROUP) -> dict[str, Any]:
    found: list[dict[str, Any]] = control(simulator, "GET", "stats?seconds=600")["groups"]
    return next(entry for entry in found if entry["group"] == name)


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.02)


def limited(requests: int = 6000, tokens: int = 6_000_000, output: int = 6_000_000, **options: Any) -> SimulatorConfig:
    options = {"speed": 1e6, "output_median_tokens": 40, "burst_s": 1.0} | options
    return SimulatorConfig(limits={GROUP: RateLimits(requests, tokens, output)}, **options)


def test_requests_beyond_the_burst_are_429s_with_the_documented_words() -> None:
    with live_simulator(limited(requests=60, burst_s=3.0)) as simulator:
        answers = [post(simulator) for _ in range(6)]
        codes = [status for status, _, _ in answers]
        assert codes[:3] == [200, 200, 200]
        status, headers, document = answers[-1]
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert document["error"]["type"] == "rate_limit_error"
        assert "rate limit of 60 requests per minute" in document["error"]["message"]
        assert group(simulator)["used"]["throttled_by"] == {"requests": codes.count(429)}


def test_after_the_stated_wait_the_request_passes() -> None:
    with live_simulator(limited(requests=60)) as simulator:
        assert post(simulator)[0] == 200
        status, headers, _ = post(simulator)
        assert status == 429
        allowed_at_s = time.monotonic() + int(headers["retry-after"])
        until(lambda: time.monotonic() >= allowed_at_s)
        assert post(simulator)[0] == 200


def test_uncached_input_is_limited_and_cache_reads_are_free() -> None:
    system = [{"type": "text", "text": "rules " * 4000, "cache_control": {"type": "ephemeral"}}]
    with live_simulator(limited(tokens=60_000, burst_s=10.0)) as simulator:
        first = post(simulator, system=system)
        assert first[0] == 200
        written = first[2]["usage"]["cache_creation_input_tokens"]
        assert 7_000 < written < 10_000
        assert [post(simulator, system=system)[0] for _ in range(10)] == [200] * 10
        fresh = post(simulator, system="other " * 4000)
        assert fresh[0] == 429
        assert "rate limit of 60,000 input tokens per minute" in fresh[2]["error"]["message"]
        used = group(simulator)["used"]
        assert used["cache_read_tokens"] == 10 * written
        assert used["input_tokens"] < written + 200


def test_output_in_debt_refuses_new_requests_only() -> None:
    with live_simulator(limited(output=600, burst_s=1.0, output_median_tokens=90, output_sigma=0.01)) as simulator:
        status, _, document = post(simulator)
        assert (status, document["usage"]["output_tokens"] > 80) == (200, True)
        status, headers, document = post(simulator)
        assert status == 429
        assert int(headers["retry-after"]) >= 7
        assert "rate limit of 600 output tokens per minute" in document["error"]["message"]
        assert group(simulator)["levels"]["output"] < 0


def test_output_is_debited_while_it_is_produced() -> None:
    with live_simulator(limited(speed=1, ttft_s=0.01, tokens_per_s=400, output_median_tokens=600, output_sigma=0.01)) as simulator:
        done: list[int] = []
        threads = [threading.Thread(target=lambda s=s: done.append(post(simulator, max_tokens=1000, stream=s)[0])) for s in (False, True)]
        for thread in threads:
            thread.start()
        until(lambda: any(entry["used"]["output_tokens"] > 100 for entry in control(simulator, "GET", "stats")["groups"]))
        assert group(simulator)["in_flight"] == 2
        assert not done
        for thread in threads:
            thread.join()
        assert done == [200, 200]
        found = group(simulator)
        assert found["in_flight"] == 0
        assert found["used"]["output_tokens"] == pytest.approx(1200, rel=0.1)
        assert sum(row["output_tokens"] for row in found["timeline"]) == pytest.approx(found["used"]["output_tokens"])


def test_the_referee_counts_exactly_what_usage_says() -> None:
    with live_simulator(limited()) as simulator:
        usages = [post(simulator)[2]["usage"] for _ in range(20)]
        found = group(simulator)
        assert found["used"]["requests"] == sum(row["requests"] for row in found["timeline"]) == 20
        assert found["used"]["input_tokens"] == sum(usage["input_tokens"] for usage in usages)
        assert found["used"]["output_tokens"] == pytest.approx(sum(usage["output_tokens"] for usage in usages), abs=0.01)


def test_a_client_that_leaves_stops_the_production() -> None:
    config = limited(speed=1, ttft_s=0.01, tokens_per_s=200, output_median_tokens=50_000, output_sigma=0.01)
    with live_simulator(config) as simulator:
        for is_stream in (False, True):
            body = json.dumps(BODY | {"max_tokens": 60_000, "stream": is_stream}).encode()
            lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
            head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", simulator.port)) as sock:
                sock.sendall(head.encode() + body)
                before = control(simulator, "GET", "stats")["by_code"].get("499", 0)
                until(
                    lambda: any(
                        g["in_flight"] == 1 and g["used"]["output_tokens"] > 5 for g in control(simulator, "GET", "stats")["groups"]
                    )
                )
            until(lambda: group(simulator)["in_flight"] == 0)
            after = control(simulator, "GET", "stats")
            assert (after["in_flight"], after["streams"]) == (0, 0)
            assert after["by_code"].get("499", 0) == before + (0 if is_stream else 1)
        used = group(simulator)["used"]
        assert used["output_tokens"] < 10_000
        assert used["unreported_requests"] == 2
        assert used["unreported_output_tokens"] == pytest.approx(used["output_tokens"], rel=0.2, abs=5)


def test_groups_and_organisations_have_their_own_buckets() -> None:
    keys = {"sk-a": Account("acme"), "sk-b": Account("beta")}
    limits = {GROUP: RateLimits(1, 10**6, 10**6), "haiku-5.5": RateLimits(1, 10**6, 10**6)}
    with live_simulator(SimulatorConfig(speed=1e6, keys=keys, limits=limits)) as simulator:
        assert [post(simulator, "sk-a")[0] for _ in range(2)] == [200, 429]
        assert post(simulator, "sk-a", model="claude-haiku-5-5")[0] == 200
        assert post(simulator, "sk-b")[0] == 200


def test_models_of_a_group_share_its_bucket() -> None:
    with live_simulator(SimulatorConfig(speed=1e6, limits={"opus-4.x": RateLimits(2, 10**6, 10**6)}, burst_s=60)) as simulator:
        codes = [post(simulator, model=model)[0] for model in ("claude-opus-4-8", "claude-opus-4-5", "claude-opus-4-6")]
        assert codes == [200, 200, 429]


def test_others_take_their_share() -> None:
    with live_simulator(limited(requests=600, burst_s=0.1)) as simulator:
        control(simulator, "PUT", "faults", [{"kind": "outside_share", "share": 0.5, "model": GROUP}])
        post(simulator)
        until(lambda: group(simulator)["used"]["outside_requests"] > 2)
        found = group(simulator)
        assert found["outside_share"] == 0.5
        used = found["used"]
        assert used["outside_input_tokens"] == pytest.approx(used["outside_requests"] * 10_000)
        control(simulator, "DELETE", "faults")
        assert group(simulator)["outside_share"] == 0


def test_limits_change_while_it_runs() -> None:
    with live_simulator(limited(requests=6000)) as simulator:
        assert post(simulator)[1]["anthropic-ratelimit-requests-limit"] == "6000"
        changed = control(simulator, "PUT", "limits", {"limits": {GROUP: {"rpm": 60, "itpm": 60_000, "otpm": 60_000}}, "burst_s": 1})
        assert changed["limits"][GROUP] == {"rpm": 60, "itpm": 60_000, "otpm": 60_000}
        assert post(simulator)[1]["anthropic-ratelimit-requests-limit"] == "60"
        assert post(simulator)[0] == 429


def test_a_tier_is_its_preset() -> None:
    with live_simulator(SimulatorConfig(speed=1e6, tier="Start")) as simulator:
        headers = post(simulator)[1]
        assert headers["anthropic-ratelimit-requests-limit"] == "1000"
        assert headers["anthropic-ratelimit-output-tokens-limit"] == "400000"
        assert headers["anthropic-ratelimit-output-tokens-remaining"] == "33000"


@pytest.mark.parametrize("options", [{"tier": None}, {"has_ratelimit_headers": False}])
def test_headers_are_absent_when_nothing_is_limited_or_when_turned_off(options: dict[str, Any]) -> None:
    with live_simulator(SimulatorConfig(speed=1e6, **options)) as simulator:
        assert not [name for name in post(simulator)[1] if name.startswith("anthropic-ratelimit")]


def test_count_tokens_has_a_pool_of_its_own() -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    with live_simulator(SimulatorConfig(speed=1e6, tier="Start", burst_s=0.06)) as simulator:
        codes = [exchange(simulator.url, "POST", "/v1/messages/count_tokens", body, HEADERS)[0] for _ in range(12)]
        assert codes[0] == 200
        assert group(simulator, "count-tokens")["used"]["requests"] == codes.count(200)


def test_reset_zeroes_the_figures() -> None:
    with live_simulator(limited()) as simulator:
        post(simulator)
        control(simulator, "POST", "reset")
        stats = control(simulator, "GET", "stats")
        assert (stats["requests"], stats["by_code"], stats["by_model"]) == (0, {}, {})
        assert group(simulator)["used"]["requests"] == 0
        assert control(simulator, "GET", "requests") == []
