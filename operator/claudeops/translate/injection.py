"""A pod of a workload, as it is admitted: the proxy first among its native sidecars, and every container pointed at it.

Pure: the admission review goes in as parsed JSON, a JSON patch (RFC 6902) comes out. An injected pod comes out unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from claudeops.api import ClaudeWorkload
from claudeops.translate.environment import rewrite_environment
from claudeops.translate.naming import CONTAINER_NAME, WORKLOAD_LABEL
from claudeops.translate.proxy_container import (
    VOLUME_NAMES,
    InjectionSettings,
    build_container,
    build_resources,
    build_volumes,
)

Json: TypeAlias = dict[str, Any]

INJECTED_ANNOTATION: Final = "claudeops.dev/injected"
"""On an injected pod: the image of its proxy."""
REPLACED_ANNOTATION: Final = "claudeops.dev/replaced-env"
"""On an injected pod: what its containers had said themselves and what was replaced or left out, as container/NAME."""


@dataclass(frozen=True, slots=True)
class Patched:
    """Admit the pod with this JSON patch."""

    json_patch: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Admit the pod as it is."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Do not admit the pod; ``message`` says why and what to do."""

    message: str


def inject_pod(
    pod: Mapping[str, Any], *, namespace: str, workload: ClaudeWorkload | None, settings: InjectionSettings
) -> Patched | Unchanged | Denied:
    """What becomes of a pod that carries the workload label. ``namespace`` is the review's; a pod's own may still be empty.

    ``workload`` is the one that the label names, None when there is none.
    """
    name = _workload_name(pod)
    if not name or _is_injected(pod):
        return Unchanged()
    if workload is None:
        return Denied(f"ClaudeWorkload {namespace}/{name} does not exist: create it, or remove the label")
    reason = _reason_to_deny(pod)
    if reason:
        return Denied(reason)
    credentials = workload.spec.credentials
    if credentials is None:
        return Denied(f"ClaudeWorkload {namespace}/{name} names no credentials: write its spec.credentials.secretRef or federation")
    resources = build_resources(pod, settings)
    if isinstance(resources, str):
        return Denied(resources)
    replaced: list[str] = []
    operations = [
        *_environment_operations(pod, replaced),
        *_insert(pod, "initContainers", [build_container(settings, resources, credentials)], is_first=True),
        *_insert(pod, "volumes", build_volumes(name, credentials, settings)),
    ]
    annotations = {INJECTED_ANNOTATION: settings.image}
    if replaced:
        annotations[REPLACED_ANNOTATION] = ",".join(replaced)
    return Patched((*operations, *_annotation_operations(pod, annotations)))


def _workload_name(pod: Mapping[str, Any]) -> str:
    name: str = ((pod.get("metadata") or {}).get("labels") or {}).get(WORKLOAD_LABEL, "")
    return name


def _is_injected(pod: Mapping[str, Any]) -> bool:
    return any(container.get("name") == CONTAINER_NAME for container in pod["spec"].get("initContainers") or ())


def _reason_to_deny(pod: Mapping[str, Any]) -> str:
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return (
            "hostNetwork: true shares 127.0.0.1 with every pod of the node, so the proxy would serve them all: "
            f"remove hostNetwork, or the label {WORKLOAD_LABEL}"
        )
    if spec.get("shareProcessNamespace"):
        return (
            "shareProcessNamespace: true would let the application read the proxy's API key: "
            f"remove shareProcessNamespace, or the label {WORKLOAD_LABEL}"
        )
    if any(container.get("name") == CONTAINER_NAME for container in spec.get("containers", ())):
        return f"the container name {CONTAINER_NAME} is taken by the proxy: rename the container"
    taken = VOLUME_NAMES & {volume.get("name") for volume in spec.get("volumes") or ()}
    if taken:
        return f"the volume name {', '.join(sorted(taken))} is taken by the proxy: rename the volume"
    return ""


def _environment_operations(pod: Mapping[str, Any], replaced: list[str]) -> Iterator[Json]:
    """One operation for every container whose environment changes; notes what it replaced."""
    for field in ("initContainers", "containers"):
        for index, container in enumerate(pod["spec"].get(field) or ()):
            if field == "initContainers" and container.get("restartPolicy") == "Always":
                continue
            environment, names = rewrite_environment(container.get("env") or [], has_sources=bool(container.get("envFrom")))
            replaced.extend(f"{container.get('name', index)}/{name}" for name in names)
            yield {"op": "add", "path": f"/spec/{field}/{index}/env", "value": environment}


def _insert(pod: Mapping[str, Any], field: str, items: list[Json], *, is_first: bool = False) -> Iterator[Json]:
    if not pod["spec"].get(field):
        yield {"op": "add", "path": f"/spec/{field}", "value": items}
        return
    for item in items:
        yield {"op": "add", "path": f"/spec/{field}/{'0' if is_first else '-'}", "value": item}


def _annotation_operations(pod: Mapping[str, Any], annotations: Mapping[str, str]) -> Iterator[Json]:
    if not pod["metadata"].get("annotations"):
        yield {"op": "add", "path": "/metadata/annotations", "value": dict(annotations)}
        return
    for key, value in annotations.items():
        yield {"op": "add", "path": f"/metadata/annotations/{key.replace('~', '~0').replace('/', '~1')}", "value": value}
