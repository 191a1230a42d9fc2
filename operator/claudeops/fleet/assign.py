"""What a proxy is told, and when it should hear of it before its next report."""

from __future__ import annotations

from claudeops.exchange import Assignment, Flip, Lease
from claudeops.fleet.proxy import Grant, Proxy, wire
from claudeops.fleet.quota import Quota
from claudeops.fleet.settings import FleetSettings
from claudeops.policy.shares import should_push

ROOM_PUSH_SHARE = 0.25
"""Room that nobody queues for is news only when it moves by this much."""


def compose(proxy: Proxy, quota: Quota | None, settings: FleetSettings, *, epoch: int) -> Assignment:
    """The assignment as it would be now, without version and config. Without a quota: no leases."""
    return Assignment(
        epoch=epoch,
        version=0,
        ttl_s=settings.lease_ttl_s,
        report_interval_s=settings.report_interval_s,
        leases={} if quota is None else {group: _lease(quota, group, grant) for group, grant in proxy.grants.items()},
        connections=proxy.connections,
        max_in_flight=proxy.max_in_flight,
        flips=[Flip(model=model, may_probe=may_probe) for model, may_probe in proxy.flips],
    )


def has_moved(proxy: Proxy) -> bool:
    """Is there something in the decision that the proxy should hear before its next report?"""
    if proxy.flips != proxy.told_flips or proxy.grants.keys() != proxy.delivered.keys():
        return True
    return any(_is_news(grant, proxy.delivered[group]) for group, grant in proxy.grants.items())


def _lease(quota: Quota, group: str, grant: Grant) -> Lease:
    pool = quota.pool(group)
    return Lease(rates=wire(grant.rates), is_contended=any(grant.is_contended), limits=wire(pool.limits()), full_s=wire(pool.full_s()))


def _is_news(new: Grant, old: Grant) -> bool:
    return new.is_contended != old.is_contended or any(
        should_push(before, after) if is_contended else abs(after - before) > ROOM_PUSH_SHARE * max(before, after)
        for before, after, is_contended in zip(old.rates, new.rates, new.is_contended, strict=True)
    )
