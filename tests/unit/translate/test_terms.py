"""What the fleet is told of workloads and quotas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api.objects import FULL, changed

from claudeops.api import parse_quota, parse_workload
from claudeops.catalogue import load_catalogue
from claudeops.proxyconfig import BreakerPolicy, Connections, Objective, Rates, WorkloadKey
from claudeops.translate import QuotaTerms, ScalingTerms, WorkloadTerms, quota_terms, workload_terms
from claudeops.translate.terms import DEFAULT_GROUP, baseline, capped_guarantee, limits_group, upstream_key


def workload(changes: dict[str, Any] | None = None) -> WorkloadTerms:
    return workload_terms(parse_workload(changed("ClaudeWorkload", changes or {})))


def quota(changes: dict[str, Any] | None = None) -> QuotaTerms:
    return quota_terms(parse_quota(changed("ClaudeQuota", changes or {})))


def test_the_smallest_workload_has_the_documented_defaults() -> None:
    assert workload() == WorkloadTerms(
        workload=WorkloadKey(namespace="default", name="support-bot"),
        quota="default",
        tiers=("claude-sonnet-5-5",),
        groups={"claude-sonnet-5-5": "sonnet-5.5"},
        weight=100,
        guaranteed=Rates(),
        maximum=Rates(),
        max_in_flight=None,
        connections=Connections(min=4, max=50),
        breaker=BreakerPolicy(),
        scaling=None,
        objectives=(),
    )


def test_a_full_workload_is_told_in_full() -> None:
    terms = workload_terms(parse_workload(FULL["ClaudeWorkload"]))
    assert (terms.model, terms.fallbacks) == ("claude-sonnet-5-5", ("claude-haiku-5-5", "claude-haiku-4-5"))
    assert terms.groups == {"claude-sonnet-5-5": "sonnet-5.5", "claude-haiku-5-5": "haiku-5.5", "claude-haiku-4-5": "haiku-4.5"}
    assert terms.guaranteed == Rates(requests_per_minute=60, input_tokens_per_minute=100_000, output_tokens_per_minute=20_000)
    assert terms.maximum == Rates(requests_per_minute=600)
    assert (terms.quota, terms.weight, terms.max_in_flight) == ("prod", 200, 256)
    assert terms.connections == Connections(min=2, max=20, protocol="HTTP2")
    assert terms.breaker == BreakerPolicy(
        consecutive_throttles=4, error_percent=40, minimum_requests=10, window_s=20, open_for_s=15, probe_max_tokens=20
    )
    assert terms.scaling == ScalingTerms(
        mode="Adaptive",
        target_kind="Deployment",
        target_name="support-bot",
        min=1,
        max=10,
        replicas=3,
        target_in_flight_per_replica=8,
    )
    assert terms.objectives == (
        Objective(indicator="TimeToFirstToken", threshold_s=1, objective_percent=95),
        Objective(indicator="Latency", threshold_s=5, objective_percent=99.5),
    )


def test_a_tier_presets_every_group_of_the_catalogue() -> None:
    terms = quota()
    assert terms.limits["sonnet-5.5"] == Rates(
        requests_per_minute=5000, input_tokens_per_minute=5_000_000, output_tokens_per_minute=1_000_000
    )
    assert terms.limits.keys() == load_catalogue().groups.keys()
    assert (terms.name, terms.max_guaranteed_percent, terms.reserve_percent, terms.is_learning_from_headers) == ("prod", 25, 0, True)
    assert terms.organization_id is None


def test_an_override_replaces_only_the_dimensions_that_it_names() -> None:
    limits = quota({"spec.limits": [{"group": "sonnet-5.5", "requestsPerMinute": 7}]}).limits
    assert limits["sonnet-5.5"] == Rates(requests_per_minute=7, input_tokens_per_minute=5_000_000, output_tokens_per_minute=1_000_000)
    assert limits["haiku-5.5"].requests_per_minute == 5000


@pytest.mark.parametrize("tier", ["Custom", "Evaluation"])
def test_a_tier_without_preset_has_only_what_is_written(tier: str) -> None:
    limits = quota({"spec.tier": tier, "spec.limits": [{"group": "sonnet-5.5", "requestsPerMinute": 50}]}).limits
    assert limits == {"sonnet-5.5": Rates(requests_per_minute=50)}


def test_a_full_quota_is_told_in_full() -> None:
    terms = quota_terms(parse_quota(FULL["ClaudeQuota"]))
    assert terms.upstream == "http://simulator.claude-simulator.svc:8080"
    assert (terms.max_guaranteed_percent, terms.reserve_percent, terms.is_learning_from_headers) == (40, 10, False)
    assert terms.organization_id == "5f0c7c1e-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("left", "right", "is_same"),
    [
        ("https://api.anthropic.com", "https://API.anthropic.com/", True),
        ("https://api.anthropic.com:443", "https://api.anthropic.com", True),
        ("http://localhost:80/a/", "http://localhost/a", True),
        ("https://api.anthropic.com:8443", "https://api.anthropic.com", False),
        ("http://localhost/A", "http://localhost/a", False),
        ("http://localhost:443", "http://localhost", False),
        ("https://localhost", "http://localhost", False),
    ],
)
def test_one_api_has_one_key(left: str, right: str, is_same: bool) -> None:
    assert (upstream_key(left) == upstream_key(right)) is is_same


@pytest.mark.parametrize(
    ("model", "group"), [("claude-haiku-4-5", "haiku-4.5"), ("claude-haiku-4-5-20251001", "haiku-4.5"), ("claude-new-9", DEFAULT_GROUP)]
)
def test_a_model_draws_on_its_group_whatever_it_is_called(model: str, group: str) -> None:
    assert limits_group(model, load_catalogue()) == group


def test_a_guarantee_counts_up_to_the_quota_s_share() -> None:
    terms = workload({"spec.limits.guaranteed": {"requestsPerMinute": 2000, "inputTokensPerMinute": 1000}})
    assert capped_guarantee(terms, quota(), "sonnet-5.5") == Rates(requests_per_minute=1250, input_tokens_per_minute=1000)
    assert capped_guarantee(terms, quota({"spec.maxGuaranteedPercent": 0}), "sonnet-5.5") == Rates(
        requests_per_minute=0, input_tokens_per_minute=0
    )
    assert capped_guarantee(terms, quota(), "unknown") == terms.guaranteed


def test_a_baseline_is_the_guarantee_over_the_most_replicas() -> None:
    scaling = {"targetRef": {"kind": "Deployment", "name": "bot"}, "max": 10}
    guaranteed = {"requestsPerMinute": 1000, "inputTokensPerMinute": 50_000, "outputTokensPerMinute": 5_000}
    terms = workload({"spec.limits.guaranteed": guaranteed, "spec.scaling": scaling})
    assert baseline(terms, quota(), "sonnet-5.5") == Rates(
        requests_per_minute=100, input_tokens_per_minute=5_000, output_tokens_per_minute=500
    )


def test_a_baseline_without_guarantee_is_half_a_request_a_second() -> None:
    assert baseline(workload(), quota(), "sonnet-5.5") == Rates(requests_per_minute=30)


@given(guaranteed=st.integers(1, 10**7), limit=st.integers(1, 10**7), percent=st.integers(0, 100), replicas=st.integers(1, 1000))
@settings(max_examples=60)
def test_baselines_of_all_replicas_stay_within_the_cap(guaranteed: int, limit: int, percent: int, replicas: int) -> None:
    scaling = ScalingTerms("Adaptive", "Deployment", "bot", 1, replicas, 1, 16)
    terms = WorkloadTerms(
        workload=WorkloadKey(namespace="a", name="b"),
        quota="q",
        tiers=("claude-sonnet-5-5",),
        groups={"claude-sonnet-5-5": "g"},
        weight=1,
        guaranteed=Rates(requests_per_minute=guaranteed, output_tokens_per_minute=guaranteed),
        maximum=Rates(),
        max_in_flight=None,
        connections=Connections(),
        breaker=BreakerPolicy(),
        scaling=scaling,
        objectives=(),
    )
    limits = {"g": Rates(requests_per_minute=limit, output_tokens_per_minute=limit)}
    share = baseline(terms, QuotaTerms(name="q", upstream="u", limits=limits, max_guaranteed_percent=percent), "g")
    assert share.requests_per_minute is not None and share.output_tokens_per_minute is not None
    assert share.requests_per_minute >= 30
    assert share.output_tokens_per_minute * replicas <= min(guaranteed, limit * percent / 100) * (1 + 1e-9)
    assert share.requests_per_minute * replicas <= max(30 * replicas, limit * percent / 100 * (1 + 1e-9))
