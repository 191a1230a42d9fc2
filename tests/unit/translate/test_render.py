"""Resources in, the proxy's document and its ConfigMap out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api.objects import FEDERATION, FULL, SMALLEST, changed
from tests.unit.golden import check_golden

from claudeops.api import ClaudeWorkload, parse_profile, parse_quota, parse_workload
from claudeops.api.status import WorkloadStatus
from claudeops.catalogue import load_catalogue
from claudeops.proxyconfig import ControllerAddress, Federation, ProxyConfig, Rates, Sampling, content_hash, decode_config, encode_config
from claudeops.translate import effective, next_revision, render_config_map, render_proxy_config

GOLDEN = Path(__file__).parent / "golden"
CONTROLLER = ControllerAddress(
    url="https://claudeops-exchange.claudeops-system.svc:8443",
    server_name="claudeops-exchange.claudeops-system.svc",
    ca_bundle="PEM of the exchange",
    audience="claudeops.dev/exchange",
)
NOW_MS = 1_763_800_000_000


def render(body: dict[str, Any], *, revision: int = 7, quota: dict[str, Any] | None = None) -> ProxyConfig:
    draft = render_proxy_config(
        parse_workload(body),
        quota=parse_quota(quota or FULL["ClaudeQuota"]),
        profile=parse_profile(FULL["SamplingProfile"]),
        controller=CONTROLLER,
        upstream_ca="PEM of the API",
    )
    assert draft.revision == 0
    return msgspec.structs.replace(draft, revision=revision)


@pytest.mark.parametrize(("name", "body"), [("smallest", SMALLEST["ClaudeWorkload"]), ("full", FULL["ClaudeWorkload"])])
def test_a_workload_renders_as_reviewed(name: str, body: dict[str, Any]) -> None:
    check_golden(GOLDEN / f"proxyconfig-{name}.json", json.loads(encode_config(render(body))))


def test_the_config_map_renders_as_reviewed() -> None:
    body = changed("ClaudeWorkload", {"metadata.uid": "5f0c7c1e-0000-4000-8000-000000000001"})
    rendered = render_config_map(parse_workload(body), render(body))
    check_golden(GOLDEN / "config-map.json", rendered)
    assert decode_config(rendered["data"]["proxy.json"].encode()) == render(body)


def test_what_is_rendered_reads_back_equal_and_hashes_alike() -> None:
    config = render(FULL["ClaudeWorkload"])
    assert decode_config(encode_config(config)) == config
    assert content_hash(decode_config(encode_config(config))) == content_hash(config)


def test_a_profile_that_the_workload_does_not_name_has_no_effect() -> None:
    assert render(SMALLEST["ClaudeWorkload"]).sampling == Sampling()


def test_without_controller_and_authority_the_document_says_neither() -> None:
    config = render_proxy_config(
        parse_workload(SMALLEST["ClaudeWorkload"]),
        quota=parse_quota(SMALLEST["ClaudeQuota"]),
        profile=None,
        controller=None,
        upstream_ca="",
    )
    assert config.controller is None
    assert (config.upstream.base_url, config.upstream.ca_bundle) == ("https://api.anthropic.com", "")


def test_federation_is_rendered_without_what_only_kubelet_needs() -> None:
    found = render(changed("ClaudeWorkload", {"spec.credentials": {"federation": FEDERATION}})).federation
    assert found == Federation(
        rule_id="fdrl_01",
        organization_id="5f0c7c1e-0000-4000-8000-000000000000",
        service_account_id="svac_01",
        workspace_id="wrkspc_01",
    )
    few = {name: FEDERATION[name] for name in ("ruleId", "organizationId", "audience")}
    smaller = render(changed("ClaudeWorkload", {"spec.credentials": {"federation": few}})).federation
    assert smaller == Federation(rule_id="fdrl_01", organization_id=FEDERATION["organizationId"])
    assert render(SMALLEST["ClaudeWorkload"]).federation is None


def test_a_workload_that_may_name_any_model_has_a_baseline_in_every_group() -> None:
    body = changed("ClaudeWorkload", {"spec.model.clientChoice": "Allowed"})
    assert set(render(body).limits.baseline) == set(load_catalogue().groups)
    assert set(render(SMALLEST["ClaudeWorkload"]).limits.baseline) == {"sonnet-5.5"}


def test_a_baseline_obeys_the_quota_s_cap() -> None:
    body = changed("ClaudeWorkload", {"spec.limits.guaranteed": {"requestsPerMinute": 500}})
    assert render(body).limits.baseline["sonnet-5.5"] == Rates(requests_per_minute=240)  # 40 % of 600


def test_nothing_that_changes_with_replicas_is_in_the_document() -> None:
    body = changed("ClaudeWorkload", {"spec.replicas": 9})
    assert content_hash(render(body)) == content_hash(render(SMALLEST["ClaudeWorkload"]))


# -- revisions


def text(config: ProxyConfig) -> str:
    return encode_config(config).decode()


def test_a_document_that_says_the_same_keeps_its_revision() -> None:
    assert next_revision(text(render(FULL["ClaudeWorkload"], revision=41)), render(FULL["ClaudeWorkload"], revision=0), NOW_MS) == 41


def test_a_document_that_says_something_else_gets_the_next_revision() -> None:
    assert next_revision(text(render(FULL["ClaudeWorkload"], revision=41)), render(SMALLEST["ClaudeWorkload"], revision=0), NOW_MS) == 42


def test_a_first_document_starts_at_unix_milliseconds() -> None:
    assert next_revision(None, render(SMALLEST["ClaudeWorkload"]), NOW_MS) == NOW_MS


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        ("", NOW_MS),
        ("{", NOW_MS),
        ("[]", NOW_MS),
        ('{"revision": "9"}', NOW_MS),
        ('{"schemaVersion": 9, "revision": 41}', NOW_MS),
        (f'{{"schemaVersion": 9, "revision": {NOW_MS + 5}}}', NOW_MS + 6),
    ],
)
def test_a_document_that_cannot_be_read_is_outranked(previous: str, expected: int) -> None:
    assert next_revision(previous, render(SMALLEST["ClaudeWorkload"]), NOW_MS) == expected


@given(weights=st.lists(st.integers(4, 20), min_size=1, max_size=8), start=st.integers(0, 2**40))
@settings(max_examples=30)
def test_a_series_of_documents_has_rising_revisions(weights: list[int], start: int) -> None:
    base = render(SMALLEST["ClaudeWorkload"], revision=start)
    previous = base
    for maximum in weights:
        new = msgspec.structs.replace(base, connections=msgspec.structs.replace(base.connections, max=maximum))
        revision = next_revision(text(previous), new, NOW_MS)
        assert revision - previous.revision == (0 if content_hash(new) == content_hash(previous) else 1)
        previous = msgspec.structs.replace(new, revision=revision)


# -- status.effective


def test_the_defaults_in_force_are_echoed_and_fit_the_status() -> None:
    written = effective(parse_workload(SMALLEST["ClaudeWorkload"]), model="claude-haiku-5-5", tier="Fallback")
    assert (written["model"], written["tier"], written["weight"], written["clientChoice"]) == ("claude-haiku-5-5", "Fallback", 100, "Never")
    assert written["queue"] == {"maxWait": "20s", "maxLength": 1000}
    assert written["resilience"]["retry"] == {"maxAttempts": 4, "initialBackoff": "1s", "maxBackoff": "60s", "budgetPercent": 20}
    assert "onViolation" not in written
    WorkloadStatus.model_validate_json(json.dumps({"effective": written}))


def test_what_the_workload_says_is_echoed_too() -> None:
    workload: ClaudeWorkload = parse_workload(FULL["ClaudeWorkload"])
    written = effective(workload, model="claude-sonnet-5-5", tier="Primary")
    assert (written["onViolation"], written["promptCache"], written["quota"]) == ("Reject", "Always", "prod")
    assert written["connections"] == {"min": 2, "max": 20, "protocol": "HTTP2"}
