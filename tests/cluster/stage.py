"""The stage of the fault tests: a namespace with a simulator of its own and three applications under load, shared by all of them."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.kubernetes import Cluster
from tests.cluster.tenant import RESTRICTED, Tenant

from claudeops.simulator.config import Account

NAMESPACE = "t-faults"
GROUP = "sonnet-4.x"
KEYS = {"ours": "sk-ant-sim-faults-7f3a91c2", "theirs": "sk-ant-sim-strange-52bd08e4"}
"""Organisation → key."""
LIMITS = {"requestsPerMinute": 12_000, "inputTokensPerMinute": 12_000_000, "outputTokensPerMinute": 1_200_000}
GUARANTEES = {
    "bot": {"requestsPerMinute": 600, "inputTokensPerMinute": 300_000, "outputTokensPerMinute": 60_000},
    "streamer": {"requestsPerMinute": 3000, "inputTokensPerMinute": 1_500_000, "outputTokensPerMinute": 300_000},
    "stranger": {"requestsPerMinute": 60, "inputTokensPerMinute": 60_000, "outputTokensPerMinute": 6_000},
}
QUEUE = {"maxWait": "2s", "maxLength": 50}


class Traffic:
    """One application, told over HTTP what to do. Works while the API server is away."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"

    def tell(self, path: str, *, timeout_s: float = 70.0, **words: Any) -> dict[str, Any]:
        """What the application answers. Raises OSError while it cannot."""
        request = urllib.request.Request(self._url + path, data=json.dumps(words).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            said: dict[str, Any] = json.loads(answer.read())
        return said

    def look(self, path: str) -> Any:
        """JSON from a path that only shows."""
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return json.loads(answer.read())

    def load(self, per_second: float) -> None:
        self.tell("/load", perSecond=per_second)

    def counts(self) -> dict[str, Any]:
        return self.tell("/counts")

    def outcomes(self) -> dict[str, int]:
        found: dict[str, int] = self.counts()["outcomes"]
        return found

    def failures(self) -> dict[str, int]:
        """Everything that was neither asked nor answered well."""
        return {name: count for name, count in self.outcomes().items() if name not in {"asked", "ok"}}

    def state(self) -> dict[str, Any]:
        """What the proxy beside it says of itself; empty while it does not."""
        try:
            return self.tell("/state")
        except urllib.error.HTTPError:
            return {}


@dataclass(frozen=True)
class Stage:
    """The namespace, and everything in it by name."""

    tenant: Tenant

    @property
    def cluster(self) -> Cluster:
        return self.tenant.cluster

    def pod(self, name: str) -> str:
        """The name of the application's one pod that is not being deleted and is ready."""

        def find() -> str | None:
            items = self.cluster.get_json("pods", "-l", f"app={name}", namespace=NAMESPACE)["items"]
            ready = [item["metadata"]["name"] for item in items if _is_ready(item)]
            return ready[0] if len(ready) == len(items) == 1 else None

        return self.cluster.wait_for(find, 40, what=f"one ready pod of {name}")

    @contextlib.contextmanager
    def traffic(self, name: str) -> Iterator[Traffic]:
        """The application, with its counts at zero; it asks nothing any more in the end."""
        with self.cluster.reach(NAMESPACE, f"pod/{self.pod(name)}:8080") as address:
            traffic = Traffic(address)
            self.cluster.wait_for(lambda: _is_up(traffic), what=f"{name} reachable")
            traffic.tell("/forget")
            try:
                yield traffic
            finally:
                with contextlib.suppress(OSError):  # the pod may be gone, and its address then answers nothing at all
                    traffic.tell("/load", timeout_s=2.0, perSecond=0)

    def wait_served(self, traffic: Traffic, more: int, *, timeout_s: float = 20.0) -> None:
        """Until so many further requests were answered well."""
        before = traffic.outcomes().get("ok", 0)
        try:
            self.cluster.wait_for(lambda: traffic.outcomes().get("ok", 0) >= before + more, timeout_s, what=f"{more} more good answers")
        except AssertionError as error:
            raise AssertionError(f"{error}; it got {traffic.counts()} from {traffic.state()}") from error

    def wait_idle(self, traffic: Traffic, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Until nothing runs any more; the counts."""
        traffic.load(0)
        return self.cluster.wait_for(lambda: counts if not (counts := traffic.counts())["running"] else None, timeout_s, what="silence")

    def wait_phase(self, traffic: Traffic, phase: str, *, timeout_s: float = 30.0) -> None:
        """Until the proxy's leases are in this phase."""
        self.cluster.wait_for(lambda: traffic.state().get("leaseState") == phase, timeout_s, what=f"the lease {phase}")

    def scale(self, name: str, replicas: int, *, namespace: str = NAMESPACE) -> None:
        """Scales a Deployment and waits until it is so."""
        self.cluster.kubectl("-n", namespace, "scale", f"deployment/{name}", f"--replicas={replicas}")

        def is_so() -> bool:
            deployment = self.cluster.get_json("deployment", name, namespace=namespace)
            selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
            pods = self.cluster.get_json("pods", "-l", selector, namespace=namespace)["items"]
            return len(pods) == replicas and all(_is_ready(pod) for pod in pods)

        self.cluster.wait_for(is_so, 60, what=f"{replicas} pods of {name}")

    @contextlib.contextmanager
    def absent(self, name: str, *, namespace: str = NAMESPACE) -> Iterator[None]:
        """While in the block the Deployment has no pods; it has as many as before afterwards."""
        replicas = self.cluster.get_json("deployment", name, namespace=namespace)["spec"]["replicas"]
        self.scale(name, 0, namespace=namespace)
        try:
            yield
        finally:
            self.scale(name, replicas, namespace=namespace)


@contextlib.contextmanager
def staged(cluster: Cluster) -> Iterator[Stage]:
    """Everything applied and ready, and removed in the end."""
    cluster.delete("claudequota,samplingprofile", NAMESPACE)
    with cluster.namespace(NAMESPACE, labels={"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        stage = Stage(Tenant(cluster, namespace))
        stage.tenant.apply(*_platform(stage.tenant), *_simulator())
        for name in GUARANTEES:
            stage.tenant.wait_ready("NoProxies", name)
        stage.tenant.apply(*(application(name) for name in GUARANTEES))
        try:
            for name in GUARANTEES:
                stage.tenant.wait_ready("Converged", name)
            yield stage
        finally:
            cluster.delete("claudequota,samplingprofile", NAMESPACE)


def workload(tenant: Tenant, name: str, **spec: Any) -> dict[str, Any]:
    """A workload of the stage's quota."""
    organization = "theirs" if name == "stranger" else "ours"
    return tenant.workload(
        name,
        credentials={"secretRef": {"name": "claude-keys", "key": organization}},
        limits={"guaranteed": GUARANTEES.get(name, {}), "queue": QUEUE},
        resilience={
            "retry": {"maxAttempts": 2, "initialBackoff": "100ms"},
            "breaker": {"minimumRequests": 5, "window": "10s", "openFor": "3s"},
        },
        **spec,
    )


def _platform(tenant: Tenant) -> list[dict[str, Any]]:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "claude-keys"}, "stringData": KEYS}
    script = (Path(__file__).parent / "traffic_app.py").read_text()
    app = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "traffic"}, "data": {"traffic_app.py": script}}
    quota = tenant.quota(
        tier="Custom",
        limits=[{"group": GROUP, **LIMITS}],
        maxGuaranteedPercent=100,
        organizationId=Account("ours").organization_id,
        upstream={"baseUrl": f"http://simulator.{NAMESPACE}.svc:8080", "allowPlaintext": True},
    )
    return [quota, tenant.profile(), secret, app, *(workload(tenant, name) for name in GUARANTEES)]


