"""The CRDs in a real API server: they install, every rule refuses its bad example in its own words, and the subresources work."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.kubernetes import Cluster
from tests.unit.api.objects import CASES, FULL, SMALLEST, Case, changed

pytestmark = pytest.mark.cluster

CRDS = Path(__file__).parents[2] / "crds"
PLURALS = {"ClaudeWorkload": "claudeworkloads", "ClaudeQuota": "claudequotas", "SamplingProfile": "samplingprofiles"}
NAMESPACE = "crd-tests"
Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the API server says to one request."""

    status: int
    body: Json

    @property
    def causes(self) -> set[tuple[str, str]]:
        """Field and message of everything that is wrong with the object."""
        return {(cause["field"], cause["message"]) for cause in self.body.get("details", {}).get("causes", ())}


@dataclass(frozen=True)
class Server:
    """The API server over plain HTTP, by `kubectl proxy`."""

    url: str

    def send(self, method: str, path: str, body: Json | None = None, *, content_type: str = "application/json") -> Answer:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"content-type": content_type}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))

    def try_create(self, body: Json) -> Answer:
        """Creates the object for the validation alone; nothing is stored."""
        return self.send("POST", f"{collection(body['kind'])}?dryRun=All&fieldValidation=Strict", {**body, "metadata": _placed(body)})


def collection(kind: str) -> str:
    """The path of all objects of a kind that the tests may make."""
    place = f"/namespaces/{NAMESPACE}" if kind == "ClaudeWorkload" else ""
    return f"/apis/claudeops.dev/v1alpha1{place}/{PLURALS[kind]}"


def _placed(body: Json) -> Json:
    """Where it cannot meet an object of another test."""
    name = body["metadata"]["name"]
    return {"name": name, "namespace": NAMESPACE} if body["kind"] == "ClaudeWorkload" else {"name": f"{NAMESPACE}-{name}"}


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Server]:
    """The API server with our CRDs, established, and a namespace."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    names = [f"crd/{plural}.claudeops.dev" for plural in PLURALS.values()]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_no_controller(cluster))
        stack.enter_context(cluster.namespace(NAMESPACE))
        proxy = stack.enter_context(subprocess.Popen(cluster.command("proxy", "--port=0"), stdout=subprocess.PIPE, text=True))
        stack.callback(proxy.terminate)
        assert proxy.stdout is not None
        found = re.search(r"127\.0\.0\.1:\d+", proxy.stdout.readline())
        assert found is not None
        yield Server(f"http://{found.group()}")


@contextlib.contextmanager
def _no_controller(cluster: Cluster) -> Iterator[None]:
    """While another test's controller would write the status of what these tests store, it rests."""
    deployment = ("-n", "claudeops-system", "deployment/claudeops-controller")
    replicas = cluster.kubectl("get", *deployment, "--ignore-not-found", "-o", "jsonpath={.spec.replicas}")
    if not int(replicas or 0):
        yield
        return
    cluster.kubectl("scale", *deployment, "--replicas=0")
    pods = ("-n", "claudeops-system", "-l", "app.kubernetes.io/name=claudeops-controller")
    cluster.kubectl("wait", "--for=delete", "pod", *pods, "--timeout=60s", timeout_s=70)
    try:
        yield
    finally:
        cluster.kubectl("scale", *deployment, f"--replicas={replicas}")
        cluster.kubectl("rollout", "status", *deployment, "--timeout=60s", timeout_s=70)


