"""From what is declared to what each workload's proxies get, or the reason why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from claudeops.api import ClaudeQuota, ClaudeWorkload
from claudeops.api.quota import QuotaUpstream
from claudeops.api.scalar import KeyReference
from claudeops.api.workload import Credentials
from claudeops.proxyconfig import ProxyConfig, WorkloadKey
from claudeops.standalone.inventory import Declared, Inventory
from claudeops.standalone.manifest import Complaint
from claudeops.translate import (
    QuotaTerms,
    References,
    WorkloadTerms,
    check_quota,
    check_references,
    quota_terms,
    render_proxy_config,
    workload_terms,
)

SIMULATOR_KEY: Final = "sk-ant-sim-standalone"
_FIELDS: Final = {
    "QuotaNotFound": "spec.quotaRef",
    "QuotaNotAllowed": "spec.quotaRef",
    "ProfileNotFound": "spec.sampling.profileRef",
    "UnknownModel": "spec.model",
}
_ANY_KEY: Final = KeyReference(name="claude-key", key="api-key")


@dataclass(frozen=True)
class PlanRules:
    """``fallback_key``: for workloads whose Secret is not among the files. ``is_simulated``: nothing may reach the real API."""

    fallback_key: bytes | None = field(default=None, repr=False)
    is_simulated: bool = False


@dataclass(frozen=True)
class PlannedWorkload:
    """One workload. ``draft`` is its config as of revision 0 and without the exchange's address."""

    declared: Declared
    terms: WorkloadTerms
    draft: ProxyConfig
    api_key: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that is to run, in the order in which it is written."""

    quotas: Mapping[str, QuotaTerms]
    workloads: Mapping[WorkloadKey, PlannedWorkload]
    complaints: tuple[Complaint, ...]
    problems: Mapping[WorkloadKey, str] = field(default_factory=dict)
    """Why a workload stands as it was before."""


def make_plan(inventory: Inventory, rules: PlanRules, *, previous: Plan | None = None) -> Plan:
    """A workload that cannot be planned stands as it was in ``previous``; every reason is among the complaints."""
    workloads: dict[WorkloadKey, PlannedWorkload] = {}
    complaints = list(inventory.complaints)
    problems = dict(inventory.problems)
    for key, declared in inventory.workloads.items():
        planned = _plan_workload(declared, inventory, rules)
        if isinstance(planned, PlannedWorkload):
            workloads[key] = planned
            continue
        complaints.append(planned)
        problems[key] = planned.message
        if previous is not None and key in previous.workloads:
            workloads[key] = previous.workloads[key]
    return Plan({name: quota_terms(quota) for name, quota in inventory.quotas.items()}, workloads, tuple(complaints), problems)


def with_simulators(inventory: Inventory, urls: Mapping[str, str]) -> Inventory:
    """The inventory with each quota's upstream replaced by the address of its simulator."""
    quotas = {}
    for name, quota in inventory.quotas.items():
        upstream = QuotaUpstream(base_url=urls[name], allow_plaintext=True)
        quotas[name] = quota.model_copy(update={"spec": quota.spec.model_copy(update={"upstream": upstream})})
    return replace(inventory, quotas=quotas)


def quota_warnings(inventory: Inventory) -> Iterable[str]:
    """What does not fit in a quota, but keeps nobody from working."""
    for name, quota in inventory.quotas.items():
        for found in check_quota(quota):
            yield f"ClaudeQuota {name}: {found.message}"


def _plan_workload(declared: Declared, inventory: Inventory, rules: PlanRules) -> PlannedWorkload | Complaint:
    workload, document = _with_key_reference(declared.workload), declared.document
    quota = inventory.quotas.get(workload.spec.quota_ref.name)
    sampling = workload.spec.sampling
    profile = None if sampling is None else inventory.profiles.get(sampling.profile_ref.name)
    labels = inventory.labels_of(workload.metadata.namespace)
    findings = check_references(workload, References(quota, profile, labels))
    # Here proxies and checks have one catalogue: a model that is not in it can serve nobody.
    blocking = next((found for found in findings if found.is_blocking or found.reason == "UnknownModel"), None)
    if blocking is not None or quota is None:
        reason, message = (blocking.reason, blocking.message) if blocking else ("QuotaNotFound", "no quota")
        return document.complain(f"{_FIELDS.get(reason, 'spec')}: {message}", path=_FIELDS.get(reason, "spec"))
    bundle = _upstream_ca(quota, inventory)
    if bundle is None:
        return document.complain("its quota's upstream.caBundleRef names a ConfigMap or key that is not among the files")
    key = _key_of(workload, inventory, rules)
    if key is None:
        return document.complain(_key_message(declared.workload), path="spec.credentials")
    draft = render_proxy_config(workload, quota=quota, profile=profile, controller=None, upstream_ca=bundle)
    warnings = tuple(found.message for found in findings if not found.is_blocking)
    return PlannedWorkload(declared, replace(workload_terms(workload), scaling=None), draft, key, warnings)


def _with_key_reference(workload: ClaudeWorkload) -> ClaudeWorkload:
    """Keyless credentials need a token that only a cluster issues: here such a workload uses the key that was given to all."""
    credentials = workload.spec.credentials
    if credentials is None or credentials.secret_ref is not None:
        return workload
    spec = workload.spec.model_copy(update={"credentials": Credentials(secret_ref=_ANY_KEY)})
    return workload.model_copy(update={"spec": spec})


def _key_of(workload: ClaudeWorkload, inventory: Inventory, rules: PlanRules) -> bytes | None:
    """From the Secret that the workload names, else the key for all. A real key never goes to a simulator."""
    reference = workload.spec.credentials.secret_ref if workload.spec.credentials else None
    found = None
    if reference is not None:
        found = inventory.secrets.get((workload.metadata.namespace, reference.name), {}).get(reference.key)
    if rules.is_simulated:
        return SIMULATOR_KEY.encode()
    return found or rules.fallback_key


def _key_message(workload: ClaudeWorkload) -> str:
    reference = workload.spec.credentials.secret_ref if workload.spec.credentials else None
    ways = "set ANTHROPIC_API_KEY, or name a file that holds it with --key-file; to try without a key: --simulator"
    if reference is None:
        return f"federation needs a token that only a cluster issues: {ways}"
    where = f"the Secret {workload.metadata.namespace}/{reference.name} with the key {reference.key}"
    return f"no API key: {ways}; or put {where} among the files"


def _upstream_ca(quota: ClaudeQuota, inventory: Inventory) -> str | None:
    reference = quota.spec.upstream.ca_bundle_ref
    return "" if reference is None else inventory.config_maps.get(reference.name, {}).get(reference.key)
