"""Pods as people write them, for the injector's tests here and against a real API server."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_EQUAL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}


def pod(*containers: Json, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    """A pod of the workload support-bot."""
    metadata: Json = {"name": "support-bot-1", "labels": {"app": "support-bot", "claudeops.dev/workload": "support-bot"}}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": list(containers) or [container()], **spec}}


def container(name: str = "app", **fields: Any) -> Json:
    """A container that the Pod Security level "restricted" admits."""
    return {"name": name, "image": "registry.example.com/app:1", "securityContext": _RESTRICTED, **fields}


def literal(name: str, value: str) -> Json:
    """One entry of `env`."""
    return {"name": name, "value": value}


def from_secret(name: str) -> Json:
    """One entry of `env` whose value is elsewhere."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "key"}}}


GOLDEN_PODS: dict[str, Json] = {
    "plain": pod(),
    "own-key": pod(
        container(
            env=[
                literal("MODE", "fast"),
                from_secret("ANTHROPIC_API_KEY"),
                literal("ANTHROPIC_AUTH_TOKEN", "theirs"),
                literal("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
            ]
        ),
        container("metrics"),
        annotations={"team": "shop"},
    ),
    "corporate-proxy": pod(
        container(env=[literal("HTTPS_PROXY", "http://proxy:3128"), literal("NO_PROXY", "10.0.0.0/8, .cluster.local")]),
        container("old", env=[literal("http_proxy", "http://proxy:3128"), from_secret("no_proxy")]),
        container("bare", env=[literal("ALL_PROXY", "socks5://proxy:1080")]),
    ),
    "init-containers-and-volumes": pod(
        container(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        initContainers=[container("migrate"), container("log-shipper", restartPolicy="Always")],
        volumes=[{"name": "data", "emptyDir": {}}],
    ),
    "guaranteed": pod(container(resources=_EQUAL), container("other", resources={"limits": _EQUAL["limits"]})),
    "sized-by-annotation": pod(
        annotations={
            "claudeops.dev/proxy-cpu": "200m",
            "claudeops.dev/proxy-memory": "128Mi",
            "claudeops.dev/proxy-cpu-limit": "1",
            "claudeops.dev/proxy-memory-limit": "512Mi",
        }
    ),
}