@pytest.mark.parametrize("plural", sorted(PLURALS.values()))
def test_the_api_server_finds_nothing_wrong_with_a_crd(server: Server, plural: str) -> None:
    answer = server.send("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.claudeops.dev")
    conditions = {condition["type"]: condition["status"] for condition in answer.body["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_object_is_refused_with_path_and_what_to_write_instead(server: Server, case: Case) -> None:
    answer = server.try_create(changed(case.kind, case.bad))
    assert answer.status == 422, answer.body
    assert case.path in {field for field, message in answer.causes if case.message in message}, answer.causes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_good_neighbour_of_a_bad_object_is_accepted(server: Server, case: Case) -> None:
    answer = server.try_create(changed(case.kind, case.good))
    assert answer.status == 201, answer.body.get("message")


@pytest.mark.parametrize("objects", [SMALLEST, FULL], ids=["smallest", "full"])
@pytest.mark.parametrize("kind", sorted(SMALLEST))
def test_a_good_object_is_stored_as_written(server: Server, kind: str, objects: dict[str, Json]) -> None:
    answer = server.try_create(objects[kind])
    assert answer.status == 201, answer.body.get("message")
    stored = answer.body["spec"]
    assert {name: stored[name] for name in objects[kind]["spec"]} == objects[kind]["spec"]


def test_a_misspelt_field_is_named(server: Server) -> None:
    answer = server.try_create(changed("ClaudeWorkload", {"spec.limits": {"wieght": 3}}))
    assert answer.status == 400
    assert 'unknown field "spec.limits.wieght"' in answer.body["message"]


def test_two_items_of_one_key_are_refused(server: Server) -> None:
    item = {"group": "sonnet-5.5", "requestsPerMinute": 1}
    answer = server.try_create(changed("ClaudeQuota", {"spec.limits": [item, item]}))
    assert answer.status == 422
    assert {field for field, message in answer.causes if "Duplicate value" in message} == {"spec.limits[1]"}


def test_only_the_stated_defaults_are_stored(server: Server) -> None:
    assert server.try_create(SMALLEST["ClaudeWorkload"]).body["spec"] == {**SMALLEST["ClaudeWorkload"]["spec"], "replicas": 1}
    assert server.try_create(SMALLEST["ClaudeQuota"]).body["spec"] == {
        "tier": "Build",
        "learnFromHeaders": True,
        "maxGuaranteedPercent": 25,
        "reservePercent": 0,
    }


@pytest.fixture
def workload(server: Server) -> Iterator[str]:
    """The path of a stored workload."""
    body = changed("ClaudeWorkload", {"metadata.name": "stored"})
    path = f"{collection('ClaudeWorkload')}/stored"
    assert server.send("POST", collection("ClaudeWorkload"), {**body, "metadata": _placed(body)}).status == 201
    yield path
    server.send("DELETE", path)


def test_an_object_that_no_operator_has_seen_says_so(server: Server, workload: str) -> None:
    assert server.send("GET", workload).body["status"] == {"observedGeneration": -1}


def test_status_is_written_apart_from_the_spec(server: Server, workload: str) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Converged", "message": "", "lastTransitionTime": "2026-11-22T10:00:00Z"}
    status = {
        "observedGeneration": 1,
        "conditions": [condition],
        "effective": {"model": "claude-haiku-5-5", "tier": "Fallback", "resilience": {"retry": {"maxAttempts": 4}}},
        "grant": {"requestsPerMinute": 480},
        "observed": {"throttledPerMinute": 2, "queueWaitP95": "120ms"},
        "slos": [{"indicator": "Latency", "met": True, "currentPercent": 97.1, "burnRate": 0.6}],
        "breakers": [{"model": "claude-sonnet-5-5", "state": "Open", "since": "2026-11-22T10:00:00Z", "openProxies": 3}],
        "proxies": {"expected": 3, "connected": 3, "converged": 3},
        "selector": "claudeops.dev/workload=stored",
        "replicas": 3,
    }
    patch = {"spec": {"replicas": 9}, "status": status}
    answer = server.send("PATCH", f"{workload}/status", patch, content_type="application/merge-patch+json")
    assert answer.status == 200, answer.body
    assert answer.body["status"] == {**status, "proxies": status["proxies"]}
    assert answer.body["spec"]["replicas"] == 1
    assert answer.body["metadata"]["generation"] == 1


def test_scale_reads_and_writes_replicas(server: Server, workload: str) -> None:
    server.send("PATCH", f"{workload}/status", {"status": {"replicas": 2, "selector": "a=b"}}, content_type="application/merge-patch+json")
    answer = server.send("PATCH", f"{workload}/scale", {"spec": {"replicas": 5}}, content_type="application/merge-patch+json")
    assert answer.status == 200, answer.body
    assert answer.body["spec"] == {"replicas": 5}
    assert answer.body["status"] == {"replicas": 2, "selector": "a=b"}
    assert server.send("GET", workload).body["spec"]["replicas"] == 5


def test_a_workload_is_found_by_model(server: Server, workload: str) -> None:
    def names(model: str) -> list[str]:
        found = server.send("GET", f"{collection('ClaudeWorkload')}?fieldSelector=spec.model.name%3D{model}")
        return [item["metadata"]["name"] for item in found.body["items"]]

    assert names("claude-sonnet-5-5") == ["stored"]
    assert names("claude-haiku-5-5") == []


def test_kubectl_shows_the_columns_by_short_name_and_category(cluster: Cluster, workload: str) -> None:
    assert workload
    head, row = cluster.kubectl("get", "cw", "-n", NAMESPACE).splitlines()
    assert head.split() == ["NAME", "MODEL", "TIER", "READY", "RPM", "429/MIN", "REPLICAS", "AGE"]
    assert row.startswith("stored")
    assert "stored" in cluster.kubectl("get", "claude", "-n", NAMESPACE)
    assert "placement Sidecar" in cluster.kubectl("explain", "cw.spec.credentials")
