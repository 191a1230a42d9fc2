"""The CustomResourceDefinitions, made from the models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from claudeops.api.part import Part
from claudeops.api.profile import SamplingProfile
from claudeops.api.quota import ClaudeQuota
from claudeops.api.schema import to_structural
from claudeops.api.workload import ClaudeWorkload

Json = dict[str, Any]
GROUP: Final = "claudeops.dev"
VERSION: Final = "v1alpha1"


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column. ``is_wide``: only with ``-o wide``."""

    name: str
    path: str
    type: str = "string"
    is_wide: bool = False
    description: str = ""

    def to_json(self) -> Json:
        """As the CRD wants it."""
        column: Json = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.is_wide:
            column["priority"] = 1
        if self.description:
            column["description"] = self.description
        return column


@dataclass(frozen=True, slots=True)
class Definition:
    """What the model of a kind does not say of it."""

    model: type[Part]
    plural: str
    short: str
    is_namespaced: bool
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    subresources: Json = field(default_factory=dict)


_READY: Final = Column("Ready", '.status.conditions[?(@.type=="Ready")].status')
_REASON: Final = Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', is_wide=True)
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

DEFINITIONS: Final = (
    Definition(
        model=ClaudeWorkload,
        plural="claudeworkloads",
        short="cw",
        is_namespaced=True,
        columns=(
            Column("Model", ".status.effective.model", description="The model that serves now"),
            Column("Tier", ".status.effective.tier"),
            _READY,
            Column("RPM", ".status.grant.requestsPerMinute", "number", description="Requests a minute granted"),
            Column("429/min", ".status.observed.throttledPerMinute", "number", description="Upstream 429s a minute"),
            Column("Replicas", ".status.replicas", "integer"),
            _AGE,
            _REASON,
            Column("Queue p95", ".status.observed.queueWaitP95", is_wide=True),
            Column("TTFT p95", ".status.observed.timeToFirstTokenP95", is_wide=True),
        ),
        selectable=(".spec.model.name", ".spec.quotaRef.name"),
        subresources={
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
    ),
    Definition(
        model=ClaudeQuota,
        plural="claudequotas",
        short="cq",
        is_namespaced=False,
        columns=(
            Column("Tier", ".spec.tier"),
            _READY,
            Column("Upstream", ".spec.upstream.baseUrl", is_wide=True),
            Column("Organization", ".status.organizationId", is_wide=True),
            _AGE,
            _REASON,
        ),
        subresources={"status": {}},
    ),
    Definition(
        model=SamplingProfile,
        plural="samplingprofiles",
        short="sp",
        is_namespaced=False,
        columns=(
            Column("Temperature", ".spec.temperature.default", "number"),
            Column("Top-p", ".spec.topP.default", "number"),
            Column("Effort", ".spec.effort.default"),
            Column("Description", ".spec.description", is_wide=True),
            _AGE,
        ),
    ),
)


def build_crd(definition: Definition) -> Json:
    """The CustomResourceDefinition of one kind."""
    kind = definition.model.__name__
    version: Json = {"name": VERSION, "served": True, "storage": True}
    if definition.subresources:
        version["subresources"] = definition.subresources
    if definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in definition.selectable]
    version["additionalPrinterColumns"] = [column.to_json() for column in definition.columns]
    version["schema"] = {"openAPIV3Schema": build_schema(definition.model)}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "claudeops"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if definition.is_namespaced else "Cluster",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": definition.plural,
                "singular": kind.lower(),
                "shortNames": [definition.short],
                "categories": ["claude"],
            },
            "versions": [version],
        },
    }


def build_schema(model: type[Part]) -> Json:
    """The structural schema of one kind. ``metadata`` is the API server's own; only its name is declared, for the rules."""
    root = to_structural(model.model_json_schema(by_alias=True, mode="validation"))
    properties = {name: root["properties"][name] for name in ("spec", "status") if name in root["properties"]}
    if "status" in properties:
        properties["status"] = {**properties["status"], "default": {"observedGeneration": -1}}
    return {
        "description": root["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 64},
            "kind": {"type": "string", "maxLength": 64},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            **properties,
        },
        **({"x-kubernetes-validations": root["x-kubernetes-validations"]} if "x-kubernetes-validations" in root else {}),
    }
