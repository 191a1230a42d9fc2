"""The simulated API on a socket: what is refused, what every answer carries, and how HTTP is spoken."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Account, Simulator, SimulatorConfig

HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2023-06-01"}
BODY: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


def post(simulator: Simulator, body: Any = BODY, **headers: str) -> tuple[int, dict[str, str], Any]:
    sent = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    status, answered, data = exchange(simulator.url, "POST", "/v1/messages", body, {name: value for name, value in sent.items() if value})
    return status, answered, json.loads(data)


def test_every_answer_names_request_organisation_and_workspace(simulator: Simulator) -> None:
    for body in (BODY, {**BODY, "temperature": 1}, {**BODY, "model": "gpt"}):
        _, headers, document = post(simulator, body)
        assert headers["request-id"].startswith("req_")
        assert headers["anthropic-organization-id"] == Account().organization_id
        assert headers["anthropic-workspace-id"] == Account().workspace_id
        assert document.get("request_id", headers["request-id"]) == headers["request-id"]


@pytest.mark.parametrize(
    ("headers", "status", "kind", "message"),
    [
        ({"x_api_key": ""}, 401, "authentication_error", "x-api-key header is required"),
        ({"x_api_key": "sk-ant-other"}, 401, "authentication_error", "invalid x-api-key"),
        ({"x_api_key": "", "authorization": "Basic sk-ant-sim-1"}, 401, "authentication_error", "x-api-key header is required"),
        ({"x_api_key": "wrong", "authorization": "Bearer sk-ant-sim-1"}, 401, "authentication_error", "invalid x-api-key"),
        ({"anthropic_version": ""}, 400, "invalid_request_error", "anthropic-version: header is required"),
        ({"anthropic_version": "2024-01-01"}, 400, "invalid_request_error", 'anthropic-version: "2024-01-01" is not a valid version'),
    ],
)
def test_refused_headers(simulator: Simulator, headers: dict[str, str], status: int, kind: str, message: str) -> None:
    answered, lines, document = post(simulator, **headers)
    assert (answered, document["type"], document["error"]) == (status, "error", {"type": kind, "message": message})
    assert ("anthropic-workspace-id" in lines) == (status != 401)


@pytest.mark.parametrize("headers", [{}, {"x_api_key": "", "authorization": "Bearer sk-ant-sim-1"}, {"authorization": "Bearer wrong"}])
def test_accepted_credentials(simulator: Simulator, headers: dict[str, str]) -> None:
    assert post(simulator, **headers)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/messages", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/complete", 404),
        ("GET", "/", 404),
        ("GET", "/v1/models/claude-9", 404),
        ("GET", "/v1/models?limit=0", 400),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/claude-haiku-4-5", 200),
        ("GET", "/api/hello", 200),
        ("HEAD", "/api/hello", 200),
        ("POST", "/v1/messages?beta=true", 200),
    ],
)
def test_paths_and_methods(simulator: Simulator, method: str, path: str, status: int) -> None:
    found, _, data = exchange(simulator.url, method, path, BODY if method == "POST" else None, HEADERS)
    assert found == status
    if found >= 400:
        assert json.loads(data)["type"] == "error"


def test_models_know_their_capabilities(simulator: Simulator) -> None:
    document = json.loads(exchange(simulator.url, "GET", "/v1/models/claude-sonnet-4-5", None, HEADERS)[2])
    assert document["id"] == "claude-sonnet-4-5-20250929"
    assert document["lifecycle"] == "deprecated"
    assert document["capabilities"]["effort"]["supported"] is False


def test_a_body_over_the_limit_is_a_413() -> None:
    with live_simulator(SimulatorConfig(speed=1000, max_body_bytes=10_000)) as small:
        status, _, document = post(small, {**BODY, "system": "x" * 10_000})
        assert (status, document["error"]["type"]) == (413, "request_too_large")
        assert post(small)[0] == 200


def test_a_prompt_beyond_the_context_is_too_long(simulator: Simulator) -> None:
    status, _, document = post(simulator, {**BODY, "model": "claude-haiku-4-5", "system": "x" * 850_000})
    assert status == 400
    assert document["error"]["message"].startswith("prompt is too long: ")
    assert document["error"]["message"].endswith(" tokens > 200000 maximum")


def test_an_answer_that_fills_the_context_says_so() -> None:
    with live_simulator(SimulatorConfig(speed=1e6, output_median_tokens=50_000, output_sigma=0.01)) as wordy:
        _, _, document = post(wordy, {**BODY, "model": "claude-haiku-4-5", "max_tokens": 64_000, "system": "x" * 780_000})
    assert document["stop_reason"] == "model_context_window_exceeded"
    assert document["usage"]["input_tokens"] + document["usage"]["output_tokens"] == 200_000


def test_the_cache_is_the_workspaces(simulator: Simulator) -> None:
    keys = {"sk-a": Account("acme", "blue"), "sk-b": Account("acme", "blue"), "sk-c": Account("acme", "red")}
    system = [{"type": "text", "text": "rules " * 1000, "cache_control": {"type": "ephemeral"}}]
    with live_simulator(SimulatorConfig(speed=1000, keys=keys)) as shared:
        read = [post(shared, {**BODY, "system": system}, x_api_key=key)[2]["usage"]["cache_read_input_tokens"] for key in keys]
    assert read[0] == read[2] == 0
    assert read[1] > 1000


def test_requests_on_one_connection_are_answered_in_order(simulator: Simulator) -> None:
    def request(length: int) -> bytes:
        body = json.dumps({**BODY, "max_tokens": length}).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as sock:
        sock.sendall(request(3) + request(1) + request(2).replace(b"host: x", b"host: x\r\nconnection: close"))
        data = b"".join(iter(lambda: sock.recv(65_536), b""))
    bodies = [json.loads("{" + part.split("\r\n\r\n{", 1)[1]) for part in data.decode().split("HTTP/1.1 200 OK")[1:]]
    assert [body["usage"]["output_tokens"] for body in bodies] == [3, 1, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_compressed_answers_are_those_that_are_not(stream: bool) -> None:
    answers = []
    for compresses in (True, False):
        with live_simulator(SimulatorConfig(speed=1e6, has_fixed_ids=True, compresses=compresses)) as packing:
            for accepted in ("gzip, deflate", "identity"):
                headers = HEADERS | {"accept-encoding": accepted}
                _, lines, data = exchange(packing.url, "POST", "/v1/messages", BODY | {"stream": stream}, headers)
                is_packed = lines.get("content-encoding") == "gzip"
                assert is_packed == (compresses and accepted != "identity")
                answers.append(gzip.decompress(data) if is_packed else data)
    assert len(set(answers)) == 1


def test_a_url_may_come_in_pieces(simulator: Simulator) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as sock:
        sock.sendall(b"GET /v1/models?li")
        exchange(simulator.url, "GET", "/_sim/healthz")
        sock.sendall(b"mit=2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: sk-ant-sim-1\r\nanthropic-version: 2026-10-21\r\n\r\n")
        data = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert len(json.loads(data.partition(b"\r\n\r\n")[2])["data"]) == 2


def test_malformed_http_is_a_400_and_closes(simulator: Simulator) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as sock:
        sock.sendall(b"this is not http\r\n\r\n")
        data = b"".join(iter(lambda: sock.recv(4096), b""))
    assert data.startswith(b"HTTP/1.1 400 ")


def test_the_request_log_never_holds_a_key(simulator: Simulator) -> None:
    secret = "sk-ant-sim-very-secret-0123"
    post(simulator, {**BODY, "temperature": 0.7, "top_k": 3}, x_api_key=secret, user_agent="app/1")
    post(simulator, {**BODY, "metadata": {"user_id": "u"}}, x_api_key="", authorization=f"Bearer {secret}")
    for path in ("requests", "stats", "faults", "limits"):
        data = exchange(simulator.url, "GET", f"/_sim/{path}")[2]
        assert b"secret" not in data
    newest, older = json.loads(exchange(simulator.url, "GET", "/_sim/requests")[2])
    assert newest["key"] == older["key"] == "0123"
    assert (older["sampling"], older["code"], older["user_agent"]) == ({"temperature": 0.7, "top_k": 3}, 400, "app/1")
    assert older["error"] == "`temperature` is deprecated for this model."
    assert (newest["sampling"], newest["code"], newest["error"]) == ({}, 200, None)


def test_the_request_log_can_be_filtered(simulator: Simulator) -> None:
    for model in ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-5-5"):
        post(simulator, {**BODY, "model": model}, x_api_key=f"sk-ant-sim-{model[7:12]}")

    def logged(query: str) -> int:
        return len(json.loads(exchange(simulator.url, "GET", f"/_sim/requests?{query}")[2]))

    assert [logged(query) for query in ("", "limit=2", "model=claude-haiku-5-5", "key=aiku", "key=onne", "limit=0")] == [3, 2, 2, 2, 1, 0]


def test_large_logs_keep_the_newest(simulator: Simulator) -> None:
    for _ in range(205):
        post(simulator, {**BODY, "temperature": 1})
    entries = json.loads(exchange(simulator.url, "GET", "/_sim/requests")[2])
    assert len(entries) == 200
    assert entries[0]["at"] >= entries[-1]["at"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "healthz", None, 200),
        ("GET", "nothing", None, 404),
        ("POST", "stats", None, 404),
        ("GET", "stats?seconds=x", None, 400),
        ("PUT", "faults", [{"kind": "explode"}], 400),
        ("PUT", "faults", [{"kind": "reset", "model": "gpt"}], 400),
        ("PUT", "faults", b"{", 400),
        ("PUT", "faults", [], 200),
        ("DELETE", "faults", None, 200),
        ("PUT", "limits", {"burst": 1}, 400),
        ("PUT", "limits", {"limits": {"gpt": {"rpm": 1, "itpm": 1, "otpm": 1}}}, 400),
        ("PUT", "limits", {"tier": "Gold"}, 400),
        ("PUT", "limits", {"burst_s": 0}, 400),
        ("PUT", "limits", {"burst_s": 2}, 200),
        ("GET", "limits", None, 200),
        ("POST", "reset", None, 200),
    ],
)
def test_the_control_paths(simulator: Simulator, method: str, path: str, body: Any, status: int) -> None:
    found, _, data = exchange(simulator.url, method, f"/_sim/{path}", body)
    assert found == status
    assert ("error" in json.loads(data)) == (status >= 400)


def test_the_same_seed_gives_the_same_answers() -> None:
    answers = []
    for _ in range(2):
        with live_simulator(SimulatorConfig(speed=1e6, seed=11)) as seeded:
            answers.append([post(seeded)[2] for _ in range(3)])
    assert answers[0] == answers[1]
