"""Frozen pictures of the fleet for status, and what of them is written at once when it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claudeops.exchange import DIMENSIONS, BreakerReport, Dimension
from claudeops.fleet.allotment import UNLIMITED
from claudeops.fleet.flips import Unit
from claudeops.fleet.pool import Pool
from claudeops.fleet.proxy import add
from claudeops.fleet.quota import Quota
from claudeops.fleet.views import (
    BreakerView,
    GroupRates,
    GroupView,
    ObservedView,
    QuotaView,
    ShortReason,
    SloView,
    WorkloadView,
)
from claudeops.fleet.workload import Workload
from claudeops.policy.breaker import CONSECUTIVE_THROTTLES
from claudeops.policy.slo import evaluate_slo
from claudeops.proxyconfig import Objective

P95 = 0.95
SLO_EVERY_S = 3.0
_SEVERITY = {"Closed": 0, "HalfOpen": 1, "Open": 2}


def view_workload(
    workload: Workload, quota: Quota | None, units: Mapping[str, Sequence[Unit]], *, now: float, unix_s: float
) -> WorkloadView:
    """Everything that status shows of one workload. ``units`` are the flips that keep it off models now."""
    flip = next(iter(units.get(workload.tiers[0], ())), None)
    is_foreign, short_dimension, short_reason = _short(workload, quota)
    return WorkloadView(
        connected=len(workload.proxies),
        converged=_converged(workload),
        stale=tuple(sorted(workload.gone)),
        keyless=_keyless(workload),
        grant=_grant(workload, quota),
        group=workload.active_group,
        observed=_observed(workload, now),
        throttle_reason=_throttle_reason(workload, now),
        breakers=_breakers(workload, now),
        active_model=workload.active_model,
        is_fallback=workload.active_model != workload.tiers[0],
        flip_reason="" if flip is None else flip.cause or flip.state.reason,
        flipped_for_s=None if flip is None else now - flip.state.flipped_at,
        desired_replicas=workload.desired_replicas,
        wanted_replicas=workload.wanted_replicas,
        is_capped_by_quota=workload.is_capped_by_quota,
        connections_per_proxy=workload.connections,
        is_quota_satisfied=not is_foreign and short_reason == "Sufficient",
        short_dimension=short_dimension,
        short_reason=short_reason,
        slos=_slos(workload, unix_s),
    )


def view_quota(quota: Quota, workloads: Sequence[Workload], now: float) -> QuotaView:
    """Everything that status shows of one quota: the groups in which something is declared, known or used."""
    in_use = {group for workload in workloads for group in workload.used_groups()}
    groups = [
        _group(quota, pool, index, sum(pool.group in workload.used_groups() for workload in workloads), now)
        for name, pool in sorted(quota.pools.items())
        if name in in_use
        for index in range(3)
        if pool.states[index].limit_per_s > 0.0
    ]
    foreign = [workload.name for workload in workloads if any(quota.is_foreign(proxy) for proxy in workload.proxies.values())]
    return QuotaView(quota.organization, tuple(groups), tuple(sorted(foreign)))


def refresh_short(workload: Workload, quota: Quota | None, now: float, hold_s: float) -> None:
    """Keeps which dimension of the group being served is short; sufficient again only after it was for ``hold_s``."""
    found = _shortest(workload, quota)
    if found is not None:
        workload.short, workload.short_at = found, now
    elif now - workload.short_at >= hold_s:
        workload.short = None


def signature(workload: Workload, quota: Quota | None, now: float, *, unix_s: float) -> object:
    """Equal as long as nothing changed that status shows at once: conditions, tier, replicas, breakers, proxies."""
    return (
        len(workload.proxies),
        _converged(workload),
        tuple(sorted(workload.gone)),
        _keyless(workload),
        _throttle_reason(workload, now),
        tuple((view.model, view.state, view.open_proxies) for view in _breakers(workload, now)),
        workload.active_model,
        workload.desired_replicas,
        workload.is_capped_by_quota,
        _short(workload, quota),
        tuple((view.indicator, view.is_met) for view in _slos(workload, unix_s)),
        None if quota is None else quota.organization,
    )


def _keyless(workload: Workload) -> int:
    return sum(not proxy.last.has_key for proxy in workload.proxies.values())


def _shortest(workload: Workload, quota: Quota | None) -> tuple[int, bool] | None:
    """(dimension, was a guarantee not met) of the dimension that covers least of its demand."""
    pool = None if quota is None else quota.pools.get(workload.active_group)
    portion = None if pool is None else pool.allotment.portions.get(workload.name)
    if portion is None or not any(portion.is_contended):
        return None
    covered = [
        (grant / demand, index)
        for index, (grant, demand) in enumerate(zip(portion.grant, portion.demand, strict=True))
        if portion.is_contended[index] and demand > 0.0
    ]
    if not covered:
        return None
    index = min(covered)[1]
    return index, portion.is_guarantee_scaled[index]


def _short(workload: Workload, quota: Quota | None) -> tuple[bool, Dimension | None, ShortReason]:
    is_foreign = quota is not None and any(quota.is_foreign(proxy) for proxy in workload.proxies.values())
    if is_foreign:
        return True, None, "KeyOfOtherOrganization"
    if workload.short is None:
        return False, None, "Sufficient"
    index, is_guarantee_scaled = workload.short
    return False, DIMENSIONS[index], "GuaranteeNotMet" if is_guarantee_scaled else "Contended"


def _converged(workload: Workload) -> int:
    return sum(proxy.last.revision == workload.config.revision for proxy in workload.proxies.values())


def _throttle_reason(workload: Workload, now: float) -> str:
    return workload.throttle_reason if now - workload.throttled_at < workload.throttled_hold_s else ""


def _grant(workload: Workload, quota: Quota | None) -> GroupRates | None:
    """The leases of the group being served, summed; lent room counts up to the capacity."""
    found = (proxy.grants.get(workload.active_group) for proxy in workload.proxies.values())
    held = [grant for grant in found if grant is not None]
    if quota is None or not held:
        return None
    capacity = quota.pool(workload.active_group).capacity()
    first, second, third = (_granted(add(grant.rates for grant in held)[index], capacity[index], UNLIMITED[index]) for index in range(3))
    return GroupRates(first, second, third)


def _granted(total: float, capacity: float | None, unlimited: float) -> float | None:
    """A minute; None where nothing limits."""
    if capacity is None:
        return None if total >= unlimited else 60.0 * total
    return 60.0 * min(total, capacity)


def _observed(workload: Workload, now: float) -> ObservedView:
    figures = workload.window.total(now)
    per_minute = 60.0 / workload.window.window_s
    uses = [use for proxy in workload.proxies.values() for use in proxy.last.groups.values()]
    answered, cacheable = figures.requests, figures.cacheable_tokens
    return ObservedView(
        requests_per_minute=figures.requests * per_minute,
        throttled_per_minute=figures.throttled * per_minute,
        shed_per_minute=figures.shed * per_minute,
        fallback_percent=100.0 * figures.fallback_requests / answered if answered else 0.0,
        in_flight=sum(use.in_flight for use in uses),
        queued=sum(use.queued for use in uses),
        queue_wait_p95_s=figures.queue_wait.quantile(P95),
        time_to_first_token_p95_s=figures.time_to_first_token.quantile(P95),
        latency_p95_s=figures.latency.quantile(P95),
        cache_hit_percent=100.0 * figures.cache_read_tokens / cacheable if cacheable else None,
    )


def _breakers(workload: Workload, now: float) -> tuple[BreakerView, ...]:
    """Per model that some proxy's breaker is not closed for: the worst state, the oldest opening, the commonest cause."""
    seen: dict[str, list[tuple[BreakerReport, float]]] = {}
    for proxy in workload.proxies.values():
        for model, (breaker, since) in proxy.breakers.items():
            if breaker.state != "Closed":
                seen.setdefault(model, []).append((breaker, since))
    views = []
    for model, breakers in sorted(seen.items()):
        state = max((breaker.state for breaker, _ in breakers), key=lambda name: _SEVERITY[name])
        reasons = sorted(breaker.reason for breaker, _ in breakers)
        reason = max(reasons, key=reasons.count)
        count = sum(breaker.state == "Open" for breaker, _ in breakers)
        views.append(BreakerView(model, state, reason or CONSECUTIVE_THROTTLES, now - min(since for _, since in breakers), count))
    return tuple(views)


