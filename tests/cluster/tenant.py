"""What a team writes for its workload, as the cluster tests apply it."""

import json
from dataclasses import dataclass
from typing import Any

from tests.cluster.kubernetes import Cluster

SIMULATOR = "http://simulator.claude-simulator.svc:8080"
SLEEP = "import signal; signal.pause()"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "claudeops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@dataclass(frozen=True)
class Tenant:
    """One namespace, and cluster-scoped objects that carry its name."""

    cluster: Cluster
    namespace: str

    def apply(self, *items: dict[str, Any]) -> None:
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}), namespace=self.namespace)

    def quota(self, **spec: Any) -> dict[str, Any]:
        allowed = {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
        upstream = {"baseUrl": SIMULATOR, "allowPlaintext": True}
        return manifest("ClaudeQuota", self.namespace, {"tier": "Build", "allowedNamespaces": allowed, "upstream": upstream, **spec})

    def profile(self, **spec: Any) -> dict[str, Any]:
        return manifest("SamplingProfile", self.namespace, {"temperature": {"default": 0.3, "max": 0.5}, **spec})

    def workload(self, name: str = "bot", **spec: Any) -> dict[str, Any]:
        rest = {
            "quotaRef": {"name": self.namespace},
            "credentials": {"secretRef": {"name": "claude-key", "key": "api-key"}},
            "model": {"name": "claude-sonnet-4-6"},
            "sampling": {"profileRef": {"name": self.namespace}},
        }
        return manifest("ClaudeWorkload", name, {**rest, **spec})

    def secret(self) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "claude-key"}, "stringData": {"api-key": "sk-ant-sim-tests"}}

    def deployment(self, name: str = "bot", *, workload: str = "bot", replicas: int = 1) -> dict[str, Any]:
        """An application that does nothing, with the label and nothing else of ours."""
        container = {"name": "app", "image": "claudeops-example:dev", "args": ["-c", SLEEP], "securityContext": RESTRICTED}
        template = {
            "metadata": {"labels": {"app": name, "claudeops.dev/workload": workload}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}

    def status(self, name: str = "bot") -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get_json("claudeworkload", name, namespace=self.namespace).get("status", {})
        return found

    def condition(self, kind: str, name: str = "bot") -> dict[str, Any]:
        return next((entry for entry in self.status(name).get("conditions", []) if entry["type"] == kind), {})

    def wait_ready(self, reason: str, name: str = "bot", *, timeout_s: float = 40.0) -> dict[str, Any]:
        """Until Ready carries the reason; the condition."""

        def look() -> dict[str, Any] | None:
            found = self.condition("Ready", name)
            return found if found.get("reason") == reason else None

        return self.cluster.wait_for(look, timeout_s, what=f"Ready with the reason {reason}")

    def events(self, reason: str) -> list[dict[str, Any]]:
        """The namespace's events of one reason."""
        words = ("events", f"--field-selector=reason={reason}")
        found: list[dict[str, Any]] = self.cluster.get_json(*words, namespace=self.namespace)["items"]
        return found

    def config(self, name: str = "bot") -> dict[str, Any]:
        """The document in the ConfigMap."""
        found = self.cluster.get_json("configmap", f"{name}-claudeops", namespace=self.namespace)
        document: dict[str, Any] = json.loads(found["data"]["proxy.json"])
        return document

    def proxy_state(self, name: str = "bot") -> dict[str, Any]:
        """What the proxy of the first pod says of itself, asked from the application's container once that runs."""
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:4143/state', timeout=2).read().decode())"
        words = ("exec", f"deploy/{name}", "-c", "app", "-n", self.namespace, "--", "python3", "-c", ask)
        said = self.cluster.wait_for(lambda: self.cluster.kubectl(*words), what="the proxy's state")
        state: dict[str, Any] = json.loads(said)
        return state
