"""What workloads get from the manifests, and what stands when they go bad."""

from __future__ import annotations

import io
import json

from tests.unit.table import every

from claudeops.proxyconfig import WorkloadKey
from claudeops.standalone.inventory import Inventory, take_inventory
from claudeops.standalone.local_fleet import Site
from claudeops.standalone.manifest import parse_documents
from claudeops.standalone.output import JsonOutput, LineOutput
from claudeops.standalone.plan import Plan, PlanRules, make_plan, with_simulators
from claudeops.standalone.simulated import limit_flags

QUOTA = "{apiVersion: claudeops.dev/v1alpha1, kind: ClaudeQuota, metadata: {name: default}, spec: {tier: Build}}\n"
WORKLOAD = """\
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeWorkload
metadata: {name: bot}
spec:
  credentials: {secretRef: {name: key, key: api-key}}
  model: {name: claude-sonnet-5-5}
"""
SECRET = "{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {api-key: sk-from-secret}}\n"
BOT = WorkloadKey(namespace="default", name="bot")
RULES = PlanRules(b"sk-fallback")


def read(*documents: str, previous: Inventory | None = None) -> Inventory:
    return take_inventory(parse_documents("---\n".join(documents), "f.yaml"), previous)


def plan(*documents: str, rules: PlanRules = RULES) -> Plan:
    return make_plan(read(*documents), rules)


def complaints(made: Plan) -> list[str]:
    return [str(complaint) for complaint in made.complaints]


def test_a_key_comes_from_the_secret_else_from_the_one_for_all_and_a_real_one_never_goes_to_a_simulator() -> None:
    simulated = PlanRules(b"sk-fallback", is_simulated=True)
    assert plan(QUOTA, WORKLOAD, SECRET).workloads[BOT].api_key == b"sk-from-secret"
    assert plan(QUOTA, WORKLOAD).workloads[BOT].api_key == b"sk-fallback"
    assert plan(QUOTA, WORKLOAD, SECRET, rules=simulated).workloads[BOT].api_key == b"sk-ant-sim-standalone"
    assert "no API key: set ANTHROPIC_API_KEY" in complaints(plan(QUOTA, WORKLOAD, rules=PlanRules()))[0]


def test_base64_is_read_and_what_is_none_is_not_repeated() -> None:
    encoded = SECRET.replace("stringData: {api-key: sk-from-secret}", "data: {api-key: c2stZW5jb2RlZA==}")
    assert plan(QUOTA, WORKLOAD, encoded).workloads[BOT].api_key == b"sk-encoded"
    (complaint,) = complaints(plan(QUOTA, WORKLOAD, encoded.replace("c2st", "a-secret-")))
    assert complaint == "f.yaml:10: Secret key: data.api-key: is no base64: write plain text under stringData instead"


def test_nothing_that_is_shown_repeats_a_key() -> None:
    inventory = read(QUOTA, WORKLOAD, SECRET)
    assert "sk-from" not in repr(inventory) + repr(make_plan(inventory, RULES)) + repr(RULES)


def test_keyless_credentials_use_the_key_for_all() -> None:
    federated = WORKLOAD.replace("{secretRef: {name: key, key: api-key}}", "{federation: {ruleId: r, organizationId: o, audience: a}}")
    assert plan(QUOTA, federated).workloads[BOT].api_key == b"sk-fallback"
    assert "federation needs a token that only a cluster issues" in complaints(plan(QUOTA, federated, rules=PlanRules()))[0]


@every(
    ("text", "complaint"),
    [
        (WORKLOAD + "  modell: {}\n", "f.yaml:9: ClaudeWorkload bot: spec.modell: no such field"),
        (WORKLOAD.replace("sonnet", "sonet"), "f.yaml:8: ClaudeWorkload bot: spec.model: claude-sonet-5-5 is not in the catalogue"),
        (WORKLOAD.replace("v1alpha1", "v2"), "f.yaml:3: ClaudeWorkload bot: apiVersion: input should be 'claudeops.dev/v1alpha1'"),
        (WORKLOAD.replace("claudeops.dev/", "other.dev/"), "f.yaml:3: ClaudeWorkload bot: apiVersion is 'other.dev/v1alpha1': write"),
        (WORKLOAD + "  quotaRef: {name: prod}\n", "f.yaml:9: ClaudeWorkload bot: spec.quotaRef: ClaudeQuota prod does not exist"),
        (WORKLOAD + "  sampling: {profileRef: {name: x}}\n", "f.yaml:9: ClaudeWorkload bot: spec.sampling.profileRef: SamplingProfile x"),
        (WORKLOAD.replace("name: bot", "name: ../bot"), "f.yaml:5: ClaudeWorkload ../bot: metadata.name: name the ClaudeWorkload with"),
        (WORKLOAD.replace("name: bot", "name: bot, namespace: a/b"), "f.yaml:5: ClaudeWorkload a/b/bot: metadata.namespace: write at most"),
        (WORKLOAD + "---\n" + WORKLOAD, "f.yaml:10: ClaudeWorkload bot: is declared twice"),
        (WORKLOAD.replace("kind: Claude", "kind: Cloud"), "f.yaml:3: CloudWorkload bot: no such kind in claudeops.dev/v1alpha1"),
    ],
)
def test_a_wrong_workload_is_pointed_at(text: str, complaint: str) -> None:
    (found,) = complaints(plan(QUOTA, text))
    assert found.startswith(complaint)