def _slos(workload: Workload, unix_s: float) -> tuple[SloView, ...]:
    """Evaluated anew every few seconds: cells are five minutes long."""
    if not workload.terms.objectives:
        return ()
    if workload.slo_views is None or not 0.0 <= unix_s - workload.slo_views[0] < SLO_EVERY_S:
        workload.slo_views = (unix_s, tuple(_slo(workload, objective, unix_s) for objective in workload.terms.objectives))
    return workload.slo_views[1]


def _slo(workload: Workload, objective: Objective, unix_s: float) -> SloView:
    window = workload.slos.window(objective.indicator, unix_s)
    verdict = evaluate_slo(window, objective.objective_percent, unix_s, is_observed=bool(workload.proxies))
    return SloView(objective.indicator, verdict.is_met, verdict.current_percent, verdict.burn_rate)


def _group(quota: Quota, pool: Pool, index: int, workloads: int, now: float) -> GroupView:
    state = pool.states[index]
    rates = quota.terms.limits.get(pool.group)
    declared = None
    if rates is not None:
        declared = (rates.requests_per_minute, rates.input_tokens_per_minute, rates.output_tokens_per_minute)[index]
    has_learned = bool(state.samples) and quota.terms.is_learning_from_headers
    outside = pool.outside[index]
    return GroupView(
        group=pool.group,
        dimension=DIMENSIONS[index],
        declared=declared,
        learned=60.0 * state.limit_per_s if has_learned else None,
        level=state.level if state.is_fresh else None,
        capacity=60.0 * state.capacity,
        granted=60.0 * pool.allotment.charged[index],
        used=60.0 * pool.used[index],
        outside=None if outside is None else 60.0 * outside,
        throttled_per_minute=float(pool.throttled(now - 60.0)),
        workloads=workloads,
    )
