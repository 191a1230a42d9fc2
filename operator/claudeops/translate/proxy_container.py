"""The proxy's container and volumes in a pod."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from claudeops.api.workload import Credentials
from claudeops.exchange import TOKEN_AUDIENCE
from claudeops.translate.naming import CONFIG_KEY, CONTAINER_NAME, config_map_name

Json = dict[str, Any]

USER_ID: Final = 65532
ADMIN_PORT: Final = 4142
VOLUME_NAMES: Final = frozenset({"claudeops-config", "claudeops-key", "claudeops-identity", "claudeops-token"})
_CONFIG_FOLDER: Final = "/etc/claudeops/config"
_KEY_FOLDER: Final = "/etc/claudeops/key"
_EXCHANGE_FOLDER: Final = "/var/run/secrets/claudeops"
_IDENTITY_FOLDER: Final = "/var/run/secrets/claudeops-identity"
_KEY_FILE: Final = "api-key"
PROXY_LOGIN_KEY: Final = "proxy-credentials"
"""Key of the workload's Secret with user:password of ``upstream.proxyUrl``; most have none."""
_PROJECTED_FILE: Final = "token"
_READ_ONLY_MODE: Final = 0o444
_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_OVERRIDES: Final = {
    "claudeops.dev/proxy-cpu": ("requests", "cpu"),
    "claudeops.dev/proxy-memory": ("requests", "memory"),
    "claudeops.dev/proxy-cpu-limit": ("limits", "cpu"),
    "claudeops.dev/proxy-memory-limit": ("limits", "memory"),
}


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """What every injected proxy is made of. ``guaranteed_cpu``: request and limit in a pod of QoS class Guaranteed."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    cpu_request: str = "20m"
    memory_request: str = "64Mi"
    memory_limit: str = "256Mi"
    guaranteed_cpu: str = "250m"
    token_expiration_s: int = 3600


def build_container(settings: InjectionSettings, resources: Json, credentials: Credentials) -> Json:
    """The native sidecar, fit for Pod Security "restricted". Nothing but it mounts what proves who it is."""
    name, folder = ("claudeops-key", _KEY_FOLDER) if credentials.federation is None else ("claudeops-identity", _IDENTITY_FOLDER)
    return {
        "name": CONTAINER_NAME,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "args": ["sidecar"],
        "env": _environment(credentials),
        "ports": [{"name": "claudeops-admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}],
        "startupProbe": _probe("/readyz", period_s=1, failures=120),
        "readinessProbe": _probe("/readyz", period_s=5, failures=3),
        "livenessProbe": _probe("/healthz", period_s=10, failures=3),
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "claudeops-config", "mountPath": _CONFIG_FOLDER, "readOnly": True},
            {"name": name, "mountPath": folder, "readOnly": True},
            {"name": "claudeops-token", "mountPath": _EXCHANGE_FOLDER, "readOnly": True},
        ],
    }


def build_volumes(workload: str, credentials: Credentials, settings: InjectionSettings) -> list[Json]:
    """Config, key or identity, and token. What is in the Secret is optional: without a key the proxy starts
    and says so, and picks it up when it comes."""
    config = {"name": config_map_name(workload), "items": [{"key": CONFIG_KEY, "path": CONFIG_KEY}]}
    return [
        {"name": "claudeops-config", "configMap": config},
        *_build_credentials(credentials, settings),
        _build_token("claudeops-token", TOKEN_AUDIENCE, settings),
    ]


def _build_credentials(credentials: Credentials, settings: InjectionSettings) -> list[Json]:
    key, federation = credentials.secret_ref, credentials.federation
    if federation is not None:
        return [_build_token("claudeops-identity", federation.audience, settings)]
    assert key is not None, "the rule of Credentials"
    secret = {
        "secretName": key.name,
        "items": [{"key": key.key, "path": _KEY_FILE}, {"key": PROXY_LOGIN_KEY, "path": PROXY_LOGIN_KEY}],
        "defaultMode": _READ_ONLY_MODE,
        "optional": True,
    }
    return [{"name": "claudeops-key", "secret": secret}]


def _build_token(volume: str, audience: str, settings: InjectionSettings) -> Json:
    """A token of the pod's ServiceAccount that kubelet renews."""
    token = {"audience": audience, "expirationSeconds": settings.token_expiration_s, "path": _PROJECTED_FILE}
    return {"name": volume, "projected": {"sources": [{"serviceAccountToken": token}]}}


def build_resources(pod: Mapping[str, Any], settings: InjectionSettings) -> Json | str:
    """The proxy's resources, or a sentence about an annotation that is no quantity.

    In a pod whose containers all have equal requests and limits, the proxy has them too, so that the pod keeps its QoS class.
    """
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    limits = {"memory": settings.memory_limit}
    if _is_guaranteed(pod):
        requests = {"cpu": settings.guaranteed_cpu, "memory": settings.memory_limit}
        limits = dict(requests)
    resources: Json = {"requests": requests, "limits": limits}
    for annotation, (part, name) in _OVERRIDES.items():
        value = (pod.get("metadata", {}).get("annotations") or {}).get(annotation)
        if value is None:
            continue
        if not _QUANTITY.fullmatch(value):
            return f'the annotation {annotation} is "{value}": write a quantity, such as "100m" for a CPU or "128Mi" for memory'
        resources[part][name] = value
    return resources


def _is_guaranteed(pod: Mapping[str, Any]) -> bool:
    containers = [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]
    return all(_is_container_guaranteed(container.get("resources") or {}) for container in containers)


def _is_container_guaranteed(resources: Mapping[str, Any]) -> bool:
    """Limits of both kinds, and requests equal to them; absent requests default to the limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(name in limits and requests.get(name, limits[name]) == limits[name] for name in ("cpu", "memory"))


def _environment(credentials: Credentials) -> list[Json]:
    settings = {
        "CLAUDEOPS_CONFIG": f"{_CONFIG_FOLDER}/{CONFIG_KEY}",
        **_credentials_file(credentials),
        "CLAUDEOPS_TOKEN_FILE": f"{_EXCHANGE_FOLDER}/{_PROJECTED_FILE}",
        "CLAUDEOPS_LISTEN": "127.0.0.1:4141",
        "CLAUDEOPS_ADMIN": f"0.0.0.0:{ADMIN_PORT}",
        "CLAUDEOPS_STATE": "127.0.0.1:4143",
    }
    instance = {"name": "CLAUDEOPS_INSTANCE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}
    return [instance, *({"name": name, "value": value} for name, value in settings.items())]


def _credentials_file(credentials: Credentials) -> dict[str, str]:
    if credentials.federation is not None:
        return {"CLAUDEOPS_IDENTITY_FILE": f"{_IDENTITY_FOLDER}/{_PROJECTED_FILE}"}
    return {"CLAUDEOPS_KEY_FILE": f"{_KEY_FOLDER}/{_KEY_FILE}", "CLAUDEOPS_PROXY_LOGIN_FILE": f"{_KEY_FOLDER}/{PROXY_LOGIN_KEY}"}


def _probe(path: str, *, period_s: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": 1 if period_s == 1 else 3,
        "failureThreshold": failures,
    }