def test_every_field_that_does_not_fit_is_pointed_at() -> None:
    found = complaints(plan(QUOTA, WORKLOAD.replace("model:", "modell:") + "  limits: {weight: 0}\n"))
    assert [complaint.partition(" ClaudeWorkload bot: ")[::2] for complaint in found] == [
        ("f.yaml:6:", "spec.model: is required: write it"),
        ("f.yaml:9:", "spec.limits.weight: input should be greater than or equal to 1"),
        ("f.yaml:8:", "spec.modell: no such field: remove it, or check its spelling and place"),
    ]


def test_what_is_a_cluster_s_is_counted_and_left_alone() -> None:
    inventory = read(QUOTA, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}\n", "{services: {}}\n")
    assert (inventory.ignored, inventory.complaints) == ({"Deployment": 1, "no kind": 1}, [])


def test_a_namespace_s_labels_decide_as_in_a_cluster() -> None:
    quota = QUOTA.replace("{tier: Build}", "{tier: Build, allowedNamespaces: {matchLabels: {team: a}}}")
    namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {team: a}}}\n"
    assert "does not allow namespace default" in complaints(plan(quota, WORKLOAD))[0]
    assert complaints(plan(quota, namespace, WORKLOAD)) == []


def test_what_goes_bad_stands_as_it_was_with_the_reason_and_heals() -> None:
    good = read(QUOTA, WORKLOAD)
    first = make_plan(good, RULES)
    bad = read(QUOTA.replace("Build", "Bulid"), WORKLOAD.replace("claude-sonnet-5-5", "gpt"), previous=good)
    second = make_plan(bad, RULES, previous=first)
    assert second.workloads[BOT].draft == first.workloads[BOT].draft
    assert second.quotas == first.quotas
    assert second.problems[BOT].startswith("spec.model.name: ")
    unresolved = make_plan(read(WORKLOAD, previous=bad), RULES, previous=second)
    assert unresolved.workloads[BOT].draft == first.workloads[BOT].draft
    assert "ClaudeQuota default does not exist" in unresolved.problems[BOT]
    assert make_plan(read(QUOTA, WORKLOAD, previous=bad), RULES, previous=unresolved).problems == {}


def test_a_simulator_takes_the_place_of_the_api_with_the_quota_s_limits() -> None:
    quota = QUOTA.replace("{tier: Build}", "{tier: Custom, limits: [{group: sonnet-5.5, requestsPerMinute: 60}]}")
    inventory = with_simulators(read(quota, WORKLOAD), {"default": "http://127.0.0.1:5"})
    assert make_plan(inventory, RULES).workloads[BOT].draft.upstream.base_url == "http://127.0.0.1:5"
    assert limit_flags(inventory.quotas["default"]) == ("--tier", "none", "--limit", "sonnet-5.5=60,1000000000,1000000000")


def test_plain_lines_say_what_changes_and_json_gives_the_status() -> None:
    planned = plan(QUOTA, WORKLOAD).workloads[BOT]
    site = Site(planned, planned.draft, [], status={"conditions": [_condition("Ready", "False", "Progressing")]})
    lines, documents = io.StringIO(), io.StringIO()
    plain, structured = LineOutput(lines), JsonOutput(documents)
    for status in ("False", "False", "True"):
        site.status = {"conditions": [_condition("Ready", status, "Because"), _condition("Reconciling", status, "Moving")]}
        plain.show([site], {})
        structured.show([site], {})
    said = [line for line in lines.getvalue().splitlines() if "Ready" in line]
    assert [line.partition("  ")[2] for line in said] == [
        "default/bot: Ready is False (Because): m",
        "default/bot: Ready is True (Because): m",
    ]
    shown = [json.loads(line) for line in documents.getvalue().splitlines()]
    assert [document["status"]["conditions"][0]["status"] for document in shown] == ["False", "True"]


def _condition(kind: str, status: str, reason: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": "m"}
