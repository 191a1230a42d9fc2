"""The local cluster is a real one: what the product relies on works in it."""

import json
import urllib.request

import pytest
from tests.cluster.kubernetes import Cluster, KubectlError

pytestmark = pytest.mark.cluster

SERVE = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8080)"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(name: str, code: str, **extra: object) -> dict[str, object]:
    return {"name": name, "image": "claudeops-example:dev", "args": ["-c", code], "securityContext": RESTRICTED, **extra}


def pod(name: str, **spec: object) -> str:
    metadata = {"name": name, "labels": {"app": name}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"terminationGracePeriodSeconds": 1, **spec}})


def wait_for_phase(cluster: Cluster, namespace: str, name: str, *, phase: str) -> None:
    cluster.wait_for(lambda: cluster.get_json("pod", name, namespace=namespace)["status"]["phase"] == phase, what=f"{name} {phase}")


def test_a_service_answers_from_a_pod_by_name_and_from_this_machine(cluster: Cluster) -> None:
    with cluster.namespace("t-local-service") as namespace:
        cluster.apply(pod("web", containers=[container("web", SERVE)]), namespace=namespace)
        cluster.kubectl("expose", "pod", "web", "--name=site", "--port=80", "--target-port=8080", "-n", namespace)
        cluster.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=30s", "-n", namespace)
        ask = "import urllib.request as u; print(u.urlopen('http://site', timeout=2).status)"
        words = ("exec", "web", "-n", namespace, "--", "python3", "-c", ask)
        said = cluster.wait_for(lambda: cluster.kubectl(*words), what="an answer by name")
        assert said.strip() == "200"
        with cluster.reach(namespace, "svc/site:80") as address, urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
            assert answer.status == 200


def test_a_native_sidecar_starts_before_the_application(cluster: Cluster) -> None:
    first = container("first", SERVE, restartPolicy="Always", startupProbe={"httpGet": {"port": 8080}, "periodSeconds": 1})
    app = container("app", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080', timeout=2).status)")
    with cluster.namespace("t-local-sidecar", labels={"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        cluster.apply(pod("both", initContainers=[first], containers=[app], restartPolicy="Never"), namespace=namespace)
        wait_for_phase(cluster, namespace, "both", phase="Succeeded")
        assert cluster.kubectl("logs", "both", "-c", "app", "-n", namespace).strip() == "200"


def test_restricted_pod_security_refuses_a_root_container(cluster: Cluster) -> None:
    manifest = pod("root", containers=[{"name": "root", "image": "claudeops-example:dev"}])
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with cluster.namespace("t-local-psa", labels=labels) as namespace, pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.apply(manifest, namespace=namespace)


def test_a_projected_token_carries_its_audience_and_is_reviewed(cluster: Cluster) -> None:
    with cluster.namespace("t-local-token") as namespace:
        token = cluster.kubectl("create", "token", "default", "--audience=ours", "-n", namespace).strip()
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": ["ours"]}}
        reviewed = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)))
        assert reviewed["status"]["authenticated"] is True
        assert reviewed["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:default"


def test_no_packet_leaves_the_box(cluster: Cluster) -> None:
    if cluster.layout is None:
        pytest.skip("a cluster of your own may have a way out")
    with cluster.namespace("t-local-out") as namespace:
        code = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
        cluster.apply(pod("out", containers=[container("out", code)], restartPolicy="Never"), namespace=namespace)
        wait_for_phase(cluster, namespace, "out", phase="Failed")
        assert "Network is unreachable" in cluster.kubectl("logs", "out", "-n", namespace)


def test_the_sidecar_image_holds_no_control_plane(cluster: Cluster) -> None:
    modules = ["kopf", "kubernetes", "pydantic", "yaml", "msgspec", "claudeops"]
    code = f"import importlib.util as u; print([m for m in {modules} if u.find_spec(m)])"
    spec = {"name": "look", "image": "claudeops-sidecar:dev", "command": ["python3", "-c", code], "securityContext": RESTRICTED}
    with cluster.namespace("t-local-image") as namespace:
        cluster.apply(pod("look", containers=[spec], restartPolicy="Never"), namespace=namespace)
        wait_for_phase(cluster, namespace, "look", phase="Succeeded")
        assert cluster.kubectl("logs", "look", "-n", namespace).strip() == "['msgspec', 'claudeops']"


@pytest.mark.parametrize("version, directory", [("0.125.0", "0.125"), ("2.12.0", "2.12")])
def test_the_example_image_holds_both_sdks(cluster: Cluster, version: str, directory: str) -> None:
    spec = container("look", "import anthropic; print(anthropic.__version__)", env=[{"name": "PYTHONPATH", "value": f"/sdk/{directory}"}])
    with cluster.namespace(f"t-local-sdk-{directory.replace('.', '-')}") as namespace:
        cluster.apply(pod("look", containers=[spec], restartPolicy="Never"), namespace=namespace)
        wait_for_phase(cluster, namespace, "look", phase="Succeeded")
        assert cluster.kubectl("logs", "look", "-n", namespace).strip() == version
