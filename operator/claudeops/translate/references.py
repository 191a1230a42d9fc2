"""What a workload refers to, held against what is there: findings, each a reason for programs and a sentence for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from claudeops.api import ClaudeQuota, ClaudeWorkload, LabelSelector, SamplingProfile
from claudeops.api.quota import LabelRequirement
from claudeops.catalogue import load_catalogue
from claudeops.exchange import FAST_POOL
from claudeops.proxyconfig import Rates
from claudeops.translate.terms import DEFAULT_GROUP, capped_guarantee, quota_terms, workload_terms

Reason: TypeAlias = Literal[
    "QuotaNotFound",
    "QuotaNotAllowed",
    "ProfileNotFound",
    "SecretNotFound",
    "UnknownModel",
    "UnknownGroup",
    "GuaranteeNotMet",
]
BLOCKING: Final[frozenset[Reason]] = frozenset({"QuotaNotFound", "QuotaNotAllowed", "ProfileNotFound", "SecretNotFound"})
DEFAULT_QUOTA: Final = "default"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit. ``is_blocking``: the workload is not ready, and its last good config stands."""

    reason: Reason
    message: str

    @property
    def is_blocking(self) -> bool:
        """Whether this keeps the workload from being ready."""
        return self.reason in BLOCKING


@dataclass(frozen=True, slots=True)
class References:
    """What was found under the names that a workload refers to.

    ``namespace_labels`` are those of the workload's namespace. ``is_secret_found`` is None where nobody can tell.
    """

    quota: ClaudeQuota | None
    profile: SamplingProfile | None = None
    namespace_labels: Mapping[str, str] | None = None
    is_secret_found: bool | None = None


def check_references(workload: ClaudeWorkload, references: References) -> tuple[Finding, ...]:
    """Every finding about a workload, blocking ones first."""
    found = (
        *_check_quota(workload, references),
        *_check_profile(workload, references),
        *_check_secret(workload, references),
        *_check_models(workload),
        *_check_guarantee(workload, references),
    )
    return tuple(sorted(found, key=lambda finding: not finding.is_blocking))


def check_quota(quota: ClaudeQuota) -> tuple[Finding, ...]:
    """Findings about a quota alone: overrides for groups that the catalogue does not know."""
    groups = load_catalogue().groups
    return tuple(
        Finding(
            "UnknownGroup",
            f"spec.limits names the model group {limits.group}, which the catalogue does not know: "
            f"no model draws on it. Known groups: {', '.join(groups)}",
        )
        for limits in quota.spec.limits
        if limits.group.removesuffix(FAST_POOL) not in groups and limits.group != DEFAULT_GROUP
    )


def is_quota_allowed(quota: ClaudeQuota, namespace_labels: Mapping[str, str]) -> bool:
    """Whether workloads of a namespace with these labels may refer to the quota."""
    selector = quota.spec.allowed_namespaces
    return quota.metadata.name == DEFAULT_QUOTA if selector is None else selects(selector, namespace_labels)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Kubernetes semantics: everything must match; an empty selector matches all."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _meets(requirement, labels) for requirement in selector.match_expressions
    )


def _meets(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None


def _check_quota(workload: ClaudeWorkload, references: References) -> Iterator[Finding]:
    name, namespace = workload.spec.quota_ref.name, workload.metadata.namespace
    quota = references.quota
    if quota is None:
        yield Finding("QuotaNotFound", f"ClaudeQuota {name} does not exist: create it, or write another spec.quotaRef.name")
    elif not is_quota_allowed(quota, references.namespace_labels or {}):
        yield Finding(
            "QuotaNotAllowed",
            f"ClaudeQuota {name} does not allow namespace {namespace}: its spec.allowedNamespaces must match the namespace's labels, "
            "or write another spec.quotaRef.name",
        )


def _check_profile(workload: ClaudeWorkload, references: References) -> Iterator[Finding]:
    sampling = workload.spec.sampling
    if sampling is not None and references.profile is None:
        name = sampling.profile_ref.name
        yield Finding(
            "ProfileNotFound", f"SamplingProfile {name} does not exist: create it, or write another spec.sampling.profileRef.name"
        )


def _check_secret(workload: ClaudeWorkload, references: References) -> Iterator[Finding]:
    credentials = workload.spec.credentials
    if references.is_secret_found is False and credentials is not None and credentials.secret_ref is not None:
        secret = credentials.secret_ref
        yield Finding(
            "SecretNotFound",
            f"Secret {workload.metadata.namespace}/{secret.name} with the key {secret.key} does not exist: create it, "
            "or write another spec.credentials.secretRef",
        )


def _check_models(workload: ClaudeWorkload) -> Iterator[Finding]:
    catalogue = load_catalogue()
    for model in workload_terms(workload).tiers:
        retired = catalogue.retired_on(model)
        if retired is not None:
            yield Finding("UnknownModel", f"{model} was retired on {retired}: the API answers 404; name its successor")
        elif catalogue.model(model) is None:
            yield Finding(
                "UnknownModel",
                f"{model} is not in the catalogue of {catalogue.as_of}: check the spelling, or update claudeops if the model is newer",
            )


def _check_guarantee(workload: ClaudeWorkload, references: References) -> Iterator[Finding]:
    if references.quota is None:
        return
    terms, quota = workload_terms(workload), quota_terms(references.quota)
    for group in dict.fromkeys(terms.groups.values()):
        if group not in quota.limits:
            models = ", ".join(model for model in terms.tiers if terms.groups[model] == group)
            yield Finding(
                "UnknownGroup",
                f"ClaudeQuota {quota.name} declares no limits for the model group {group} of {models}: "
                "only what the API's headers say is known; add it to the quota's spec.limits",
            )
        capped = capped_guarantee(terms, quota, group)
        if capped != terms.guaranteed:
            yield Finding(
                "GuaranteeNotMet",
                f"ClaudeQuota {quota.name} guarantees one workload at most {quota.max_guaranteed_percent} % of each limit: "
                f"in the model group {group} this workload's guarantee counts as {_spell(capped)}",
            )


def _spell(rates: Rates) -> str:
    words = (
        (rates.requests_per_minute, "requests"),
        (rates.input_tokens_per_minute, "input tokens"),
        (rates.output_tokens_per_minute, "output tokens"),
    )
    return ", ".join(f"{rate:.0f} {word}" for rate, word in words if rate is not None) + " a minute"
