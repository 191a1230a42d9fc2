"""A workload and what it refers to → the document that its proxies run, and the ConfigMap that carries it."""

from __future__ import annotations

from typing import Any

import msgspec

from claudeops.api import ClaudeQuota, ClaudeWorkload, SamplingProfile, seconds
from claudeops.api.profile import ShareBounds, TokenBounds
from claudeops.api.workload import WorkloadSpec
from claudeops.catalogue import load_catalogue
from claudeops.errors import InvalidResource
from claudeops.proxyconfig import (
    SESSION_HEADER,
    Bounds,
    ControllerAddress,
    EffortBounds,
    Federation,
    Limits,
    ModelChoice,
    ProxyConfig,
    Queue,
    Resilience,
    Retry,
    Sampling,
    ThinkingChoice,
    Timeouts,
    Upstream,
    content_hash,
    decode_config,
    encode_config,
)
from claudeops.translate.naming import CONFIG_KEY, HASH_ANNOTATION, MANAGED_BY, WORKLOAD_LABEL, config_map_name
from claudeops.translate.terms import baseline, breaker_policy, objectives, quota_terms, workload_terms


def render_proxy_config(
    workload: ClaudeWorkload,
    *,
    quota: ClaudeQuota,
    profile: SamplingProfile | None,
    controller: ControllerAddress | None,
    upstream_ca: str,
) -> ProxyConfig:
    """The whole document, as a draft of revision 0: :func:`next_revision` says under which one it is published.

    ``upstream_ca`` is PEM text, empty for the system's trust store.

    It is read back once: so it is certain to be readable, and hashes as it does in the proxy (whole numbers have become floats).
    """
    spec = workload.spec
    terms = workload_terms(workload)
    rendered = ProxyConfig(
        revision=0,
        workload=terms.workload,
        upstream=Upstream(
            base_url=quota.spec.upstream.base_url.rstrip("/"), ca_bundle=upstream_ca, proxy_url=quota.spec.upstream.proxy_url or ""
        ),
        model=ModelChoice(name=terms.model, client_choice=spec.model.client_choice, fallbacks=terms.fallbacks),
        federation=_federation(spec),
        controller=controller,
        sampling=_sampling(spec, profile),
        limits=_limits(workload, quota),
        resilience=_resilience(spec),
        prompt_cache=spec.cache.prompt.mode,
        single_flight=spec.cache.single_flight,
        endpoints=tuple(sorted(set(spec.endpoints))),
        session_header=_session_header(spec),
        connections=terms.connections,
        objectives=objectives(spec),
    )
    return decode_config(encode_config(rendered))


def _session_header(spec: WorkloadSpec) -> str:
    """The default itself where it is that: the document leaves it out then."""
    name = spec.session.header.lower()
    return SESSION_HEADER if name == SESSION_HEADER else name


def next_revision(previous: str | None, new: ProxyConfig, now_ms: int) -> int:
    """The revision under which ``new`` is published after ``previous`` (the ``proxy.json`` in the cluster).

    The previous one while they say the same, else one more; unix milliseconds where there is none, so that an object made anew
    always outranks the one that its proxies still hold.
    """
    if previous is None:
        return now_ms
    try:
        config = decode_config(previous.encode())
    except InvalidResource:
        return max(_revision_of(previous) + 1, now_ms)
    return config.revision if content_hash(config) == content_hash(new) else config.revision + 1


def render_config_map(workload: ClaudeWorkload, config: ProxyConfig) -> dict[str, Any]:
    """The ConfigMap beside the workload, owned by it, ready for server-side apply."""
    metadata = workload.metadata
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": config_map_name(metadata.name),
            "namespace": metadata.namespace,
            "labels": {**MANAGED_BY, WORKLOAD_LABEL: metadata.name},
            "annotations": {HASH_ANNOTATION: content_hash(config)},
            "ownerReferences": [
                {
                    "apiVersion": workload.api_version,
                    "kind": workload.kind,
                    "name": metadata.name,
                    "uid": metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": {CONFIG_KEY: encode_config(config).decode()},
    }


def _revision_of(document: str) -> int:
    """The revision of a document that this release cannot read; 0 when there is none."""
    try:
        found = msgspec.json.decode(document)
    except msgspec.DecodeError:
        return 0
    revision = found.get("revision") if isinstance(found, dict) else None
    return revision if isinstance(revision, int) else 0


def _sampling(spec: WorkloadSpec, profile: SamplingProfile | None) -> Sampling:
    if spec.sampling is None or profile is None:
        return Sampling()
    bounds = profile.spec
    thinking = bounds.thinking
    return Sampling(
        profile=profile.metadata.name,
        on_violation=spec.sampling.on_violation,
        temperature=_bounds(bounds.temperature),
        top_p=_bounds(bounds.top_p),
        prefer=bounds.prefer,
        max_tokens=_bounds(bounds.max_tokens),
        effort=EffortBounds(
            default=None if bounds.effort.default is None else bounds.effort.default.lower(),
            allowed=tuple(word.lower() for word in bounds.effort.allowed or ()),
        ),
        thinking=None if thinking is None else ThinkingChoice(mode=thinking.mode, budget_tokens=thinking.budget_tokens or 0),
    )


def _bounds(declared: ShareBounds | TokenBounds) -> Bounds:
    return Bounds(default=declared.default, min=declared.min, max=declared.max)


def _federation(spec: WorkloadSpec) -> Federation | None:
    """The audience stays out: it is kubelet's to put into the pod's token."""
    declared = None if spec.credentials is None else spec.credentials.federation
    if declared is None:
        return None
    return Federation(
        rule_id=declared.rule_id,
        organization_id=declared.organization_id,
        service_account_id=declared.service_account_id or "",
        workspace_id=declared.workspace_id or "",
    )


def _limits(workload: ClaudeWorkload, quota: ClaudeQuota) -> Limits:
    """A workload whose clients may name any model needs a baseline for every group."""
    declared = workload.spec.limits
    terms, shared = workload_terms(workload), quota_terms(quota)
    groups = set(terms.groups.values())
    if workload.spec.model.client_choice == "Allowed":
        groups |= set(load_catalogue().groups)
    return Limits(
        baseline={group: baseline(terms, shared, group) for group in sorted(groups)},
        maximum=terms.maximum,
        max_in_flight=terms.max_in_flight,
        max_replicas=terms.max_replicas,
        queue=Queue(max_wait_s=seconds(declared.queue.max_wait), max_length=declared.queue.max_length),
    )


def _resilience(spec: WorkloadSpec) -> Resilience:
    retry, timeouts = spec.resilience.retry, spec.resilience.timeouts
    return Resilience(
        retry=Retry(
            max_attempts=retry.max_attempts,
            initial_backoff_s=seconds(retry.initial_backoff),
            max_backoff_s=seconds(retry.max_backoff),
            budget_percent=retry.budget_percent,
        ),
        breaker=breaker_policy(spec),
        timeouts=Timeouts(
            connect_s=seconds(timeouts.connect),
            first_byte_s=seconds(timeouts.first_byte),
            stream_idle_s=seconds(timeouts.stream_idle),
            total_s=seconds(timeouts.total),
        ),
    )
