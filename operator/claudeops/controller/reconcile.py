"""The one loop: observe → resolve → apply → status, for one key at a time. Level, not edge: what triggered it is not known here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from claudeops.api import parse_quota
from claudeops.controller.cache import ObjectCache
from claudeops.controller.figure import INTERVAL_S
from claudeops.controller.kind import CONFIG_MAP, NAMESPACE, POD, PROFILE, QUOTA, WORKLOAD, Object, Ref
from claudeops.controller.kube import Kube
from claudeops.controller.resolve import Resolution, Sources, resolve
from claudeops.controller.scaler import Scaler
from claudeops.controller.scaling import Target
from claudeops.controller.snapshot import MANAGER, has_sidecar, is_live, profile_name, quota_name
from claudeops.controller.writer import StatusWriter
from claudeops.errors import ClusterError, Forbidden, InvalidResource, NotFound, Unreachable
from claudeops.fleet import Fleet
from claudeops.fleet.quota_status import QuotaFacts, quota_status, with_seen_organization
from claudeops.fleet.workload_status import Problem, WorkloadFacts, workload_status
from claudeops.proxyconfig import ControllerAddress, ProxyConfig, WorkloadKey
from claudeops.translate import check_quota, quota_terms
from claudeops.translate.naming import WORKLOAD_LABEL, config_map_name

SHORT_RESYNC_S: Final = 15.0
"""How often at least one that waits for something that is not watched: an object in its ConfigMap's place, its target's replicas."""
SHORT_GRACE_S: Final = 600
_BUNDLE_LIFE_S: Final = 60.0


@dataclass
class Plane:
    """What reconciling acts on. ``touch`` tells the exchange that the fleet was changed; ``address`` is what proxies are told of it."""

    kube: Kube
    cache: ObjectCache
    fleet: Fleet
    writer: StatusWriter
    scaler: Scaler
    namespace: str
    address: Callable[[], ControllerAddress]
    touch: Callable[[], None]
    resync_s: float = INTERVAL_S
    """How often an object is looked at without a trigger: figures in its status."""
    monotonic: Callable[[], float] = time.monotonic
    bundles: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    issued: dict[WorkloadKey, ProxyConfig] = field(default_factory=dict)


async def reconcile(plane: Plane, ref: Ref) -> float | None:
    """Brings one object to what it should be; the seconds after which to look again.

    Raises :class:`~claudeops.errors.ClusterError` for what a later try may mend.
    """
    if ref.kind is QUOTA:
        return await _reconcile_quota(plane, ref)
    return await _reconcile_workload(plane, ref)


async def _reconcile_quota(plane: Plane, ref: Ref) -> float | None:
    item = plane.cache.get(ref)
    if item is None:
        plane.fleet.drop_quota(ref.name)
        plane.touch()
        plane.writer.forget(ref)
        return None
    problem, warnings = None, tuple[str, ...]()
    try:
        quota = parse_quota(item)
        plane.fleet.set_quota(with_seen_organization(quota_terms(quota), item))
        plane.touch()
        warnings = tuple(found.message for found in check_quota(quota))
    except InvalidResource as error:
        problem = Problem("InvalidSpec", str(error), is_permanent=True)
    view = plane.fleet.quota_view(ref.name, plane.monotonic())
    organization = view.organization_id
    others = [other for other in plane.cache.items(QUOTA) if other["metadata"]["name"] != ref.name] if organization else []
    overlapping = tuple(other["metadata"]["name"] for other in others if (other.get("status") or {}).get("organizationId") == organization)
    facts = QuotaFacts(item, view, problem, warnings, overlapping, item.get("status") or {})
    await plane.writer.write(ref, item, quota_status(facts, datetime.now(UTC)))
    return plane.resync_s


async def _reconcile_workload(plane: Plane, ref: Ref) -> float | None:
    key = WorkloadKey(namespace=ref.namespace, name=ref.name)
    item = plane.cache.get(ref)
    if item is None or "deletionTimestamp" in item["metadata"]:
        plane.fleet.drop_workload(key)
        plane.touch()
        plane.issued.pop(key, None)
        plane.writer.forget(ref)
        return None
    resolution = await _decide(plane, ref, item)
    failure = await _apply(plane, resolution)
    target = await _scale(plane, ref, resolution, item)
    facts = replace(_facts(plane, ref, item, resolution), problem=resolution.problem or failure, **target)
    await plane.writer.write(ref, item, workload_status(facts, datetime.now(UTC)))
    if failure is not None:
        raise ClusterError(failure.message)
    needs_more = resolution.problem is not None or (resolution.terms is not None and resolution.terms.scaling is not None)
    return min(SHORT_RESYNC_S, plane.resync_s) if needs_more else plane.resync_s


async def push(plane: Plane, ref: Ref) -> None:
    """Tells the fleet of a workload what changed while it is being reconciled: proxies need not wait for the writes of that turn.

    The key must be queued, too: everything else is done in its next turn. Raises :class:`~claudeops.errors.ClusterError`.
    """
    item = plane.cache.get(ref)
    if ref.kind is WORKLOAD and item is not None and "deletionTimestamp" not in item["metadata"]:
        await _decide(plane, ref, item)


async def _decide(plane: Plane, ref: Ref, item: Object) -> Resolution:
    """What the workload gets. The fleet is told first: open long polls carry the change to the proxies before anything is written."""
    resolution = resolve(await _observe(plane, ref, item), plane.address(), now_ms=int(time.time() * 1000))
    if resolution.terms is not None and resolution.config is not None and plane.cache.get(ref) is not None:
        key = WorkloadKey(namespace=ref.namespace, name=ref.name)
        plane.issued[key] = resolution.config
        plane.fleet.set_workload(resolution.terms, resolution.config)
        plane.touch()
    return resolution


async def _observe(plane: Plane, ref: Ref, item: Object) -> Sources:
    cache = plane.cache
    upstream_ca = await _upstream_ca(plane, cache.get(Ref(QUOTA, "", quota_name(item))))
    config_map = await _config_map(plane, ref)
    # Nothing waits from here to the fleet: of two that decide about one workload, the later one has the newer picture.
    item = cache.get(ref) or item
    profile = profile_name(item)
    namespace = cache.get(Ref(NAMESPACE, "", ref.namespace))
    return Sources(
        item=item,
        quota=cache.get(Ref(QUOTA, "", quota_name(item))),
        profile=cache.get(Ref(PROFILE, "", profile)) if profile else None,
        namespace_labels=(namespace or {"metadata": {}})["metadata"].get("labels") or {},
        upstream_ca=upstream_ca,
        config_map=config_map,
        issued=plane.issued.get(WorkloadKey(namespace=ref.namespace, name=ref.name)),
    )


async def _config_map(plane: Plane, ref: Ref) -> Object | None:
    """The cache knows only what carries our label; an object of somebody else's under the name is found by asking."""
    config_map = Ref(CONFIG_MAP, ref.namespace, config_map_name(ref.name))
    known = plane.cache.get(config_map)
    if known is not None:
        return known
    try:
        return await plane.kube.get(config_map)
    except NotFound:
        return None


