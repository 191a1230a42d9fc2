"""What status says of a workload and of a quota."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claudeops.api import parse_workload
from claudeops.api.status import QuotaStatus, WorkloadStatus
from claudeops.fleet.quota_status import QuotaFacts, quota_status
from claudeops.fleet.views import BreakerView, GroupRates, GroupView, ObservedView, QuotaView, SloView, WorkloadView
from claudeops.fleet.workload_status import Problem, WorkloadFacts, workload_status

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
ITEM: dict[str, Any] = {
    "apiVersion": "claudeops.dev/v1alpha1",
    "kind": "ClaudeWorkload",
    "metadata": {"name": "bot", "namespace": "shop", "generation": 4},
    "spec": {
        "credentials": {"secretRef": {"name": "claude-key", "key": "api-key"}},
        "model": {"name": "claude-sonnet-4-6", "fallbacks": [{"model": "claude-haiku-5-5"}]},
        "scaling": {"targetRef": {"kind": "Deployment", "name": "bot"}, "max": 4},
    },
}
WORKLOAD = parse_workload(ITEM)
CALM = WorkloadView(
    connected=2,
    converged=2,
    grant=GroupRates(455.3, 1234.5, 99.0),
    observed=ObservedView(requests_per_minute=12.34, queue_wait_p95_s=0.123, latency_p95_s=4.2),
    active_model="claude-sonnet-4-6",
)
FACTS = WorkloadFacts(ITEM, WORKLOAD, CALM, revision=17, expected=2)


def status_of(facts: WorkloadFacts, now: datetime = NOW) -> dict[str, Any]:
    status = workload_status(facts, now)
    WorkloadStatus.model_validate_json(json.dumps(status))
    return status


def condition(facts: WorkloadFacts, kind: str) -> tuple[str, str, str]:
    found = next(entry for entry in status_of(facts)["conditions"] if entry["type"] == kind)
    return found["status"], found["reason"], found["message"]


def seen(**changes: Any) -> WorkloadFacts:
    return replace(FACTS, view=replace(CALM, **changes))


def test_a_settled_workload_is_ready_and_nothing_else_is_the_matter() -> None:
    status = status_of(FACTS)
    shown = {entry["type"]: entry["status"] for entry in status["conditions"]}
    assert shown == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Throttled": "False",
        "FallbackActive": "False",
        "QuotaSatisfied": "True",
        "CappedByQuota": "False",
        "SLOMet": "Unknown",
        "InjectionMissing": "False",
        "TelemetryStale": "False",
    }
    assert status["observedGeneration"] == 4 and all(entry["observedGeneration"] == 4 for entry in status["conditions"])
    assert status["proxies"] == {"expected": 2, "connected": 2, "converged": 2}
    assert status["grant"] == {"requestsPerMinute": 460, "inputTokensPerMinute": 1200, "outputTokensPerMinute": 99}
    assert status["observed"]["queueWaitP95"] == "120ms" and status["observed"]["requestsPerMinute"] == 12
    assert status["selector"] == "claudeops.dev/workload=bot" and status["revision"] == 17


def test_every_condition_is_there_from_the_first_sight_on() -> None:
    blank = WorkloadFacts(ITEM, None, WorkloadView(), Problem("InvalidSpec", "no", is_permanent=True))
    assert len(status_of(blank)["conditions"]) == 10


def test_a_missing_reference_may_come_but_an_invalid_spec_stalls() -> None:
    missing = replace(FACTS, problem=Problem("QuotaNotFound", "create it"))
    assert condition(missing, "Ready") == ("False", "QuotaNotFound", "create it")
    assert condition(missing, "Reconciling")[:2] == ("True", "QuotaNotFound")
    assert condition(missing, "Stalled")[0] == "False"
    invalid = replace(FACTS, problem=Problem("InvalidSpec", "mend it", is_permanent=True))
    assert condition(invalid, "Stalled")[:2] == ("True", "InvalidSpec")
    assert condition(invalid, "Reconciling")[0] == "False"


def test_ready_follows_the_proxies() -> None:
    assert condition(replace(seen(connected=0, converged=0), expected=0), "Ready")[:2] == ("True", "NoProxies")
    assert condition(seen(connected=0, converged=0), "Ready")[:2] == ("False", "Progressing")
    assert condition(seen(converged=1), "Ready")[:2] == ("False", "Progressing")
    assert condition(replace(FACTS, expected=5), "Ready")[:2] == ("True", "Converged")


def test_silence_after_a_restart_of_the_controller_is_no_news() -> None:
    silent = replace(seen(connected=0, converged=0), previous=status_of(FACTS))
    assert condition(silent, "Ready")[0] == "True"
    changed = replace(silent, item={**ITEM, "metadata": {**ITEM["metadata"], "generation": 5}})
    assert condition(changed, "Ready")[0] == "False"


def test_a_missing_key_names_the_secret_to_create() -> None:
    status, reason, message = condition(seen(keyless=1), "Ready")
    assert (status, reason) == ("False", "SecretNotFound")
    assert '"claude-key"' in message and '"api-key"' in message and "shop" in message


def test_throttling_never_makes_a_workload_unready() -> None:
    facts = seen(throttle_reason="RampLimited", is_quota_satisfied=False, short_reason="Contended", short_dimension="outputTokens")
    assert condition(facts, "Ready")[0] == "True"
    assert condition(facts, "Throttled")[:2] == ("True", "RampLimited")
    status, reason, message = condition(facts, "QuotaSatisfied")
    assert (status, reason) == ("False", "Contended") and "output tokens" in message


def test_a_key_of_another_organisation_is_said_though_it_is_granted_nothing() -> None:
    facts = seen(grant=None, is_quota_satisfied=False, short_reason="KeyOfOtherOrganization")
    assert condition(facts, "QuotaSatisfied")[:2] == ("False", "KeyOfOtherOrganization")
    assert condition(seen(grant=None), "QuotaSatisfied")[:2] == ("Unknown", "NoGrant")


def test_a_flip_shows_in_the_condition_and_in_what_is_effective() -> None:
    facts = seen(is_fallback=True, active_model="claude-haiku-5-5", flip_reason="ConsecutiveThrottles")
    status, reason, message = condition(facts, "FallbackActive")
    assert (status, reason) == ("True", "BreakerOpen") and "ConsecutiveThrottles" in message
    effective = status_of(facts)["effective"]
    assert (effective["model"], effective["tier"]) == ("claude-haiku-5-5", "Fallback")


@pytest.mark.parametrize(("met", "status"), [((True, True), "True"), ((True, None), "Unknown"), ((None, False), "False"), ((), "Unknown")])
def test_objectives_are_met_missed_or_unknown(met: tuple[bool | None, ...], status: str) -> None:
    facts = seen(slos=tuple(SloView(name, value, 97.13, 0.555) for name, value in zip(("TimeToFirstToken", "Latency"), met, strict=False)))
    assert condition(facts, "SLOMet")[0] == status


def test_pods_without_a_proxy_are_named_with_the_line_that_helps() -> None:
    status, _, message = condition(replace(FACTS, uninjected=tuple(f"bot-{number}" for number in range(7))), "InjectionMissing")
    assert status == "True"
    assert "bot-0, bot-1, bot-2, bot-3, bot-4 and 2 more" in message
    assert "kubectl -n shop rollout restart deployment/bot" in message


def test_silent_proxies_and_contended_replicas_are_named() -> None:
    assert "bot-1" in condition(replace(FACTS, stale=("bot-1",)), "TelemetryStale")[2]
    assert condition(replace(FACTS, rival="argocd"), "CappedByQuota")[:2] == ("Unknown", "ReplicasContended")
    assert condition(seen(is_capped_by_quota=True), "CappedByQuota")[0] == "True"


def test_notes_go_with_ready() -> None:
    message = condition(replace(FACTS, warnings=("x is not in the catalogue",), has_short_grace=True), "Ready")[2]
    assert "x is not in the catalogue" in message and "600 s" in message


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    first = status_of(FACTS)
    later = NOW + timedelta(hours=1)
    same = status_of(replace(FACTS, previous=first), later)
    assert same == first
    flipped = status_of(replace(seen(throttle_reason="RateLimited"), previous=first), later)
    times = {entry["type"]: entry["lastTransitionTime"] for entry in flipped["conditions"]}
    assert times["Throttled"] == "2026-11-22T19:00:00Z" and times["Ready"] == "2026-11-22T18:00:00Z"


def test_a_breaker_keeps_the_time_of_its_state() -> None:
    opened = seen(breakers=(BreakerView("claude-sonnet-4-6", "Open", "ErrorRate", 10.0, 2),))
    first = status_of(opened)
    assert first["breakers"][0]["since"] == "2026-11-22T17:59:50Z"
    again = status_of(replace(opened, previous=first), NOW + timedelta(seconds=3))
    assert again["breakers"] == first["breakers"]


GROUP = GroupView("sonnet-5.5", "requests", 600.0, None, 0.804, 590.4, 97.3, 0.0, None, 0.0, 2)


def quota(**changes: Any) -> dict[str, Any]:
    item = {"metadata": {"name": "prod", "generation": 2}}
    status = quota_status(QuotaFacts(**{"item": item, "view": QuotaView("org-1", (GROUP,)), **changes}), NOW)
    QuotaStatus.model_validate_json(json.dumps(status))
    return status


def test_a_quota_shows_its_limits_and_their_use() -> None:
    status = quota()
    assert status["organizationId"] == "org-1"
    group = {"declared": 600, "level": 80, "capacity": 590, "granted": 97, "used": 0, "throttledPerMinute": 0, "workloads": 2}
    assert status["groups"] == [{"group": "sonnet-5.5", "dimension": "Requests", **group}]


def test_two_quotas_of_one_organisation_say_so() -> None:
    found = next(entry for entry in quota(overlapping=("other",))["conditions"] if entry["type"] == "Overlaps")
    assert found["status"] == "True" and "other" in found["message"]


def test_an_organisation_once_seen_is_kept() -> None:
    assert quota(view=QuotaView(), previous={"organizationId": "org-1"})["organizationId"] == "org-1"
