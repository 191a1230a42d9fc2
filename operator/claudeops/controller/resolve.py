"""From the objects that a workload needs to the config it gets, or the reason why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from claudeops.api import ClaudeQuota, ClaudeWorkload, SamplingProfile, parse_profile, parse_quota, parse_workload
from claudeops.controller.kind import Object
from claudeops.errors import InvalidResource
from claudeops.fleet.workload_status import Problem
from claudeops.proxyconfig import ControllerAddress, ProxyConfig, decode_config, encode_config
from claudeops.translate import (
    Finding,
    References,
    WorkloadTerms,
    check_references,
    next_revision,
    render_config_map,
    render_proxy_config,
    workload_terms,
)
from claudeops.translate.naming import CONFIG_KEY, MANAGED_BY, config_map_name


@dataclass(frozen=True)
class Sources:
    """What was found in the cluster for one workload. ``upstream_ca`` is None when the quota names a bundle that is not there.

    ``config_map`` is the one that carries the workload's name, ours or not; ``issued`` the config this process gave out last.
    """

    item: Object
    quota: Object | None
    profile: Object | None
    namespace_labels: Mapping[str, str]
    upstream_ca: str | None = ""
    config_map: Object | None = None
    issued: ProxyConfig | None = None


@dataclass(frozen=True)
class Resolution:
    """What a workload gets: the desired config, or, with a problem, the last good one (None where there never was one).

    ``terms`` are None for an invalid spec. A workload that may not use its quota has terms without one.
    """

    workload: ClaudeWorkload | None = None
    terms: WorkloadTerms | None = None
    config: ProxyConfig | None = None
    problem: Problem | None = None
    warnings: tuple[str, ...] = ()
    config_map: Object | None = field(default=None)
    """To apply; None when the one in the cluster is as it should be, or must be left alone."""


def resolve(sources: Sources, controller: ControllerAddress, *, now_ms: int) -> Resolution:
    """Decides what the workload gets. A problem never replaces a good config with nothing."""
    last = _last_good(sources)
    try:
        workload = parse_workload(sources.item)
    except InvalidResource as error:
        return Resolution(config=last, problem=Problem("InvalidSpec", str(error), is_permanent=True))
    terms = workload_terms(workload)
    if not _is_ours(sources.config_map):
        return Resolution(workload, _without_quota(terms), last, _name_taken(workload))
    quota, profile, problem = _parse_references(sources)
    findings = check_references(workload, References(quota, profile, sources.namespace_labels))
    problem = problem or _first_problem(sources, findings)
    if problem is not None or quota is None:
        return Resolution(workload, terms if _may_use(findings) else _without_quota(terms), last, problem)
    draft = render_proxy_config(workload, quota=quota, profile=profile, controller=controller, upstream_ca=sources.upstream_ca or "")
    config = msgspec.structs.replace(draft, revision=next_revision(_previous_document(sources, last), draft, now_ms))
    config_map = render_config_map(workload, config)
    to_apply = None if _is_current(sources.config_map, config_map) else config_map
    return Resolution(workload, terms, config, None, tuple(found.message for found in findings if not found.is_blocking), to_apply)


def _first_problem(sources: Sources, findings: tuple[Finding, ...]) -> Problem | None:
    for found in findings:
        if found.is_blocking:
            return Problem(found.reason, found.message)
    if sources.upstream_ca is None:
        return Problem("CABundleNotFound", "The quota's upstream.caBundleRef names a ConfigMap or key that is not there.")
    return None


def _parse_references(sources: Sources) -> tuple[ClaudeQuota | None, SamplingProfile | None, Problem | None]:
    try:
        quota = parse_quota(sources.quota) if sources.quota else None
        profile = parse_profile(sources.profile) if sources.profile else None
    except InvalidResource as error:
        return None, None, Problem("InvalidReference", f"An object that this workload refers to is not valid: {error}")
    return quota, profile, None


def _may_use(findings: tuple[Finding, ...]) -> bool:
    return all(found.reason != "QuotaNotAllowed" for found in findings)


def _without_quota(terms: WorkloadTerms) -> WorkloadTerms:
    return replace(terms, quota="")


def _is_ours(config_map: Object | None) -> bool:
    """Whether it may be written: it carries our label, or is not there."""
    if config_map is None:
        return True
    labels = config_map["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in MANAGED_BY.items())


def _name_taken(workload: ClaudeWorkload) -> Problem:
    name = f"{workload.metadata.namespace}/{config_map_name(workload.metadata.name)}"
    return Problem("NameTaken", f"The ConfigMap {name} exists and is not the operator's: rename or delete it, or rename the workload.")


def _last_good(sources: Sources) -> ProxyConfig | None:
    """The newer of what this process gave out and what the cluster holds."""
    stored = None
    if sources.config_map is not None and _is_ours(sources.config_map):
        try:
            stored = decode_config(_document(sources.config_map).encode())
        except InvalidResource:
            stored = None
    known = [config for config in (sources.issued, stored) if config is not None]
    return max(known, key=lambda config: config.revision, default=None)


def _previous_document(sources: Sources, last: ProxyConfig | None) -> str | None:
    if last is not None:
        return encode_config(last).decode()
    return _document(sources.config_map) if sources.config_map is not None else None


def _document(config_map: Object) -> str:
    return str((config_map.get("data") or {}).get(CONFIG_KEY, ""))


def _is_current(stored: Object | None, desired: Object) -> bool:
    """Whether nothing that we set differs in the cluster."""
    if stored is None or stored.get("data") != desired["data"]:
        return False
    have, want = stored["metadata"], desired["metadata"]
    return all(set((want[part] or {}).items()) <= set((have.get(part) or {}).items()) for part in ("labels", "annotations")) and any(
        owner.get("uid") == want["ownerReferences"][0]["uid"] for owner in have.get("ownerReferences") or ()
    )