async def _upstream_ca(plane: Plane, quota: Object | None) -> str | None:
    """PEM text from the operator's namespace; empty for the system's trust, None when it is named but not there."""
    reference = (((quota or {}).get("spec") or {}).get("upstream") or {}).get("caBundleRef")
    if not reference:
        return ""
    key = (reference.get("name", ""), reference.get("key", ""))
    read_s, bundle = plane.bundles.get(key, (-_BUNDLE_LIFE_S, ""))
    if plane.monotonic() - read_s >= _BUNDLE_LIFE_S or not bundle:
        bundle = await _read_bundle(plane, *key)
        plane.bundles[key] = (plane.monotonic(), bundle)
    return bundle or None


async def _read_bundle(plane: Plane, name: str, key: str) -> str:
    try:
        config_map = await plane.kube.get(Ref(CONFIG_MAP, plane.namespace, name))
    except NotFound:
        return ""
    return str((config_map.get("data") or {}).get(key, ""))


async def _apply(plane: Plane, resolution: Resolution) -> Problem | None:
    """Writes the ConfigMap where it differs. What the API server refuses becomes a problem; no answer at all is the caller's to retry."""
    body = resolution.config_map
    if body is None:
        return None
    ref = Ref(CONFIG_MAP, body["metadata"]["namespace"], body["metadata"]["name"])
    try:
        plane.cache.put(CONFIG_MAP, await plane.kube.apply(ref, body, manager=MANAGER))
    except Unreachable:
        raise
    except ClusterError as error:
        return Problem("ApplyFailed", f"The config could not be written: {error}")
    return None


