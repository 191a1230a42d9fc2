"""How many connections, requests in flight and replicas a workload's grant can feed."""

from __future__ import annotations

from math import ceil

from claudeops.fleet.proxy import Proxy
from claudeops.fleet.settings import FleetSettings
from claudeops.fleet.workload import Workload
from claudeops.policy.connections import connection_ceiling
from claudeops.policy.replicas import ReplicaObservation, ReplicaParameters, ReplicaState, step_replicas
from claudeops.translate.terms import ScalingTerms


def size_workload(workload: Workload, now: float, settings: FleetSettings) -> None:
    """Sets connections and requests in flight of every proxy, and the desired replicas, from what was just granted."""
    feedable_per_s = 0.0
    for proxy in workload.proxies.values():
        feeds = feedable_requests(workload, proxy)
        feedable_per_s += feeds
        proxy.connections = pool_size(workload, feeds) if proxy.grants else None
    ceilings = [proxy.connections or workload.terms.connections.max for proxy in workload.proxies.values()]
    workload.connections = max(ceilings, default=None)
    if workload.terms.max_in_flight is None:
        parts = {}
    else:
        parts = split_in_flight(workload.terms.max_in_flight, {name: proxy.demand() for name, proxy in workload.proxies.items()})
    for name, proxy in workload.proxies.items():
        proxy.max_in_flight = parts.get(name)
    is_frozen = workload.active_model != workload.tiers[0] or not any(proxy.grants for proxy in workload.proxies.values())
    decide_replicas(workload, feedable_per_s, now, settings=settings, is_frozen=is_frozen)


def feedable_requests(workload: Workload, proxy: Proxy) -> float:
    """Requests a second that the proxy's leases feed: in each group the scarcest of its dimensions at mean cost.

    An uncontended lease counts with its room; but room in a group that is not the one being served feeds nobody.
    """
    total = 0.0
    for group, grant in proxy.grants.items():
        rates = grant.rates if group == workload.active_group else grant.charges
        total += min(rate / cost for rate, cost in zip(rates, workload.mean_costs(group), strict=True) if cost > 0.0)
    return total


def pool_size(workload: Workload, feedable_per_s: float) -> int | None:
    """Connection ceiling of one proxy; None while no latency is known (the config's maximum holds then)."""
    if workload.latency_s <= 0.0:
        return None
    bounds = workload.terms.connections
    return connection_ceiling(feedable_per_s, workload.latency_s, minimum=bounds.min, maximum=bounds.max)


def split_in_flight(total: int, demands: dict[str, float]) -> dict[str, int]:
    """``maxInFlight`` by demand, at least 1 each: the parts sum to the total, unless there are more proxies than that."""
    if not demands:
        return {}
    spare = max(0, total - len(demands))
    wanted = sum(demands.values())
    exact = {name: spare * (demand / wanted if wanted > 0.0 else 1.0 / len(demands)) for name, demand in demands.items()}
    parts = {name: 1 + int(share) for name, share in exact.items()}
    left = spare - sum(int(share) for share in exact.values())
    for name in sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))[:left]:
        parts[name] += 1
    return parts


def decide_replicas(workload: Workload, feedable_per_s: float, now: float, *, settings: FleetSettings, is_frozen: bool) -> None:
    """Sets the workload's desired replicas by its scaling mode; leaves None where nothing is scaled or nothing is known yet."""
    scaling = workload.terms.scaling
    if scaling is None:
        workload.desired_replicas = workload.wanted_replicas = None
        workload.is_capped_by_quota = False
        return
    in_flight = sum(use.in_flight for proxy in workload.proxies.values() for use in proxy.last.groups.values())
    queued = sum(use.queued for proxy in workload.proxies.values() for use in proxy.last.groups.values())
    seen = ReplicaObservation(
        in_flight=float(in_flight),
        queued=float(queued),
        lease_requests_per_s=feedable_per_s,
        latency_s=workload.latency_s,
        is_frozen=is_frozen or not workload.proxies,
    )
    if scaling.mode == "Adaptive":
        _adapt(workload, seen, now, _parameters(scaling, settings))
    else:
        _follow(workload, scaling, seen, settings)


def _adapt(workload: Workload, seen: ReplicaObservation, now: float, parameters: ReplicaParameters) -> None:
    state = workload.replica_state
    if state is None:
        if workload.replicas is None:
            return
        state = ReplicaState(replicas=min(parameters.maximum, max(parameters.minimum, workload.replicas)))
    state = workload.replica_state = step_replicas(state, seen, now, parameters)
    workload.desired_replicas = state.replicas
    workload.is_capped_by_quota = state.is_capped_by_quota
    load = state.uncapped
    workload.wanted_replicas = None if load is None else ceil(load / (parameters.fill * parameters.target_in_flight) - 1e-9)


def _follow(workload: Workload, scaling: ScalingTerms, seen: ReplicaObservation, settings: FleetSettings) -> None:
    """External: what was asked for, within min, max and what the quota can feed. Fixed: what was asked for."""
    workload.replica_state = None
    workload.wanted_replicas = scaling.replicas
    workload.is_capped_by_quota = False
    if scaling.mode == "Fixed":
        workload.desired_replicas = scaling.replicas
        return
    most = scaling.max
    if seen.queued > 0 and not seen.is_frozen and seen.latency_s > 0.0:
        feedable = seen.lease_requests_per_s * seen.latency_s
        most = min(most, max(scaling.min, ceil(feedable / (settings.replica_fill * scaling.target_in_flight_per_replica) - 1e-9)))
    workload.desired_replicas = min(most, max(scaling.min, scaling.replicas))
    workload.is_capped_by_quota = min(scaling.max, scaling.replicas) > most


def _parameters(scaling: ScalingTerms, settings: FleetSettings) -> ReplicaParameters:
    return ReplicaParameters(
        minimum=scaling.min,
        maximum=scaling.max,
        target_in_flight=float(scaling.target_in_flight_per_replica),
        fill=settings.replica_fill,
        memory_s=settings.replica_memory_s,
        up_every_s=settings.scale_up_interval_s,
        down_window_s=settings.scale_down_window_s,
        down_every_s=settings.scale_down_interval_s,
    )
