"""The Message Batches API on a socket."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Account, Fault, Simulator, SimulatorConfig

HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2023-06-01"}
PARAMS: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
BATCHES = "/v1/messages/batches"
WAIT_S = 10.0


def ask(simulator: Simulator, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, data = exchange(simulator.url, method, path, body, sent)
    return status, json.loads(data)


def items(*members: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [{"custom_id": f"item-{number}", "params": PARAMS | changed} for number, changed in enumerate(members)]}


def create(simulator: Simulator, *members: dict[str, Any], **headers: str) -> dict[str, Any]:
    status, batch = ask(simulator, "POST", BATCHES, items(*members), **headers)
    assert status == 200, batch
    return dict(batch)


def ended(simulator: Simulator, batch_id: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        batch: dict[str, Any] = ask(simulator, "GET", f"{BATCHES}/{batch_id}")[1]
        if batch["processing_status"] == "ended":
            return batch
        time.sleep(0.01)
    raise AssertionError("the batch did not end in time")


def results(simulator: Simulator, batch_id: str) -> list[dict[str, Any]]:
    status, headers, data = exchange(simulator.url, "GET", f"{BATCHES}/{batch_id}/results", None, HEADERS)
    assert (status, headers["content-type"]) == (200, "application/x-jsonl")
    return [json.loads(line) for line in data.splitlines()]


def test_a_batch_is_processed_and_each_item_judged_by_itself(simulator: Simulator) -> None:
    wrong: list[dict[str, Any]] = [
        {"model": "claude-9"},
        {"temperature": 0.5},
        {"stream": True},
        {"max_tokens": 0},
        {"speed": "fast"},
        {"fallbacks": "default"},
    ]
    batch = create(simulator, {}, *wrong, {"messages": 5})
    assert batch["id"].startswith("msgbatch_")
    assert (batch["type"], batch["processing_status"], batch["results_url"], batch["ended_at"]) == (
        "message_batch",
        "in_progress",
        None,
        None,
    )
    assert batch["request_counts"] == {"processing": 8, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    done = ended(simulator, batch["id"])
    assert done["request_counts"] == {"processing": 0, "succeeded": 1, "errored": 7, "canceled": 0, "expired": 0}
    assert done["results_url"] == f"{simulator.url}{BATCHES}/{batch['id']}/results"
    found = {line["custom_id"]: line["result"] for line in results(simulator, batch["id"])}
    message = found["item-0"]["message"]
    assert (message["type"], message["usage"]["service_tier"]) == ("message", "batch")
    errors = [found[f"item-{number}"]["error"]["error"] for number in range(1, 8)]
    assert [error["type"] for error in errors] == ["not_found_error", *["invalid_request_error"] * 6]
    assert errors[1]["message"] == "`temperature` is deprecated for this model."
    assert errors[6]["message"] == "messages: Input should be a valid list"


def test_batches_take_nothing_of_the_message_limits(simulator: Simulator) -> None:
    ended(simulator, create(simulator, {}, {})["id"])
    groups = {group["group"]: group for group in json.loads(exchange(simulator.url, "GET", "/_sim/stats")[2])["groups"]}
    assert list(groups) == ["batches"]
    assert groups["batches"]["used"]["requests"] >= 2
    assert groups["batches"]["limits"]["rpm"] == 2000


def test_a_longer_output_is_for_those_who_ask_for_it(simulator: Simulator) -> None:
    for headers, counts in (({}, 1), ({"anthropic_beta": "output-300k-2026-03-24"}, 0)):
        done = ended(simulator, create(simulator, {"max_tokens": 300_000}, **headers)["id"])
        assert done["request_counts"]["errored"] == counts


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"requests": []}, "requests: List should have at least 1 item"),
        ({}, "requests: Field required"),
        ({"requests": [{"custom_id": "a"}]}, "requests.0.params: Field required"),
        ({"requests": [{"custom_id": "a b", "params": {}}]}, "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ({"requests": [{"custom_id": "a" * 65, "params": {}}]}, "requests.0.custom_id: String should match"),
        ({"requests": [{"custom_id": "a", "params": {}}] * 2}, "requests.1.custom_id: 'a' is not unique"),
        ({"requests": [{"custom_id": "a", "params": 5}]}, "requests.0.params: Input should be a valid dictionary"),
        (b"{", "The request body is not valid JSON"),
    ],
)
def test_a_batch_that_is_none_is_refused_at_once(simulator: Simulator, body: Any, message: str) -> None:
    status, document = ask(simulator, "POST", BATCHES, body)
    assert status == 400
    assert document["error"]["message"].startswith(message)


def test_a_canceled_batch_keeps_what_was_done() -> None:
    with live_simulator(SimulatorConfig(speed=50)) as simulator:
        batch = create(simulator, {}, {})
        assert ask(simulator, "DELETE", f"{BATCHES}/{batch['id']}")[0] == 400
        assert ask(simulator, "GET", f"{BATCHES}/{batch['id']}/results")[0] == 404
        canceling = ask(simulator, "POST", f"{BATCHES}/{batch['id']}/cancel")[1]
        assert (canceling["processing_status"], canceling["cancel_initiated_at"] is not None) == ("canceling", True)
        done = ended(simulator, batch["id"])
        assert done["request_counts"]["canceled"] == 2
        assert [line["result"] for line in results(simulator, batch["id"])] == [{"type": "canceled"}] * 2
        assert ask(simulator, "POST", f"{BATCHES}/{batch['id']}/cancel")[0] == 400
        assert ask(simulator, "DELETE", f"{BATCHES}/{batch['id']}") == (200, {"id": batch["id"], "type": "message_batch_deleted"})
        assert ask(simulator, "GET", f"{BATCHES}/{batch['id']}")[0] == 404


def test_a_batch_that_is_never_processed_expires() -> None:
    with live_simulator(SimulatorConfig(speed=1e6, faults=(Fault("stall"),))) as simulator:
        batch = create(simulator, {}, {})
        assert batch["expires_at"] > batch["created_at"]
        assert ended(simulator, batch["id"])["request_counts"]["expired"] == 2
        assert results(simulator, batch["id"])[1]["result"] == {"type": "expired"}


def test_batches_are_listed_newest_first_by_workspace() -> None:
    keys = {"sk-a": Account("acme", "blue"), "sk-b": Account("acme", "red")}
    with live_simulator(SimulatorConfig(speed=1e6, keys=keys)) as simulator:
        ids = [create(simulator, {}, x_api_key="sk-a")["id"] for _ in range(3)]
        status, page = ask(simulator, "GET", f"{BATCHES}?limit=2", x_api_key="sk-a")
        assert status == 200
        assert ([batch["id"] for batch in page["data"]], page["has_more"], page["last_id"]) == (ids[:0:-1], True, ids[1])
        rest = ask(simulator, "GET", f"{BATCHES}?after_id={ids[1]}", x_api_key="sk-a")[1]
        assert ([batch["id"] for batch in rest["data"]], rest["has_more"]) == (ids[:1], False)
        before = ask(simulator, "GET", f"{BATCHES}?before_id={ids[0]}&limit=1", x_api_key="sk-a")[1]
        assert [batch["id"] for batch in before["data"]] == [ids[1]]
        assert ask(simulator, "GET", BATCHES, x_api_key="sk-b")[1]["data"] == []
        assert ask(simulator, "GET", f"{BATCHES}/{ids[0]}", x_api_key="sk-b")[0] == 404
        assert ask(simulator, "GET", f"{BATCHES}?after_id=nobody", x_api_key="sk-a")[0] == 404


def test_thousands_of_items_are_answered_in_the_order_of_the_request(simulator: Simulator) -> None:
    batch = create(simulator, *[{}] * 2500)
    assert ended(simulator, batch["id"])["request_counts"]["succeeded"] == 2500
    assert [line["custom_id"] for line in results(simulator, batch["id"])] == [f"item-{number}" for number in range(2500)]


def test_a_batch_may_be_larger_than_a_message(simulator: Simulator) -> None:
    large = {"messages": [{"role": "user", "content": "x" * 33 * 1024 * 1024}]}
    assert ask(simulator, "POST", "/v1/messages", PARAMS | large)[0] == 413
    batch = create(simulator, large)
    assert ended(simulator, batch["id"])["request_counts"]["errored"] == 1
    assert results(simulator, batch["id"])[0]["result"]["error"]["error"]["message"].startswith("prompt is too long: ")


def test_the_same_seed_gives_the_same_results() -> None:
    lines = []
    for _ in range(2):
        with live_simulator(SimulatorConfig(speed=1e6, seed=5, has_fixed_ids=True)) as simulator:
            batch = create(simulator, {}, {"model": "claude-9"})
            assert create(simulator, {}, {"model": "claude-9"}) == batch
            lines.append((batch, ended(simulator, batch["id"])["created_at"], results(simulator, batch["id"])))
    assert lines[0] == lines[1]