async def _scale(plane: Plane, ref: Ref, resolution: Resolution, item: Object) -> dict[str, Any]:
    """Reads and, where due, writes the scaling target; what status says of it."""
    scaling = resolution.terms.scaling if resolution.terms else None
    target: Target | None = None
    key = WorkloadKey(namespace=ref.namespace, name=ref.name)
    expected = sum(1 for pod in _pods(plane, ref) if is_live(pod) and has_sidecar(pod))
    if scaling is None:
        plane.fleet.observe(key, expected=expected, replicas=None)
        return {}
    named = f"the scaling target {scaling.target_kind} {scaling.target_name}"
    try:
        target_ref, target = await plane.scaler.read(ref.namespace, scaling)
        problem = f"{named} does not exist"
    except Forbidden as error:
        problem = f"{named} may not be read: {error}"
    plane.fleet.observe(key, expected=expected, replicas=target.replicas if target else None)
    if target is None:
        return {"warnings": (*resolution.warnings, problem)}
    said: dict[str, Any] = {"rival": plane.scaler.rival(target_ref)}
    if resolution.problem is None:
        desired = plane.fleet.workload_view(key, plane.monotonic()).desired_replicas
        try:
            target = await plane.scaler.write(target_ref, target, desired, owner=item)
        except Forbidden as error:
            said["warnings"] = (*resolution.warnings, f"{named} may not be scaled: {error}")
    return {**said, "replicas": target.current}


def _pods(plane: Plane, ref: Ref) -> list[Object]:
    return plane.cache.find(POD, "workload", f"{ref.namespace}/{ref.name}")


def _facts(plane: Plane, ref: Ref, item: Object, resolution: Resolution) -> WorkloadFacts:
    view = plane.fleet.workload_view(WorkloadKey(namespace=ref.namespace, name=ref.name), plane.monotonic())
    pods = [pod for pod in _pods(plane, ref) if is_live(pod)]
    proxied = [pod for pod in pods if has_sidecar(pod)]
    silent = set(view.stale)
    return WorkloadFacts(
        item=item,
        workload=resolution.workload,
        view=view,
        problem=resolution.problem,
        warnings=resolution.warnings,
        revision=resolution.config.revision if resolution.config else None,
        expected=len(proxied),
        uninjected=tuple(pod["metadata"]["name"] for pod in pods if not has_sidecar(pod)),
        stale=tuple(pod["metadata"]["name"] for pod in proxied if pod["metadata"].get("uid") in silent),
        has_short_grace=any(pod["spec"].get("terminationGracePeriodSeconds", 30) < SHORT_GRACE_S for pod in proxied),
        previous=item.get("status") or {},
    )


def keys_of(cache: ObjectCache, ref: Ref, item: Object) -> list[Ref]:
    """The keys to reconcile when an object changed or went: itself, and all that refer to it."""
    metadata = item["metadata"]
    match ref.kind:
        case _ if ref.kind is WORKLOAD:
            return [ref]
        case _ if ref.kind is QUOTA:
            return [ref, *_workloads(cache, "quota", ref.name)]
        case _ if ref.kind is PROFILE:
            return _workloads(cache, "profile", ref.name)
        case _ if ref.kind is NAMESPACE:
            return _workloads(cache, "namespace", ref.name)
    name = (metadata.get("labels") or {}).get(WORKLOAD_LABEL)
    return [Ref(WORKLOAD, ref.namespace, name)] if name else []


def _workloads(cache: ObjectCache, index: str, value: str) -> list[Ref]:
    found = cache.find(WORKLOAD, index, value)
    return [Ref(WORKLOAD, item["metadata"]["namespace"], item["metadata"]["name"]) for item in found]