def _simulator() -> list[dict[str, Any]]:
    """Two organisations. The keys come from the Secret, so that no pod's spec shows them."""
    limits = f"{GROUP}={LIMITS['requestsPerMinute']},{LIMITS['inputTokensPerMinute']},{LIMITS['outputTokensPerMinute']}"
    keys = [{"name": name.upper(), "valueFrom": {"secretKeyRef": {"name": "claude-keys", "key": name}}} for name in KEYS]
    container = {
        "name": "simulator",
        "image": "claudeops-controller:dev",
        "args": [
            *("simulate", "--host=0.0.0.0", "--port=8080", "--tier=none", f"--limit={limits}", "--seed=7"),
            *("--output-median=1000", "--output-sigma=0.1", "--ttft-s=0.2", "--tokens-per-s=50"),
            *(f"--key=$({name.upper()})={name}" for name in KEYS),
        ],
        "env": keys,
        "readinessProbe": {"httpGet": {"path": "/_sim/healthz", "port": 8080}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
    }
    service = {"selector": {"app": "simulator"}, "ports": [{"port": 8080}]}
    return [
        _deployment("simulator", {}, [container], grace_s=1),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "simulator"}, "spec": service},
    ]


def application(name: str) -> dict[str, Any]:
    """The Deployment of a workload's traffic application."""
    container = {
        "name": "app",
        "image": "claudeops-example:dev",
        "command": ["python3", "/app/traffic_app.py"],
        "env": [{"name": "PYTHONPATH", "value": "/sdk/2.12"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
    }
    return _deployment(name, {"claudeops.dev/workload": name}, [container], grace_s=30)


def _deployment(name: str, labels: dict[str, str], containers: list[dict[str, Any]], *, grace_s: int) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name, **labels}},
        "spec": {
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": grace_s,
            "containers": containers,
            "volumes": [{"name": "app", "configMap": {"name": "traffic"}}],
        },
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    is_ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def _is_up(traffic: Traffic) -> bool:
    try:
        return bool(traffic.counts())
    except OSError:
        return False
