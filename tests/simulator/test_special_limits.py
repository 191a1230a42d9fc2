"""The limits beside the organisation's rates: workspace, fast mode, Priority Tier, spend and ramp; and errors by name."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.catalogue import RateLimits
from claudeops.simulator import Account, Fault, Simulator, SimulatorConfig
from claudeops.simulator.errorbook import NAMES

BLUE = Account("acme", "blue")
KEYS = {"sk-a": BLUE, "sk-b": Account("acme", "red")}
HEADERS = {"anthropic-version": "2026-10-21"}
BODY: dict[str, Any] = {"model": "claude-opus-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
PLENTY = RateLimits(6000, 6_000_000, 6_000_000)


def post(simulator: Simulator, key: str = "sk-a", **members: Any) -> tuple[int, dict[str, str], Any]:
    status, headers, data = exchange(simulator.url, "POST", "/v1/messages", BODY | members, HEADERS | {"x-api-key": key})
    return status, headers, json.loads(data)


def stats(simulator: Simulator) -> dict[str, Any]:
    return dict(json.loads(exchange(simulator.url, "GET", "/_sim/stats")[2]))


def used(simulator: Simulator, group: str) -> dict[str, Any]:
    return next(dict(entry["used"]) for entry in stats(simulator)["groups"] if entry["group"] == group)


def config(**options: Any) -> SimulatorConfig:
    return SimulatorConfig(**{"speed": 1e6, "output_median_tokens": 40, "keys": KEYS, "limits": {"opus-5.5": PLENTY}, **options})


def scoped(**values: int) -> dict[str, Any]:
    return {"workspace_limits": {BLUE.workspace_id: {"opus-5.5": values}}}


def test_a_workspace_is_refused_before_its_organisation_is() -> None:
    with live_simulator(config(burst_s=1.0, **scoped(requests_per_minute=120))) as simulator:
        codes = [post(simulator)[0] for _ in range(4)]
        assert codes[:2] == [200, 200]
        assert 429 in codes
        assert post(simulator, "sk-b")[0] == 200
        assert used(simulator, "opus-5.5")["throttled_by"] == {"requests": codes.count(429)}


def test_a_workspaces_input_limit_counts_cache_reads() -> None:
    system = [{"type": "text", "text": "rules " * 2000, "cache_control": {"type": "ephemeral"}}]
    for kind, wanted in (("input_tokens_per_minute", 429), ("input_tokens_per_minute_cache_aware", 200)):
        with live_simulator(config(burst_s=60.0, **scoped(**{kind: 10_000}))) as simulator:
            assert post(simulator, system=system)[0] == 200
            codes = [post(simulator, system=system)[0] for _ in range(3)]
            assert codes[-1] == wanted, kind


def test_the_tokens_header_shows_the_scarcest_limit() -> None:
    with live_simulator(config(burst_s=60.0, **scoped(tokens_per_minute=50_000))) as simulator:
        headers = post(simulator)[1]
    assert headers["anthropic-ratelimit-tokens-limit"] == "50000"
    assert headers["anthropic-ratelimit-input-tokens-limit"] == "6000000"


def test_output_takes_a_workspace_into_debt() -> None:
    with live_simulator(config(burst_s=1.0, output_sigma=0.01, **scoped(output_tokens_per_minute=600))) as simulator:
        assert [post(simulator)[0] for _ in range(2)] == [200, 429]


def test_fast_mode_has_limits_and_headers_of_its_own() -> None:
    with live_simulator(config(burst_s=1.0, limits={"opus-5.5": PLENTY, "fast:opus-5.5": RateLimits(60, 60_000, 30_000)})) as simulator:
        answers = [post(simulator, speed="fast") for _ in range(2)]
        assert [status for status, _, _ in answers] == [200, 429]
        headers, document = answers[0][1:]
        assert document["usage"]["speed"] == "fast"
        assert (headers["anthropic-fast-input-tokens-limit"], headers["anthropic-fast-output-tokens-limit"]) == ("60000", "30000")
        assert headers["anthropic-ratelimit-output-tokens-limit"] == "6000000"
        plain = post(simulator)
        assert (plain[0], plain[2]["usage"]["speed"]) == (200, "standard")
        assert "anthropic-fast-input-tokens-limit" not in plain[1]
        assert used(simulator, "fast:opus-5.5")["requests"] == 1


def test_fast_mode_that_a_model_ignores_is_served_as_standard() -> None:
    with live_simulator(config()) as simulator:
        assert post(simulator, model="claude-opus-4-6", speed="fast")[2]["usage"]["speed"] == "standard"


def test_a_priority_commitment_serves_until_it_is_used_up() -> None:
    limits = {"opus-5.5": PLENTY, "priority:opus-5.5": RateLimits(6000, 60, 60_000)}
    with live_simulator(config(burst_s=10.0, limits=limits)) as simulator:
        answers = [post(simulator) for _ in range(5)]
        tiers = [document["usage"]["service_tier"] for _, _, document in answers]
        assert (tiers[0], tiers[-1]) == ("priority", "standard")
        assert answers[0][1]["anthropic-priority-input-tokens-limit"] == "60"
        assert post(simulator, service_tier="standard_only")[2]["usage"]["service_tier"] == "standard"


@pytest.mark.parametrize(
    ("scope", "status", "code", "begin"),
    [
        ("usage_tier", 429, "enforced_spend_limit_reached", "You have reached your API usage limits: your organization has crossed"),
        ("contract", 429, "contract_spend_limit_reached", "You have reached your API usage limits: "),
        ("organization", 400, None, "You have reached your specified API usage limits"),
        ("workspace:blue", 400, None, "You have reached your specified workspace API usage limits"),
    ],
)
def test_spend_limits(scope: str, status: int, code: str | None, begin: str) -> None:
    with live_simulator(config(has_fixed_ids=True, spend_limits_usd={scope: 0.0001})) as simulator:
        assert post(simulator)[0] == 200
        found, headers, document = post(simulator)
        error = document["error"]
        assert found == status
        assert error["message"].startswith(begin)
        assert error["message"].endswith("You will regain access on 2026-12-01 at 00:00 UTC.")
        assert error.get("details", {}).get("error_code") == code
        assert "retry-after" not in headers
        assert "x-should-retry" not in headers
        assert post(simulator, "sk-b")[0] == (200 if scope.startswith("workspace") else status)
        assert stats(simulator)["spent_usd"]["acme"] > 0.0001


def test_spend_is_tokens_times_price() -> None:
    with live_simulator(config()) as simulator:
        usage = post(simulator)[2]["usage"]
        fast = post(simulator, speed="fast", inference_geo="us")[2]["usage"]
        spent = stats(simulator)["spent_usd"]["acme"]
    wanted = usage["input_tokens"] * 4 + usage["output_tokens"] * 20 + 2.2 * (fast["input_tokens"] * 4 + fast["output_tokens"] * 20)
    assert spent == pytest.approx(wanted / 1e6)


def test_a_sudden_growth_meets_the_ramp_limit() -> None:
    with live_simulator(config(ramp_growth=2.0, limits={"opus-5.5": RateLimits(6000, 60_000, 40_000)}, burst_s=60.0)) as simulator:
        assert post(simulator, system="x" * 20_000)[0] == 200
        status, headers, document = post(simulator, system="x" * 20_000)
        assert (status, headers["retry-after"], headers["x-should-retry"]) == (429, "10", "true")
        assert document["error"]["details"] == {"error_code": "ramp_limit_exceeded"}
        assert document["error"]["message"].startswith("The request would exceed a ramp limit, which caps how fast usage can grow.")
        assert used(simulator, "opus-5.5")["throttled_by"] == {"ramp": 1}


def test_every_documented_error_can_be_had_by_name() -> None:
    with live_simulator(config()) as simulator:
        for name in NAMES:
            exchange(simulator.url, "PUT", "/_sim/faults", [Fault("error", code=name, retry_after_s=7)])
            status, headers, document = post(simulator)
            error = document["error"]
            assert status >= 400
            assert name in (error["type"], error.get("details", {}).get("error_code"))
            assert ("retry-after" in headers) == (status == 429 and "spend" not in name), name
            assert document["request_id"] == headers["request-id"]
        assert exchange(simulator.url, "PUT", "/_sim/faults", [{"kind": "error"}])[0] == 400


@pytest.mark.parametrize(("category", "is_free"), [("cyber", True), (None, True), ("bio", False)])
def test_refusals_are_answers(category: Any, is_free: bool) -> None:
    with live_simulator(config(faults=(Fault("refusal", category=category),))) as simulator:
        status, _, document = post(simulator)
        assert (status, document["content"], document["stop_reason"]) == (200, [], "refusal")
        assert document["stop_details"]["category"] == category
        assert (stats(simulator)["spent_usd"].get("acme", 0) == 0) == is_free
        exchange(simulator.url, "PUT", "/_sim/faults", [Fault("refusal", after_events=2)])
        assert post(simulator)[2]["usage"]["output_tokens"] == 20


def test_compressed_requests_are_read() -> None:
    with live_simulator(config()) as simulator:
        packed = HEADERS | {"x-api-key": "sk-a"}
        plain = json.dumps(BODY).encode()
        for name, data, wanted, code in (
            ("gzip", gzip.compress(plain), 200, None),
            ("deflate", zlib.compress(plain), 200, None),
            ("identity", plain, 200, None),
            ("gzip", plain, 400, "request_body_encoding_invalid"),
            ("gzip", gzip.compress(plain)[:-9], 400, "request_body_encoding_invalid"),
            ("br", plain, 400, "request_body_encoding_unsupported"),
            ("gzip", gzip.compress(b" " * 33 * 1024 * 1024), 413, "request_body_too_large_after_decoding"),
        ):
            status, _, answer = exchange(simulator.url, "POST", "/v1/messages", data, packed | {"content-encoding": name})
            assert status == wanted, name
            assert json.loads(answer).get("error", {}).get("details", {}).get("error_code") == code
