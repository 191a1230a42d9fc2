"""Every rule of the injector, on pods as people write them. The golden files are the patches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api.objects import FEDERATION, SMALLEST, changed
from tests.unit.golden import check_golden
from tests.unit.translate.pods import GOLDEN_PODS, container, from_secret, literal, pod

from claudeops.api import ClaudeWorkload, parse_workload
from claudeops.translate.environment import rewrite_environment
from claudeops.translate.injection import Denied, Patched, Unchanged, inject_pod
from claudeops.translate.proxy_container import InjectionSettings

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = InjectionSettings(image="claudeops-sidecar:dev")
WORKLOAD = parse_workload(SMALLEST["ClaudeWorkload"])
Json = dict[str, Any]


def decide(body: Json, workload: ClaudeWorkload | None = WORKLOAD) -> Patched | Unchanged | Denied:
    return inject_pod(body, namespace="shop", workload=workload, settings=SETTINGS)


def injected(body: Json) -> Json:
    decision = decide(body)
    assert isinstance(decision, Patched), decision
    patched: Json = jsonpatch.apply_patch(body, list(decision.json_patch))
    return patched


def sidecar(body: Json) -> Json:
    found: Json = injected(body)["spec"]["initContainers"][0]
    return found


def environment(body: Json, name: str = "app") -> dict[str, Json]:
    spec = injected(body)["spec"]
    (found,) = [item for item in [*spec["containers"], *spec["initContainers"]] if item["name"] == name]
    return {entry["name"]: entry for entry in found.get("env", [])}


@pytest.mark.parametrize("name", sorted(GOLDEN_PODS))
def test_a_pod_is_patched_as_reviewed(name: str) -> None:
    decision = decide(GOLDEN_PODS[name])
    assert isinstance(decision, Patched)
    check_golden(GOLDEN / f"patch-{name}.json", list(decision.json_patch))


@pytest.mark.parametrize("name", sorted(GOLDEN_PODS))
def test_a_second_review_changes_nothing(name: str) -> None:
    assert decide(injected(GOLDEN_PODS[name])) == Unchanged()


@pytest.mark.parametrize("name", sorted(GOLDEN_PODS))
def test_the_reviewed_pod_itself_is_not_touched(name: str) -> None:
    before = copy.deepcopy(GOLDEN_PODS[name])
    decide(GOLDEN_PODS[name])
    assert before == GOLDEN_PODS[name]


def test_a_pod_without_our_label_is_left_alone() -> None:
    body = pod()
    del body["metadata"]["labels"]["claudeops.dev/workload"]
    assert decide(body) == Unchanged()
    assert decide({"metadata": {}, "spec": {"containers": []}}) == Unchanged()
    assert decide({"metadata": {"labels": None}, "spec": {"containers": []}}) == Unchanged()


def test_a_pod_of_an_unknown_workload_is_denied_with_what_to_do() -> None:
    assert decide(pod(), None) == Denied("ClaudeWorkload shop/support-bot does not exist: create it, or remove the label")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (pod(hostNetwork=True), "remove hostNetwork, or the label claudeops.dev/workload"),
        (pod(shareProcessNamespace=True), "remove shareProcessNamespace, or the label claudeops.dev/workload"),
        (pod(container("claudeops-sidecar")), "the container name claudeops-sidecar is taken"),
        (pod(volumes=[{"name": "claudeops-key", "emptyDir": {}}]), "the volume name claudeops-key is taken"),
        (pod(annotations={"claudeops.dev/proxy-cpu": "much"}), 'claudeops.dev/proxy-cpu is "much": write a quantity, such as "100m"'),
    ],
    ids=["host-network", "shared-processes", "container-name", "volume-name", "no-quantity"],
)
def test_a_pod_that_cannot_be_injected_is_denied_with_the_reason(body: Json, words: str) -> None:
    decision = decide(body)
    assert isinstance(decision, Denied)
    assert words in decision.message


def test_what_is_denied_when_true_is_admitted_when_false() -> None:
    assert isinstance(decide(pod(hostNetwork=False, shareProcessNamespace=False)), Patched)


def test_a_workload_without_a_key_denies_its_pods() -> None:
    keyless = WORKLOAD.model_copy(update={"spec": WORKLOAD.spec.model_copy(update={"credentials": None})})
    message = "ClaudeWorkload shop/support-bot names no credentials: write its spec.credentials.secretRef or federation"
    assert decide(pod(), keyless) == Denied(message)


def test_the_proxy_is_the_first_native_sidecar() -> None:
    names = [item["name"] for item in injected(GOLDEN_PODS["init-containers-and-volumes"])["spec"]["initContainers"]]
    assert names == ["claudeops-sidecar", "migrate", "log-shipper"]
    assert sidecar(pod())["restartPolicy"] == "Always"


def test_the_proxy_is_fit_for_pod_security_restricted() -> None:
    assert sidecar(pod())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_probes_ask_the_admin_port_and_the_first_asks_every_second() -> None:
    container_ = sidecar(pod())
    probes = {name: container_[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {4142}
    assert probes["startupProbe"]["periodSeconds"] == 1
    assert probes["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_proxy_s_files_are_where_its_environment_says() -> None:
    container_ = sidecar(pod())
    env = {entry["name"]: entry.get("value") for entry in container_["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container_["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in injected(pod())["spec"]["volumes"]}
    for variable, volume, item in (
        ("CLAUDEOPS_CONFIG", "claudeops-config", volumes["claudeops-config"]["configMap"]["items"][0]["path"]),
        ("CLAUDEOPS_KEY_FILE", "claudeops-key", volumes["claudeops-key"]["secret"]["items"][0]["path"]),
        ("CLAUDEOPS_TOKEN_FILE", "claudeops-token", volumes["claudeops-token"]["projected"]["sources"][0]["serviceAccountToken"]["path"]),
    ):
        assert env[variable] == f"{mounts[volume]}/{item}"
    assert container_["args"] == ["sidecar"]
    assert (env["CLAUDEOPS_LISTEN"], env["CLAUDEOPS_ADMIN"], env["CLAUDEOPS_STATE"]) == ("127.0.0.1:4141", "0.0.0.0:4142", "127.0.0.1:4143")
    assert container_["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.uid"


def test_the_volumes_are_the_workload_s_config_its_key_and_a_token_for_the_exchange() -> None:
    config, key, token = injected(pod())["spec"]["volumes"]
    assert config["configMap"]["name"] == "support-bot-claudeops"
    assert (key["secret"]["secretName"], key["secret"]["items"][0]["key"], key["secret"]["optional"]) == ("claude-key", "api-key", True)
    assert token["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "claudeops.dev/exchange"


def test_a_keyless_workload_s_proxy_gets_a_token_of_the_declared_audience_and_no_secret() -> None:
    keyless = parse_workload(changed("ClaudeWorkload", {"spec.credentials": {"federation": FEDERATION}}))
    decision = decide(pod(), keyless)
    assert isinstance(decision, Patched)
    check_golden(GOLDEN / "patch-federation.json", list(decision.json_patch))
    spec = jsonpatch.apply_patch(pod(), list(decision.json_patch))["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    identity = volumes["claudeops-identity"]["projected"]["sources"][0]["serviceAccountToken"]
    assert identity["audience"] == FEDERATION["audience"]
    assert "claudeops-key" not in volumes
    env = {entry["name"]: entry.get("value") for entry in spec["initContainers"][0]["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["initContainers"][0]["volumeMounts"]}
    assert env["CLAUDEOPS_IDENTITY_FILE"] == f"{mounts['claudeops-identity']}/{identity['path']}"
    assert all(not item.get("volumeMounts") for item in spec["containers"])


@pytest.mark.parametrize("name", sorted(GOLDEN_PODS))
def test_the_key_is_mounted_into_the_proxy_only(name: str) -> None:
    spec = injected(GOLDEN_PODS[name])["spec"]
    ours = {"claudeops-config", "claudeops-key", "claudeops-token"}
    for item in [*spec["initContainers"][1:], *spec["containers"]]:
        assert not ours & {mount["name"] for mount in item.get("volumeMounts", [])}


# -- environment of the application


def test_every_container_and_ordinary_init_container_talks_to_the_proxy() -> None:
    body = GOLDEN_PODS["init-containers-and-volumes"]
    for name in ("app", "migrate"):
        assert environment(body, name)["ANTHROPIC_BASE_URL"]["value"] == "http://127.0.0.1:4141"
        assert environment(body, name)["ANTHROPIC_API_KEY"]["value"] == "provided-by-claudeops"
    assert environment(body, "log-shipper") == {}


def test_the_application_s_own_credentials_are_replaced_and_noted() -> None:
    body = GOLDEN_PODS["own-key"]
    env = environment(body)
    assert env["ANTHROPIC_API_KEY"] == {"name": "ANTHROPIC_API_KEY", "value": "provided-by-claudeops"}
    assert "ANTHROPIC_AUTH_TOKEN" not in env
    assert env["MODE"]["value"] == "fast"
    annotations = injected(body)["metadata"]["annotations"]
    assert annotations["claudeops.dev/replaced-env"] == "app/ANTHROPIC_API_KEY,app/ANTHROPIC_AUTH_TOKEN,app/ANTHROPIC_BASE_URL"
    assert annotations["team"] == "shop"


def test_credentials_from_a_config_map_or_secret_give_way_to_ours() -> None:
    sources = [{"secretRef": {"name": "everything"}}]
    env = environment(pod(container(envFrom=sources, env=[literal("MODE", "fast")])))
    ours = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:4141", "ANTHROPIC_API_KEY": "provided-by-claudeops", "ANTHROPIC_AUTH_TOKEN": ""}
    assert {name: entry["value"] for name, entry in env.items()} == {"MODE": "fast", **ours}
    body = pod(container(envFrom=sources, env=[literal("ANTHROPIC_AUTH_TOKEN", "theirs")]))
    assert environment(body)["ANTHROPIC_AUTH_TOKEN"]["value"] == ""
    assert injected(body)["metadata"]["annotations"]["claudeops.dev/replaced-env"] == "app/ANTHROPIC_AUTH_TOKEN"


def test_a_pod_that_brought_no_credentials_has_no_note() -> None:
    assert injected(pod())["metadata"]["annotations"] == {"claudeops.dev/injected": "claudeops-sidecar:dev"}


def test_a_corporate_proxy_is_not_asked_for_loopback() -> None:
    body = GOLDEN_PODS["corporate-proxy"]
    assert environment(body)["NO_PROXY"]["value"] == "10.0.0.0/8, .cluster.local,127.0.0.1"
    assert environment(body, "bare")["NO_PROXY"]["value"] == "127.0.0.1"
    old = environment(body, "old")
    assert old["no_proxy"]["value"] == "$(CLAUDEOPS_no_proxy),127.0.0.1"
    assert old["CLAUDEOPS_no_proxy"]["valueFrom"] == from_secret("no_proxy")["valueFrom"]
    assert list(old).index("CLAUDEOPS_no_proxy") < list(old).index("no_proxy")


def test_without_a_proxy_variable_no_proxy_is_left_alone() -> None:
    assert environment(pod(container(env=[literal("NO_PROXY", "a")])))["NO_PROXY"]["value"] == "a"
    assert "NO_PROXY" not in environment(pod())


ENTRIES = st.lists(
    st.sampled_from(
        [
            literal("A", "1"),
            literal("ANTHROPIC_API_KEY", "theirs"),
            from_secret("ANTHROPIC_API_KEY"),
            literal("ANTHROPIC_AUTH_TOKEN", "theirs"),
            literal("ANTHROPIC_BASE_URL", "https://elsewhere"),
            literal("HTTPS_PROXY", "p"),
            literal("NO_PROXY", "a,,b"),
            literal("no_proxy", ""),
            from_secret("NO_PROXY"),
        ]
    ),
    max_size=6,
    unique_by=lambda entry: entry["name"],
)


@given(ENTRIES, st.booleans())
@settings(max_examples=80)
def test_a_rewritten_environment_stays_as_it_is(entries: list[Json], has_sources: bool) -> None:
    once, noted = rewrite_environment(entries, has_sources=has_sources)
    again, _ = rewrite_environment(once, has_sources=has_sources)
    assert "theirs" not in str([entry for entry in once if entry["name"].startswith("ANTHROPIC")])
    assert all("valueFrom" not in entry for entry in once if entry["name"].startswith("ANTHROPIC"))
    assert set(noted) <= {entry["name"] for entry in entries}
    assert again == once


# -- resources


def test_resources_are_small_by_default() -> None:
    assert sidecar(pod())["resources"] == {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


def test_a_guaranteed_pod_stays_guaranteed() -> None:
    resources = sidecar(GOLDEN_PODS["guaranteed"])["resources"]
    assert resources["requests"] == resources["limits"]
    assert set(resources["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"limits": {"memory": "64Mi"}},
        {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m"}},
        {"requests": {"cpu": "1", "memory": "64Mi"}},
    ],
)
def test_one_container_without_equal_limits_makes_the_pod_burstable(resources: Json) -> None:
    equal = {"limits": {"cpu": "100m", "memory": "64Mi"}}
    body = pod(container(resources=equal), container("other", resources=resources))
    assert sidecar(body)["resources"]["limits"] == {"memory": "256Mi"}


def test_annotations_override_the_resources() -> None:
    assert sidecar(GOLDEN_PODS["sized-by-annotation"])["resources"] == {
        "requests": {"cpu": "200m", "memory": "128Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }
