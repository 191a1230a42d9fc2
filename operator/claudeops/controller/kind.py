"""The kinds of objects that the controller reads or writes, and their addresses in the Kubernetes API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

Object = dict[str, Any]
"""One Kubernetes object as decoded JSON. Never turned into a typed model of the client: that would drop a newer server's fields."""


@dataclass(frozen=True)
class Kind:
    """One resource of the API: ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As written in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", *, subresource: str = "") -> str:
        """The URL path of an object, or of the collection when ``name`` is empty (of all namespaces when ``namespace`` is, too)."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.is_namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


class Ref(NamedTuple):
    """Names one object. ``namespace`` is empty for cluster-scoped kinds."""

    kind: Kind
    namespace: str
    name: str

    def path(self, subresource: str = "") -> str:
        """The URL path of the object or of its subresource."""
        return self.kind.path(self.namespace, self.name, subresource=subresource)

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.kind} {self.name}"


GROUP: Final = "claudeops.dev"
WORKLOAD: Final = Kind(GROUP, "v1alpha1", "claudeworkloads", "ClaudeWorkload")
QUOTA: Final = Kind(GROUP, "v1alpha1", "claudequotas", "ClaudeQuota", is_namespaced=False)
PROFILE: Final = Kind(GROUP, "v1alpha1", "samplingprofiles", "SamplingProfile", is_namespaced=False)
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
SECRET: Final = Kind("", "v1", "secrets", "Secret")
POD: Final = Kind("", "v1", "pods", "Pod")
NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", is_namespaced=False)
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET: Final = Kind("apps", "v1", "statefulsets", "StatefulSet")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
EVENT: Final = Kind("events.k8s.io", "v1", "events", "Event")
TOKEN_REVIEW: Final = Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", is_namespaced=False)
MUTATING_WEBHOOK: Final = Kind(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", is_namespaced=False
)

SCALABLE: Final = {"Deployment": DEPLOYMENT, "StatefulSet": STATEFUL_SET}
"""What ``scaling.targetRef`` may name."""


def reference(kind: Kind, item: Object) -> Ref:
    """The reference of a decoded object."""
    metadata = item["metadata"]
    return Ref(kind, metadata.get("namespace", "") if kind.is_namespaced else "", metadata["name"])
