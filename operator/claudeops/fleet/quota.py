"""One quota: its organisation, its pools, and what each of its workloads' proxies is granted."""

from __future__ import annotations

from collections.abc import Sequence

from claudeops.catalogue import load_catalogue
from claudeops.exchange import Report
from claudeops.fleet.allotment import UNLIMITED, Allotment, Member, Offer, allot
from claudeops.fleet.pool import EMPTY, Pool, PoolRules, pool_rules
from claudeops.fleet.proxy import NOTHING, Grant, Proxy, Triple, add, triple
from claudeops.fleet.settings import FleetSettings
from claudeops.fleet.workload import Workload
from claudeops.proxyconfig import Rates
from claudeops.translate.terms import QuotaTerms, capped_guarantee, limits_group


class Quota:
    """Soft state of one quota."""

    def __init__(self, terms: QuotaTerms, settings: FleetSettings) -> None:
        self.settings = settings
        self.organization: str | None = None
        self.pools: dict[str, Pool] = {}
        self.adopt(terms)

    def adopt(self, terms: QuotaTerms) -> None:
        """New terms; what was learned of the pools is kept."""
        self.terms = terms
        self.organization = terms.organization_id or self.organization
        self._rules: dict[str, PoolRules] = {}

    def is_foreign(self, proxy: Proxy) -> bool:
        """Does this proxy's key belong to another organisation, by what the API last answered it?"""
        return bool(proxy.organization) and self.organization is not None and proxy.organization != self.organization

    def take(self, proxy: Proxy, workload: Workload, report: Report, now: float) -> None:
        """Lets a report's header readings and 429s steer, if they are of this quota's organisation."""
        if self.organization is None and proxy.organization:
            self.organization = proxy.organization
        samples = proxy.new_samples(now)
        if self.is_foreign(proxy):
            return
        for seen, sample in samples:
            self.pool(seen.group).take_sample(seen.dimension, sample)
        for result in report.results:
            group = workload.groups.get(result.model) or limits_group(result.model, load_catalogue())
            self.pool(group).take_answers(result, now)

    def pool(self, group: str) -> Pool:
        """The pool of a group, made at its first use."""
        found = self.pools.get(group)
        if found is None:
            found = self.pools[group] = Pool(group)
        return found

    def decide(self, workloads: Sequence[Workload], now: float, *, is_learning: bool) -> None:
        """One decision: regulates every pool in use and grants every proxy anew. Foreign proxies get nothing."""
        groups = {group for workload in workloads for group in workload.used_groups()}
        for group in sorted(groups):
            self._decide_pool(self.pool(group), workloads, now, is_learning=is_learning)
        for workload in workloads:
            for proxy in workload.proxies.values():
                if self.is_foreign(proxy):
                    proxy.grants = {}
                elif proxy.grants.keys() - groups:
                    proxy.grants = {name: grant for name, grant in proxy.grants.items() if name in groups}

    def _decide_pool(self, pool: Pool, workloads: Sequence[Workload], now: float, *, is_learning: bool) -> None:
        mine = {workload.name: self._proxies(workload) for workload in workloads if pool.group in workload.used_groups()}
        sharing = [workload for workload in workloads if mine.get(workload.name)]
        proxies = [proxy for members in mine.values() for proxy in members]
        used = add(triple(proxy.use(pool.group).used) for proxy in proxies)
        pool.step(self._rules_of(pool.group), now, is_queued=_is_queued(pool, sharing), used=used)
        if not any(pool.limits()):
            pool.allotment = EMPTY
        elif is_learning:
            pool.allotment = _confirm(pool, proxies)
        else:
            pool.allotment = allot(pool.capacity(), [self._member(workload, pool, mine[workload.name]) for workload in sharing])
        _hand_out(pool, proxies)

    def _proxies(self, workload: Workload) -> list[Proxy]:
        return [proxy for proxy in workload.proxies.values() if not self.is_foreign(proxy)]

    def _member(self, workload: Workload, pool: Pool, proxies: Sequence[Proxy]) -> Member:
        group = pool.group
        offers = {proxy.instance: Offer(proxy.offered(group), proxy.use(group).queued, proxy.delivered.get(group)) for proxy in proxies}
        elsewhere = sum(meter.rate for proxy in proxies for name, meter in proxy.meters.items() if name != group)
        maximum = workload.terms.maximum
        return Member(
            name=workload.name,
            weight=float(workload.terms.weight),
            costs=workload.mean_costs(group),
            offers=offers,
            floors=self._floors(workload, pool),
            maximum=(
                _per_second(maximum.requests_per_minute),
                _per_second(maximum.input_tokens_per_minute),
                _per_second(maximum.output_tokens_per_minute),
            ),
            elsewhere_per_s=elsewhere,
        )

    def _floors(self, workload: Workload, pool: Pool) -> Triple:
        """The guarantee holds in the group of the tier being served, and shrinks with a capacity below the limit."""
        if workload.active_group != pool.group:
            return NOTHING
        declared = capped_guarantee(workload.terms, self.terms, pool.group)
        values = (declared.requests_per_minute, declared.input_tokens_per_minute, declared.output_tokens_per_minute)
        floors = []
        for value, limit, capacity in zip(values, pool.limits(), pool.capacity(), strict=True):
            ratio = min(1.0, capacity / limit) if capacity is not None and limit > 0.0 else 1.0
            floors.append((value or 0.0) / 60.0 * ratio)
        return (floors[0], floors[1], floors[2])

    def _rules_of(self, group: str) -> PoolRules:
        found = self._rules.get(group)
        if found is None:
            found = self._rules[group] = pool_rules(
                self.terms.limits.get(group, Rates()),
                self.settings,
                reserve_percent=self.terms.reserve_percent,
                is_learning=self.terms.is_learning_from_headers,
            )
        return found


def _hand_out(pool: Pool, proxies: Sequence[Proxy]) -> None:
    """Of a group with no limit declared or seen nothing is leased: its proxies keep to their baseline until headers tell."""
    for proxy in proxies:
        grant = pool.allotment.grants.get(proxy.instance)
        if grant is not None:
            proxy.grants[pool.group] = grant
        else:
            proxy.grants.pop(pool.group, None)


def _is_queued(pool: Pool, workloads: Sequence[Workload]) -> bool:
    """Do requests wait for the quota (and not for their workload's own maximum)?"""
    for workload in workloads:
        portion = pool.allotment.portions.get(workload.name)
        is_own_limit = portion is not None and portion.is_capped and not any(portion.is_contended)
        if not is_own_limit and any(proxy.use(pool.group).queued for proxy in workload.proxies.values()):
            return True
    return False


def _confirm(pool: Pool, proxies: Sequence[Proxy]) -> Allotment:
    """Learning: each proxy goes on with what it says it holds, scaled so that the sum never exceeds the capacity."""
    holds = {proxy.instance: triple(proxy.use(pool.group).holds) for proxy in proxies if pool.group in proxy.last.groups}
    total = add(holds.values())
    bounds = [UNLIMITED[index] if bound is None else bound for index, bound in enumerate(pool.capacity())]
    scales = [1.0 if total[index] <= bounds[index] else bounds[index] / total[index] for index in range(3)]
    grants = {}
    for instance, hold in holds.items():
        rates = (hold[0] * scales[0], hold[1] * scales[1], hold[2] * scales[2])
        grants[instance] = Grant(rates, rates, (True, True, True))
    return Allotment({}, grants, add(grant.charges for grant in grants.values()))


def _per_second(rate: float | None) -> float | None:
    return None if rate is None else rate / 60.0
