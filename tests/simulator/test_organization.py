"""The Admin API's limits and the list of models, in the shapes of both API versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Account, Simulator, SimulatorConfig

OLD, NEW = "2023-06-01", "2026-10-21"
BLUE = Account("acme", "blue")
RATES = "/v1/organizations/rate_limits"
OWN = f"/v1/organizations/workspaces/{BLUE.workspace_id}/rate_limits"


@pytest.fixture
def acme() -> Iterator[Simulator]:
    keys = {"sk-a": BLUE, "sk-d": Account("acme"), "sk-z": Account("other", "blue")}
    options: dict[str, Any] = {"spend_limits_usd": {"usage_tier": 1000, "workspace:blue": 12.5}, "admin_keys": {"sk-ant-admin-1": "acme"}}
    with live_simulator(SimulatorConfig(speed=1e6, keys=keys, **options)) as running:
        yield running


def ask(
    simulator: Simulator, path: str, body: Any = None, *, version: str = NEW, key: str = "sk-ant-admin-1"
) -> tuple[int, dict[str, str], Any]:
    headers = {"x-api-key": key, "anthropic-version": version}
    status, answered, data = exchange(simulator.url, "GET" if body is None else "POST", path, body, headers)
    return status, answered, json.loads(data)


def values(entry: dict[str, Any]) -> dict[str, int]:
    return {limit["type"]: limit["value"] for limit in entry["limits"]}


def test_rate_limits_of_the_newest_version(acme: Simulator) -> None:
    status, headers, document = ask(acme, f"{RATES}?model=claude-opus-4-5")
    assert (status, document["next_page"], "anthropic-workspace-id" in headers) == (200, None, False)
    assert headers["anthropic-organization-id"] == BLUE.organization_id
    [entry] = document["data"]
    assert entry["type"] == "rate_limit"
    assert entry["group"]["type"] == "model_group"
    assert entry["group"]["id"].startswith("rlg_")
    assert entry["group"]["display_name"] == "Claude Opus 4.x"
    assert {"claude-opus-4-5", "claude-opus-4-5-20251101", "claude-opus-4-8"} <= set(entry["models"])
    assert values(entry) == {
        "requests_per_minute": 5000,
        "input_tokens_per_minute_cache_aware": 5_000_000,
        "output_tokens_per_minute": 1_000_000,
        "fast_itpmca": 1_000_000,
        "fast_otpm": 200_000,
    }


def test_rate_limits_of_the_older_version_are_flat(acme: Simulator) -> None:
    entries = ask(acme, RATES, version=OLD)[2]["data"]
    assert {entry["group_type"] for entry in entries} == {"model_group", "batch", "token_count", "files"}
    assert not any("group" in entry or "id" in entry for entry in entries)


def test_pools_that_are_not_of_models(acme: Simulator) -> None:
    [batch] = ask(acme, f"{RATES}?group_type=batch")[2]["data"]
    assert (batch["models"], values(batch)) == (None, {"requests_per_minute": 2000, "enqueued_batch_requests": 300_000})
    [files] = ask(acme, f"{RATES}?group_type=files")[2]["data"]
    assert values(files) == {"requests_per_minute": 500}
    assert ask(acme, f"{RATES}?group_type=web_search")[2]["data"] == []


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        (f"{RATES}?model=claude-9", "sk-ant-admin-1", 404),
        (f"{RATES}?group_type=moon", "sk-ant-admin-1", 400),
        (f"{RATES}?limit=0", "sk-ant-admin-1", 400),
        (RATES, "sk-a", 401),
        ("/v1/models", "sk-ant-admin-1", 401),
        ("/v1/organizations/workspaces/wrkspc_x/rate_limits", "sk-ant-admin-1", 404),
        (f"/v1/organizations/workspaces/{Account('other', 'blue').workspace_id}/rate_limits", "sk-ant-admin-1", 404),
        ("/v1/organizations/nothing", "sk-ant-admin-1", 404),
    ],
)
def test_what_the_admin_api_refuses(acme: Simulator, path: str, key: str, status: int) -> None:
    assert ask(acme, path, key=key)[0] == status


def test_rate_limits_are_paged_when_it_is_asked_for(acme: Simulator) -> None:
    whole = ask(acme, RATES)[2]["data"]
    first = ask(acme, f"{RATES}?limit=10")[2]
    rest = ask(acme, f"{RATES}?limit=10&page={first['next_page']}")[2]
    assert first["data"] + rest["data"] == whole
    assert rest["next_page"] is None


def test_a_workspaces_limits_are_set_held_shown_and_cleared(acme: Simulator) -> None:
    body = {"model": "claude-opus-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    limit_id = ask(acme, f"{RATES}?model=claude-opus-5-5")[2]["data"][0]["id"]
    assert ask(acme, OWN)[2]["data"] == []
    change = {"limits": [{"type": "requests_per_minute", "value": 12}, {"type": "fast_otpm", "value": 5}]}
    status, _, entry = ask(acme, f"{OWN}/{limit_id}", change)
    assert (status, entry["type"], entry["rate_limit_id"], entry["workspace_id"]) == (
        200,
        "workspace_rate_limit",
        limit_id,
        BLUE.workspace_id,
    )
    assert entry["limits"][0] == {"type": "requests_per_minute", "value": 12, "org_limit": 5000, "source": {"type": "workspace"}}
    codes = [ask(acme, "/v1/messages", body, key="sk-a")[0] for _ in range(3)]
    assert codes == [200, 429, 429]
    [inherited] = [e for e in ask(acme, f"{OWN}?include_inherited=true")[2]["data"] if e["rate_limit_id"] == limit_id]
    assert {limit["source"]["type"] for limit in inherited["limits"]} == {"workspace", "organization"}
    assert ask(acme, f"{OWN}/{limit_id}", {"limits": [{"type": "requests_per_minute", "value": None}]})[0] == 200
    assert ask(acme, "/v1/messages", body, key="sk-a")[0] == 200


def test_wrong_changes_are_refused(acme: Simulator) -> None:
    limit_id = ask(acme, f"{RATES}?model=claude-opus-5-5")[2]["data"][0]["id"]
    change = {"limits": [{"type": "requests_per_minute", "value": 12}]}
    default = f"/v1/organizations/workspaces/{Account('acme').workspace_id}/rate_limits/{limit_id}"
    assert ask(acme, default, change)[0] == 400
    assert ask(acme, f"{OWN}/{limit_id}", {"limits": [{"type": "moons", "value": 1}]})[0] == 400
    assert ask(acme, f"{OWN}/{limit_id}", {"limits": 5})[0] == 400
    assert ask(acme, f"{OWN}/rl_x", change)[0] == 404
    assert ask(acme, f"{OWN}/{limit_id}", change, version=OLD)[0] == 404


def test_spend_limits_are_cents_as_text(acme: Simulator) -> None:
    tier, workspace = ask(acme, "/v1/organizations/spend_limits")[2]["data"]
    assert (tier["scope"], tier["amount"], tier["period"]) == ({"type": "usage_tier"}, "100000", "monthly")
    assert workspace["scope"] == {"type": "workspace", "workspace_id": BLUE.workspace_id}
    assert (workspace["amount"], workspace["id"][:4]) == ("1250", "spl_")


def test_effective_spend_limits_say_what_was_spent(acme: Simulator) -> None:
    body = {"model": "claude-opus-5-5", "max_tokens": 500, "messages": [{"role": "user", "content": "x" * 40_000}]}
    usage = ask(acme, "/v1/messages", body, key="sk-a")[2]["usage"]
    tier, workspace = ask(acme, "/v1/organizations/spend_limits/effective")[2]["data"]
    cents = (usage["input_tokens"] * 4 + usage["output_tokens"] * 20) / 10_000
    assert float(tier["period_to_date_spend"]) == pytest.approx(cents, abs=0.001)
    assert workspace["period_to_date_spend"] == tier["period_to_date_spend"]
    assert (workspace["amount"], workspace["source"]["type"]) == ("1250", "workspace")


def test_the_organisation_describes_itself(acme: Simulator) -> None:
    assert ask(acme, "/v1/organizations/me")[2] == {"type": "organization", "id": BLUE.organization_id, "name": "acme"}


def test_models_are_listed_in_full_newest_first_both_ways(simulator: Simulator) -> None:
    key = "sk-ant-sim-test"
    whole = ask(simulator, "/v1/models?limit=1000", key=key)[2]
    ids = [model["id"] for model in whole["data"]]
    assert (len(ids), whole["has_more"], whole["first_id"], whole["last_id"]) == (19, False, ids[0], ids[-1])
    assert ids[0].endswith("-5-2")
    page = ask(simulator, f"/v1/models?limit=3&after_id={ids[3]}", key=key)[2]
    assert ([model["id"] for model in page["data"]], page["has_more"]) == (ids[4:7], True)
    page = ask(simulator, f"/v1/models?limit=3&before_id={ids[4]}", key=key)[2]
    assert ([model["id"] for model in page["data"]], page["has_more"]) == (ids[1:4], True)
    assert ask(simulator, "/v1/models?after_id=x", key=key)[0] == 404
    assert ask(simulator, f"/v1/models?after_id={ids[0]}&before_id={ids[1]}", key=key)[0] == 400
    assert ask(simulator, "/v1/models?lifecycle=gone", key=key)[0] == 400
    old = [model["id"] for model in ask(simulator, "/v1/models?lifecycle=deprecated", key=key)[2]["data"]]
    assert old == ["claude-sonnet-4-5-20250929", "claude-mythos-preview"]


def test_a_model_retires_on_its_day() -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    for day, status, lifecycle in ((date(2026, 11, 29), 200, "deprecated"), (date(2026, 11, 30), 404, "retired")):
        with live_simulator(SimulatorConfig(speed=1e6, today=day)) as simulator:
            assert ask(simulator, "/v1/messages", body, key="sk-ant-sim-test")[0] == status
            listed = ask(simulator, f"/v1/models?lifecycle={lifecycle}", key="sk-ant-sim-test")[2]["data"]
            assert "claude-sonnet-4-5-20250929" in [model["id"] for model in listed]


def test_a_model_in_full(simulator: Simulator) -> None:
    model = ask(simulator, "/v1/models/claude-sonnet-5-5", key="sk-ant-sim-test")[2]
    capabilities = model.pop("capabilities")
    assert model == {
        "type": "model",
        "id": "claude-sonnet-5-5",
        "display_name": "Claude Sonnet 5.5",
        "line": "sonnet",
        "lifecycle": "active",
        "created_at": "2026-09-28T00:00:00Z",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    }
    types = {kind: entry["supported"] for kind, entry in capabilities["thinking"]["types"].items()}
    assert types == {"adaptive": True, "between_tools": True, "disabled": False, "enabled": False}
    assert set(capabilities) == {
        *("batch", "citations", "code_execution", "context_management", "effort", "image_input", "pdf_input"),
        *("server_tools", "structured_outputs", "thinking"),
    }
