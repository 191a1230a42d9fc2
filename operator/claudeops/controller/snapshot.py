"""Which parts of which objects the controller keeps in memory, and under what it finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from claudeops.controller.cache import Indexer, ObjectCache, Trim
from claudeops.controller.kind import CONFIG_MAP, NAMESPACE, POD, PROFILE, QUOTA, WORKLOAD, Kind, Object
from claudeops.translate.naming import CONTAINER_NAME, MANAGED_BY, WORKLOAD_LABEL
from claudeops.translate.references import DEFAULT_QUOTA

MANAGER: Final = "claudeops"
"""Field manager of what the operator renders."""

SELECTORS: Final[Mapping[Kind, str]] = {POD: WORKLOAD_LABEL, CONFIG_MAP: ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())}
"""Label selectors of what is listed and watched; kinds that are not here are watched whole."""
WATCHED: Final = (NAMESPACE, QUOTA, PROFILE, CONFIG_MAP, POD, WORKLOAD)
"""In the order in which they are first listed: what others refer to comes first."""


def quota_name(workload: Object) -> str:
    """The quota that a workload refers to, whether or not its spec is valid."""
    reference = (workload.get("spec") or {}).get("quotaRef") or {}
    return str(reference.get("name", DEFAULT_QUOTA)) if isinstance(reference, dict) else DEFAULT_QUOTA


def profile_name(workload: Object) -> str:
    """The profile that a workload refers to, ``""`` without one."""
    sampling = (workload.get("spec") or {}).get("sampling") or {}
    reference = sampling.get("profileRef") if isinstance(sampling, dict) else None
    return str(reference.get("name", "")) if isinstance(reference, dict) else ""


def workload_label(pod: Object) -> Iterable[str]:
    """``namespace/workload`` of a labelled pod."""
    metadata = pod["metadata"]
    name = metadata.get("labels", {}).get(WORKLOAD_LABEL)
    return (f"{metadata['namespace']}/{name}",) if name else ()


def _one(value: str) -> Iterable[str]:
    return (value,) if value else ()


_INDEXERS: Final[Mapping[Kind, Mapping[str, Indexer]]] = {
    WORKLOAD: {
        "quota": lambda item: _one(quota_name(item)),
        "profile": lambda item: _one(profile_name(item)),
        "namespace": lambda item: _one(item["metadata"]["namespace"]),
    },
    POD: {"workload": workload_label},
}
_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp", "generation")


def _pick(item: Object, *names: str) -> Object:
    return {name: item[name] for name in names if name in item}


def trim_pod(pod: Object) -> Object:
    """Of a pod: who it is, whether it has a proxy, and how far it is."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    containers = [_pick(container, "name") for container in spec.get("initContainers") or []]
    return {
        "metadata": _pick(pod["metadata"], *_METADATA),
        "spec": {"initContainers": containers} | _pick(spec, "terminationGracePeriodSeconds"),
        "status": _pick(status, "phase"),
    }


def _trim_namespace(item: Object) -> Object:
    return {"metadata": _pick(item["metadata"], *_METADATA)}


def _trim_managed_fields(item: Object) -> Object:
    return {**item, "metadata": {name: value for name, value in item["metadata"].items() if name != "managedFields"}}


_TRIMS: Final[Mapping[Kind, Trim]] = {
    POD: trim_pod,
    NAMESPACE: _trim_namespace,
    WORKLOAD: _trim_managed_fields,
    QUOTA: _trim_managed_fields,
    PROFILE: _trim_managed_fields,
    CONFIG_MAP: _trim_managed_fields,
}


def new_cache() -> ObjectCache:
    """An empty cache of what the controller watches."""
    return ObjectCache(_INDEXERS, _TRIMS)


def has_sidecar(pod: Object) -> bool:
    """Whether the pod was injected."""
    return any(container["name"] == CONTAINER_NAME for container in pod["spec"].get("initContainers", ()))


def is_live(pod: Object) -> bool:
    """Whether the pod is meant to run: neither ended nor ending."""
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") in ("Pending", "Running")
