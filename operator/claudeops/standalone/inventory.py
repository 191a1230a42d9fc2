"""What the documents declare, as models; an object that went bad stands as it was when it was last good. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from claudeops.api import ClaudeQuota, ClaudeWorkload, SamplingProfile, find_faults, parse_profile, parse_quota, parse_workload
from claudeops.errors import InvalidResource
from claudeops.proxyconfig import WorkloadKey
from claudeops.standalone.manifest import Complaint, Document

DEFAULT_NAMESPACE: Final = "default"
GROUP: Final = "claudeops.dev"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_OWN: Final = frozenset({"ClaudeWorkload", "ClaudeQuota", "SamplingProfile"})
_READ: Final = frozenset({"Secret", "ConfigMap", "Namespace"})


@dataclass(frozen=True)
class Declared:
    """A workload and the document that declares it."""

    workload: ClaudeWorkload
    document: Document
    item: Mapping[str, Any]
    """As the API server would hand it out: with its namespace."""


@dataclass
class Inventory:
    """Everything that counts here, by name. ``ignored``: kinds that only a cluster can act on, with their numbers."""

    workloads: dict[WorkloadKey, Declared] = field(default_factory=dict)
    quotas: dict[str, ClaudeQuota] = field(default_factory=dict)
    profiles: dict[str, SamplingProfile] = field(default_factory=dict)
    secrets: dict[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    config_maps: dict[str, Mapping[str, str]] = field(default_factory=dict)
    namespace_labels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)
    problems: dict[WorkloadKey, str] = field(default_factory=dict)
    """Why a workload's newest document does not count."""
    _seen: set[tuple[str, str, str]] = field(default_factory=set)

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """Of a namespace; every one has its name as a label, as in a cluster."""
        return {"kubernetes.io/metadata.name": namespace, **self.namespace_labels.get(namespace, {})}


def take_inventory(documents: Iterable[Document], previous: Inventory | None = None) -> Inventory:
    """Reads every document. ``previous`` gives what an object was before it went bad."""
    inventory = Inventory()
    for document in documents:
        problem = _refusal(document, inventory)
        if problem:
            inventory.complaints.append(document.complain(problem))
            continue
        try:
            _add(document, inventory)
        except InvalidResource as error:
            faults = find_faults(document.kind, document.body) if document.kind in _OWN else ()
            inventory.complaints.extend(document.complain(str(fault), path=fault.path) for fault in faults or (error,))
            if previous is not None:
                _keep(document, inventory, previous)
    return inventory


def _refusal(document: Document, inventory: Inventory) -> str:
    """Why a document cannot be taken at all. What is not ours and not read here is counted and left alone."""
    if document.kind in _OWN and document.group != GROUP:
        return f"apiVersion is {document.body.get('apiVersion')!r}: write {GROUP}/v1alpha1"
    if document.kind not in _OWN and (document.kind not in _READ or document.group):
        kind = document.kind or "no kind"
        inventory.ignored[kind] = inventory.ignored.get(kind, 0) + 1
        return "" if document.group != GROUP else f"no such kind in {GROUP}/v1alpha1: write {', '.join(sorted(_OWN))}"
    key = (document.kind, document.namespace, document.name)
    if key in inventory._seen:
        return "is declared twice: the first one stands; remove one of them"
    inventory._seen.add(key)
    return ""


def _add(document: Document, inventory: Inventory) -> None:
    match document.kind:
        case "ClaudeWorkload":
            item = _placed(document)
            workload = parse_workload(item)
            key = WorkloadKey(namespace=workload.metadata.namespace, name=workload.metadata.name)
            inventory.workloads[key] = Declared(workload, document, item)
        case "ClaudeQuota":
            inventory.quotas[document.name] = parse_quota(document.body)
        case "SamplingProfile":
            inventory.profiles[document.name] = parse_profile(document.body)
        case "Secret":
            inventory.secrets[document.namespace or DEFAULT_NAMESPACE, document.name] = _secret(document.body)
        case "ConfigMap":
            inventory.config_maps[document.name] = _texts(document.body, "data")
        case "Namespace":
            inventory.namespace_labels[document.name] = _texts(document.body.get("metadata"), "labels")


def _keep(document: Document, inventory: Inventory, previous: Inventory) -> None:
    key = WorkloadKey(namespace=document.namespace or DEFAULT_NAMESPACE, name=document.name)
    place = (key.namespace, key.name)
    match document.kind:
        case "ClaudeWorkload" if key in previous.workloads:
            inventory.problems[key] = inventory.complaints[-1].message
            inventory.workloads[key] = previous.workloads[key]
        case "ClaudeQuota" if key.name in previous.quotas:
            inventory.quotas[key.name] = previous.quotas[key.name]
        case "SamplingProfile" if key.name in previous.profiles:
            inventory.profiles[key.name] = previous.profiles[key.name]
        case "Secret" if place in previous.secrets:
            inventory.secrets[place] = previous.secrets[place]


def _placed(document: Document) -> Mapping[str, Any]:
    metadata = document.body.get("metadata")
    if not isinstance(metadata, dict):
        return document.body
    for part, text in (("name", document.name), ("namespace", document.namespace or DEFAULT_NAMESPACE)):
        if not _NAME.fullmatch(text):
            message = "write at most 253 lower case letters, digits, dashes and dots, as Kubernetes does"
            raise InvalidResource(message, path=f"metadata.{part}")
    return {**document.body, "metadata": {**metadata, "namespace": metadata.get("namespace") or DEFAULT_NAMESPACE}}


def _secret(body: Mapping[str, Any]) -> Mapping[str, bytes]:
    """Names and contents; as in the API server, ``stringData`` wins. No message repeats what it holds."""
    found: dict[str, bytes] = {}
    for name, value in _mapping(body, "data").items():
        try:
            found[name] = base64.b64decode(str(value), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidResource("is no base64: write plain text under stringData instead", path=f"data.{name}") from None
    for name, value in _mapping(body, "stringData").items():
        if not isinstance(value, str):
            raise InvalidResource("is no text: put it in quotes", path=f"stringData.{name}")
        found[name] = value.encode()
    return found


def _mapping(body: Any, name: str) -> Mapping[str, Any]:
    value = body.get(name) if isinstance(body, dict) else None
    if value is not None and not isinstance(value, dict):
        raise InvalidResource("is no mapping", path=name)
    return value or {}


def _texts(body: Any, name: str) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in _mapping(body, name).items()}
