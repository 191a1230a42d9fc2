"""Names that the operator's objects, pods and people share."""

from __future__ import annotations

from typing import Final

WORKLOAD_LABEL: Final = "claudeops.dev/workload"
"""On a pod: the ClaudeWorkload of its own namespace that it belongs to."""
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "claudeops"}
"""On everything that the operator renders; without it nothing is taken over."""
CONFIG_KEY: Final = "proxy.json"
CONTAINER_NAME: Final = "claudeops-sidecar"
HASH_ANNOTATION: Final = "claudeops.dev/config-hash"


def config_map_name(workload: str) -> str:
    """The ConfigMap beside a workload."""
    return f"{workload}-claudeops"


def pod_selector(workload: str) -> str:
    """The label selector of a workload's pods."""
    return f"{WORKLOAD_LABEL}={workload}"
