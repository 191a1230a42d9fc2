"""The page for the person who looks into the pod."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from claudeops.catalogue.price import Tokens
from claudeops.exchange import Assignment, Flip, Lease, Rates
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.config import ConfigHolder, TokenFile
from claudeops.sidecar.credentials import Credentials
from claudeops.sidecar.exchange_client import ExchangeClient
from claudeops.sidecar.ledger import NO_MODEL
from claudeops.sidecar.report import ReportDesk
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.state import StatePage

MODEL, GROUP = "claude-sonnet-5-5", "sonnet-5.5"
CONFIG = ProxyConfig(
    revision=3,
    workload=WorkloadKey(namespace="support", name="bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    model=ModelChoice(name=MODEL, fallbacks=("claude-haiku-5-5",)),
)


def test_it_says_the_grant_the_buckets_the_breakers_the_pool_the_revision_and_what_was_used(tmp_path: pathlib.Path) -> None:
    runtime = Runtime(lambda: 100.0, wall_clock=lambda: 1.8e9)
    holder = ConfigHolder(lambda config: runtime.apply_config(config, 100.0))
    assert holder.offer(CONFIG, "file")
    rates, limits = (
        Rates(requests=5.0, input_tokens=600.0, output_tokens=70.0),
        Rates(requests=50.0, input_tokens=6_000.0, output_tokens=700.0),
    )
    lease = Lease(rates=rates, limits=limits, is_contended=True)
    assignment = Assignment(epoch=1, version=4, leases={GROUP: lease}, connections=7, flips=[Flip(model=MODEL, may_probe=True)])
    runtime.apply_assignment(assignment, sent_at=99.0, now=100.0)
    runtime.used_by(MODEL).standard.add(Tokens(input=1_000, output=50))
    runtime.used_by("claude-of-tomorrow").count_unknown(NO_MODEL)
    credentials = Credentials(runtime, key_path=str(tmp_path / "key"), identity_path=str(tmp_path / "token"))
    exchange = ExchangeClient(runtime, holder, desk=ReportDesk(runtime, "uid-1", 100.0), token=TokenFile(str(tmp_path / "token")))
    page = StatePage(runtime, holder, credentials=credentials, exchange=exchange)
    state: dict[str, Any] = json.loads(page.text(100.0, lambda: {"idle": 2, "busy": 1, "opening": 0}, {"tasks": 4}))
    assert (state["config"]["revision"], state["config"]["workload"], state["leaseState"]) == (3, "support/bot", "Fresh")
    assert state["pool"] == {"ceiling": 7, "idle": 2, "busy": 1, "opening": 0}
    group = state["groups"][GROUP]
    assert group["leasePerS"] == {"requests": 5.0, "inputTokens": 600.0, "outputTokens": 70.0}
    assert (group["limitPerS"]["requests"], group["isContended"], group["expiresInS"]) == (50.0, True, 14.0)
    assert set(group["buckets"]) == {"requests", "inputTokens", "outputTokens"}
    assert (state["models"][MODEL]["breaker"]["state"], state["models"][MODEL]["isFlipped"]) == ("Closed", True)
    assert state["assignment"] == {"connections": 7, "maxInFlight": None, "flips": {MODEL: {"mayProbe": True}}, "retryBudgetScale": 1.0}
    assert (state["used"][MODEL]["costUsd"], state["used"]["other"]["costUsd"]) == ("0.0025", None)
    assert state["used"]["other"]["answersOfUnknownCost"] == {"model": 1}
    assert state["process"] == {"tasks": 4, "stickySessions": 0, "prefixes": 0}
