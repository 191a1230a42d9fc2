"""What a workload gets from what is in the cluster."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from claudeops.controller.resolve import Resolution, Sources, resolve
from claudeops.proxyconfig import ControllerAddress, ProxyConfig, decode_config, encode_config

ADDRESS = ControllerAddress(url="https://x.svc:8443/v1/exchange", server_name="x.svc", ca_bundle="PEM", audience="a")
NOW_MS = 1_700_000_000_000


def item(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "claudeops.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def workload(**spec: Any) -> dict[str, Any]:
    written = {
        "quotaRef": {"name": "prod"},
        "credentials": {"secretRef": {"name": "key", "key": "api-key"}},
        "model": {"name": "claude-sonnet-4-6"},
        "sampling": {"profileRef": {"name": "careful"}},
    }
    return item("ClaudeWorkload", "bot", {**written, **spec}, namespace="shop", uid="uid-1", generation=3)


QUOTA = item("ClaudeQuota", "prod", {"tier": "Build", "allowedNamespaces": {"matchLabels": {"team": "shop"}}})
PROFILE = item("SamplingProfile", "careful", {"temperature": {"max": 0.5}})
WHOLE = Sources(workload(), QUOTA, PROFILE, {"team": "shop"})


def get(sources: Sources) -> Resolution:
    return resolve(sources, ADDRESS, now_ms=NOW_MS)


def config_of(resolution: Resolution) -> ProxyConfig:
    assert resolution.config is not None
    return resolution.config


def stored(resolution: Resolution) -> dict[str, Any]:
    assert resolution.config_map is not None
    return resolution.config_map


def test_a_whole_workload_gets_a_config_and_a_config_map_that_says_the_same() -> None:
    found = get(WHOLE)
    assert found.problem is None and found.terms is not None and found.terms.quota == "prod"
    assert config_of(found).revision == NOW_MS
    assert config_of(found).controller == ADDRESS
    assert decode_config(stored(found)["data"]["proxy.json"].encode()) == found.config


def test_what_is_in_the_cluster_already_is_not_written_again() -> None:
    first = get(WHOLE)
    again = get(replace(WHOLE, config_map=stored(first)))
    assert again.config == first.config and again.config_map is None


def test_a_change_is_one_more_revision() -> None:
    first = get(WHOLE)
    other = item("SamplingProfile", "careful", {"temperature": {"max": 0.2}})
    changed = get(replace(WHOLE, profile=other, config_map=stored(first)))
    assert config_of(changed).revision == config_of(first).revision + 1
    assert changed.config_map is not None


def test_a_config_that_was_given_out_but_never_stored_still_counts() -> None:
    """The API server was away: proxies have the newer one from the exchange; the next change must be newer still."""
    first = get(WHOLE)
    given = get(replace(WHOLE, profile=item("SamplingProfile", "careful", {"temperature": {"max": 0.2}}), config_map=stored(first)))
    later = get(replace(WHOLE, config_map=stored(first), issued=given.config))
    assert config_of(later).revision == config_of(given).revision + 1


@pytest.mark.parametrize("part", ["labels", "annotations", "ownerReferences"])
def test_a_config_map_that_somebody_changed_is_put_right(part: str) -> None:
    config_map = stored(get(WHOLE))
    kept = {"labels": {"app.kubernetes.io/managed-by": "claudeops"}}.get(part)
    changed = {**config_map, "metadata": {**config_map["metadata"], part: kept}}
    assert get(replace(WHOLE, config_map=changed)).config_map is not None


def test_garbage_in_our_config_map_is_replaced() -> None:
    config_map = stored(get(WHOLE))
    found = get(replace(WHOLE, config_map={**config_map, "data": {"proxy.json": "{"}}))
    assert found.config_map is not None and config_of(found).revision >= NOW_MS


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        (replace(WHOLE, quota=None), "QuotaNotFound"),
        (replace(WHOLE, namespace_labels={}), "QuotaNotAllowed"),
        (replace(WHOLE, profile=None), "ProfileNotFound"),
        (replace(WHOLE, upstream_ca=None), "CABundleNotFound"),
        (replace(WHOLE, item=workload(model={"name": "gpt"})), "InvalidSpec"),
        (replace(WHOLE, quota=item("ClaudeQuota", "prod", {"tier": "None"})), "InvalidReference"),
    ],
)
def test_a_problem_leaves_the_last_good_config(sources: Sources, reason: str) -> None:
    good = get(WHOLE)
    found = get(replace(sources, config_map=stored(good)))
    assert found.problem is not None and found.problem.reason == reason
    assert found.problem.is_permanent == (reason == "InvalidSpec")
    assert found.config == good.config and found.config_map is None
    assert get(sources).config is None


def test_a_quota_that_is_not_allowed_feeds_nobody() -> None:
    found = get(replace(WHOLE, namespace_labels={}))
    assert found.terms is not None and found.terms.quota == ""


def test_a_config_map_of_somebody_else_is_left_alone() -> None:
    theirs = {"metadata": {"name": "bot-claudeops", "namespace": "shop"}, "data": {"mine": "yes"}}
    found = get(replace(WHOLE, config_map=theirs))
    assert found.problem is not None and found.problem.reason == "NameTaken"
    assert found.config_map is None and found.config is None


def test_what_only_deserves_a_word_is_a_warning() -> None:
    found = get(replace(WHOLE, item=workload(model={"name": "claude-unheard-of-9"})))
    assert found.problem is None and found.config is not None
    assert any("claude-unheard-of-9" in warning for warning in found.warnings)


def test_the_newer_of_two_known_configs_is_the_last_good_one() -> None:
    good = config_of(get(WHOLE))
    newer = msgspec.structs.replace(good, revision=good.revision + 5)
    config_map = stored(get(WHOLE))
    assert config_of(get(replace(WHOLE, quota=None, config_map=config_map, issued=newer))).revision == newer.revision
    config_map = {**config_map, "data": {"proxy.json": encode_config(newer).decode()}}
    assert config_of(get(replace(WHOLE, quota=None, config_map=config_map, issued=good))).revision == newer.revision
