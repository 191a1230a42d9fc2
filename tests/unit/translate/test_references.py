"""What a workload refers to, held against what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api.objects import SMALLEST, changed
from tests.unit.table import every

from claudeops.api import ClaudeQuota, ClaudeWorkload, LabelSelector, parse_profile, parse_quota, parse_workload
from claudeops.translate import Finding, References, check_quota, check_references
from claudeops.translate.references import is_quota_allowed, selects


def workload(changes: dict[str, Any] | None = None) -> ClaudeWorkload:
    return parse_workload(changed("ClaudeWorkload", changes or {}))


def quota(changes: dict[str, Any] | None = None) -> ClaudeQuota:
    return parse_quota(changed("ClaudeQuota", {"metadata.name": "default", **(changes or {})}))


def selector(**fields: Any) -> LabelSelector:
    found = quota({"spec.allowedNamespaces": fields}).spec.allowed_namespaces
    assert found is not None
    return found


def reasons(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.reason for finding in findings]


def test_a_workload_whose_references_are_there_has_no_finding() -> None:
    profile = parse_profile(SMALLEST["SamplingProfile"])
    found = check_references(
        workload({"spec.sampling": {"profileRef": {"name": "maths"}}}),
        References(quota=quota(), profile=profile, namespace_labels={}, is_secret_found=True),
    )
    assert found == ()


def test_what_is_missing_is_named_and_blocks() -> None:
    body = {"spec.sampling": {"profileRef": {"name": "maths"}}, "spec.quotaRef": {"name": "prod"}}
    found = check_references(workload(body), References(quota=None, is_secret_found=False))
    assert reasons(found) == ["QuotaNotFound", "ProfileNotFound", "SecretNotFound"]
    assert all(finding.is_blocking for finding in found)
    assert [finding.message for finding in found] == [
        "ClaudeQuota prod does not exist: create it, or write another spec.quotaRef.name",
        "SamplingProfile maths does not exist: create it, or write another spec.sampling.profileRef.name",
        "Secret default/claude-key with the key api-key does not exist: create it, or write another spec.credentials.secretRef",
    ]


def test_a_secret_of_which_nobody_can_tell_is_no_finding() -> None:
    assert check_references(workload(), References(quota=quota(), is_secret_found=None)) == ()


def test_a_namespace_that_the_quota_does_not_allow_is_told_so() -> None:
    found = check_references(workload(), References(quota=quota({"spec.allowedNamespaces": {"matchLabels": {"claude": "yes"}}})))
    assert reasons(found) == ["QuotaNotAllowed"]
    assert "does not allow namespace default" in found[0].message


@pytest.mark.parametrize(("name", "is_allowed"), [("default", True), ("prod", False)])
def test_without_a_selector_only_the_quota_named_default_is_everybody_s(name: str, is_allowed: bool) -> None:
    assert is_quota_allowed(quota({"metadata.name": name}), {"team": "a"}) is is_allowed


def test_a_selector_holds_for_the_quota_named_default_too() -> None:
    assert not is_quota_allowed(quota({"spec.allowedNamespaces": {"matchLabels": {"claude": "yes"}}}), {})


@every(
    ("fields", "labels", "is_selected"),
    [
        ({}, {}, True),
        ({}, {"team": "a"}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "a", "b": "c"}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "b"}, False),
        ({"matchLabels": {"team": ""}}, {}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, {"team": "b"}, True),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, {}, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, {"team": "b"}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, {}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, {"team": "a"}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, {"team": ""}, True),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {"team": "a"}, False),
        ({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "team", "operator": "Exists"}]}, {"a": "b"}, False),
    ],
)
def test_a_selector_selects_as_kubernetes_does(fields: dict[str, Any], labels: Mapping[str, str], is_selected: bool) -> None:
    assert selects(selector(**fields), labels) is is_selected


@given(labels=st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")), values=st.lists(st.sampled_from("xyz"), min_size=1))
@settings(max_examples=50)
def test_in_and_not_in_are_opposites(labels: dict[str, str], values: list[str]) -> None:
    inside = selector(matchExpressions=[{"key": "a", "operator": "In", "values": values}])
    outside = selector(matchExpressions=[{"key": "a", "operator": "NotIn", "values": values}])
    assert selects(inside, labels) is not selects(outside, labels)


def test_an_unknown_model_warns_and_does_not_block() -> None:
    found = check_references(workload({"spec.model.name": "claude-sonet-5-5"}), References(quota=quota()))
    assert reasons(found) == ["UnknownModel", "UnknownGroup"]
    assert not any(finding.is_blocking for finding in found)
    assert "claude-sonet-5-5 is not in the catalogue of 2026-11-22: check the spelling" in found[0].message


def test_a_retired_model_is_told_apart_from_a_misspelt_one() -> None:
    found = check_references(workload({"spec.model.fallbacks": [{"model": "claude-3-opus-20240229"}]}), References(quota=quota()))
    assert "claude-3-opus-20240229 was retired on 2026-01-05" in found[0].message


def test_a_group_without_limits_in_the_quota_is_named_with_its_models() -> None:
    custom = quota({"spec.tier": "Custom", "spec.limits": [{"group": "haiku-5.5", "requestsPerMinute": 50}]})
    found = check_references(workload(), References(quota=custom))
    assert reasons(found) == ["UnknownGroup"]
    assert "declares no limits for the model group sonnet-5.5 of claude-sonnet-5-5" in found[0].message


def test_a_guarantee_over_the_quota_s_share_says_what_counts() -> None:
    body = {"spec.limits.guaranteed": {"requestsPerMinute": 2000, "outputTokensPerMinute": 10}}
    found = check_references(workload(body), References(quota=quota()))
    assert reasons(found) == ["GuaranteeNotMet"]
    assert "at most 25 % of each limit" in found[0].message
    assert found[0].message.endswith("counts as 1250 requests, 10 output tokens a minute")


def test_a_guarantee_within_the_share_is_no_finding() -> None:
    assert check_references(workload({"spec.limits.guaranteed": {"requestsPerMinute": 1250}}), References(quota=quota())) == ()


def test_blocking_findings_come_first() -> None:
    body = {"spec.model.name": "claude-x", "spec.sampling": {"profileRef": {"name": "maths"}}}
    found = check_references(workload(body), References(quota=quota()))
    assert [finding.is_blocking for finding in found] == [True, False, False]


def test_a_quota_for_an_unknown_group_is_told_the_known_ones() -> None:
    (finding,) = check_quota(quota({"spec.limits": [{"group": "sonnet-9", "requestsPerMinute": 1}]}))
    assert finding.reason == "UnknownGroup"
    assert "sonnet-9" in finding.message and "sonnet-5.5" in finding.message
    for group in ("sonnet-5.5", "opus-5.5/fast"):
        assert check_quota(quota({"spec.limits": [{"group": group, "requestsPerMinute": 1}]})) == ()
