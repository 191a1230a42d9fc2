"""The API away altogether: what applications see meanwhile, what status says, and that nobody has to help when it is back."""

from typing import Any

import pytest
from tests.cluster.stage import Stage

pytestmark = pytest.mark.cluster

MODEL = "claude-sonnet-4-6"
SHAPES = {(502, "upstream"): "api_error", (504, "upstream"): "timeout_error", (529, "breaker_open"): "overloaded_error"}
"""(status, reason) → the type in the API's error shape."""


def test_with_the_upstream_down_errors_have_the_apis_shape_and_all_comes_back_by_itself(stage: Stage) -> None:
    with stage.traffic("bot") as traffic:
        traffic.load(5)
        stage.wait_served(traffic, 5)
        traffic.tell("/forget")
        with stage.absent("simulator"):
            stage.cluster.wait_for(lambda: traffic.outcomes().get("529 breaker_open", 0) >= 10, what="an open breaker")
            said = stage.cluster.wait_for(lambda: _breaker(stage, "Open"), what="the open breaker in status")
            assert (said["model"], said["openProxies"]) == (MODEL, 1)
            refusals = traffic.counts()["refusals"]
            assert stage.tenant.condition("Ready", "bot")["status"] == "True"
        for refusal in refusals:
            key = (refusal["status"], refusal["reason"])
            assert key in SHAPES, refusal
            assert refusal["body"]["type"] == "error"
            assert refusal["body"]["error"]["type"] == SHAPES[key]
            assert refusal["body"]["error"]["message"] and refusal["body"]["request_id"]
            if refusal["status"] == 529:
                assert 1 <= int(refusal["retryAfter"]) <= 60
        assert {refusal["status"] for refusal in refusals} >= {502, 529}
        stage.cluster.wait_for(lambda: _breaker(stage, "Closed"), 30, what="the closed breaker in status")
        traffic.tell("/forget")
        stage.wait_served(traffic, 10)
        assert traffic.failures() == {}


def _breaker(stage: Stage, state: str) -> dict[str, Any] | None:
    found = stage.tenant.status("bot").get("breakers", [])
    return next((entry for entry in found if entry["state"] == state), None) or (
        {"state": state} if state == "Closed" and not found else None
    )
