"""One model group's capacity shared out: among workloads by water-fill, among their proxies by demand. Pure.

Source: reference quota-control, section 2 "shares". All rates are per second, triples in the order of requests, input and output tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claudeops.fleet.proxy import NOTHING, Flags, Grant, Triple, add, scale
from claudeops.policy.shares import CONTENDED_BELOW, LeaseShare, WorkloadShare, lease_shares, probe_rate, proxy_demand
from claudeops.policy.waterfill import Claim, waterfill

UNLIMITED: Triple = (1e6, 1e9, 1e7)
"""What is leased of a dimension that nothing limits. Finite, since proxies compute with it."""
BOUNDLESS = 1e12
COUPLING_SLACK = 1.2
"""Who gets a third of one dimension cannot use more than that of the others; this much above it is still asked for."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one proxy's application offers to this group, and what the proxy was last told to hold."""

    requests_per_s: float
    queued: int
    held: Grant | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One workload that shares the group. ``costs`` are means of one request; ``maximum`` is None where it has none.

    ``elsewhere_per_s``: requests a second that it offers to other groups, since ``maximum`` bounds the sum.
    """

    name: str
    weight: float
    costs: Triple
    offers: Mapping[str, Offer]
    floors: Triple = NOTHING
    maximum: tuple[float | None, float | None, float | None] = (None, None, None)
    elsewhere_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Portion:
    """One workload's part. ``demand`` is what it asked for after its maximum; contended where the grant does not cover it."""

    demand: Triple
    grant: Triple
    is_contended: Flags
    is_guarantee_scaled: Flags
    is_capped: bool = False


@dataclass(frozen=True, slots=True)
class Allotment:
    """Portions by workload name, grants by proxy, and what all of it is charged."""

    portions: dict[str, Portion]
    grants: dict[str, Grant]
    charged: Triple


@dataclass(frozen=True, slots=True)
class _Asked:
    demands: dict[str, Triple]
    is_capped: Flags


Fill = dict[str, tuple[float, float, bool]]
"""Workload name → (demand, grant, were guarantees scaled)."""


def allot(capacity: Sequence[float | None], members: Sequence[Member]) -> Allotment:
    """Shares the capacities (None: that dimension is not limited) out.

    The sum of charges passes a capacity by no more than the probing minimum of 1 %.
    """
    bounds = [BOUNDLESS if bound is None else bound for bound in capacity]
    probes = _probes(capacity, members)
    asked = {member.name: _ask(member, probes) for member in members}
    fills = _fills(bounds, members, asked)
    leases = [
        lease_shares(bounds[index], _shares(members, asked, fills[index], index), _held(members, index), probes[index])
        for index in range(3)
    ]
    shares = [_with_headroom(leases[index], bounds[index], UNLIMITED[index]) for index in range(3)]
    grants = {instance: _grant(instance, shares) for member in members for instance in member.offers}
    portions = {member.name: _portion(member.name, fills, asked[member.name]) for member in members}
    return Allotment(portions, grants, add(grant.charges for grant in grants.values()))


def _probes(capacity: Sequence[float | None], members: Sequence[Member]) -> list[float]:
    proxies = sum(len(member.offers) for member in members)
    return [0.0 if bound is None else probe_rate(bound, proxies) for bound in capacity]


def _fills(bounds: Sequence[float], members: Sequence[Member], asked: Mapping[str, _Asked]) -> list[Fill]:
    """Every dimension twice: what the scarcest one leaves to want of the others is known only after the first time."""
    first = [_fill(bounds[index], members, asked, index) for index in range(3)]
    reached = _within_reach(asked, first)
    return [_refill(bounds[index], members, asked, reached, index) for index in range(3)]


def _grant(instance: str, shares: Sequence[Mapping[str, LeaseShare]]) -> Grant:
    first, second, third = (share[instance] for share in shares)
    return Grant(
        (first.lease, second.lease, third.lease),
        (first.charge, second.charge, third.charge),
        (first.is_contended, second.is_contended, third.is_contended),
    )


def _ask(member: Member, probes: Sequence[float]) -> _Asked:
    """Demands of each proxy, cut so that the workload's sum over all groups stays within its maximum."""
    demands = {instance: _demand(offer, member.costs, probes) for instance, offer in member.offers.items()}
    here = add(demands.values())
    ratios = [_ratio(member.maximum[index], here[index] + member.elsewhere_per_s * member.costs[index]) for index in range(3)]
    factor = min(ratios)
    cut = {instance: scale(demand, factor) for instance, demand in demands.items()}
    return _Asked(cut, (ratios[0] < 1.0, ratios[1] < 1.0, ratios[2] < 1.0))


def _demand(offer: Offer, costs: Triple, probes: Sequence[float]) -> Triple:
    first, second, third = (
        proxy_demand(offer.requests_per_s, offer.queued, cost, probe) for cost, probe in zip(costs, probes, strict=True)
    )
    return (first, second, third)


def _ratio(most: float | None, total: float) -> float:
    return 1.0 if most is None or total <= most else most / total


def _within_reach(wanted: Mapping[str, _Asked], fills: Sequence[Fill]) -> dict[str, _Asked]:
    """Cuts what is asked of every dimension to what the scarcest one of a workload lets it use."""
    asked = {}
    for name, ask in wanted.items():
        fractions = [fill[name][1] / fill[name][0] for fill in fills if fill[name][0] > 0.0]
        reach = min(1.0, COUPLING_SLACK * min(fractions, default=1.0))
        demands = {instance: scale(demand, reach) for instance, demand in ask.demands.items()}
        asked[name] = _Asked(demands, ask.is_capped)
    return asked


def _fill(bound: float, members: Sequence[Member], asked: Mapping[str, _Asked], index: int) -> Fill:
    sums = {member.name: sum(demand[index] for demand in asked[member.name].demands.values()) for member in members}
    claims = [Claim(member.name, sums[member.name], member.floors[index], member.weight) for member in members]
    result = waterfill(bound, claims)
    scaled = {claim.name: result.is_guarantee_scaled and result.grants[claim.name] < min(claim.floor, claim.demand) for claim in claims}
    return {name: (sums[name], result.grants[name], scaled[name]) for name in sums}


def _refill(bound: float, members: Sequence[Member], asked: Mapping[str, _Asked], reached: Mapping[str, _Asked], index: int) -> Fill:
    """First what is within reach, then whatever is left: a wrong mean cost must neither waste capacity nor lift a bound."""
    sure = _fill(bound, members, reached, index)
    rests = []
    sums = {}
    for member in members:
        sums[member.name] = sum(demand[index] for demand in asked[member.name].demands.values())
        rests.append(Claim(member.name, max(0.0, sums[member.name] - sure[member.name][1]), 0.0, member.weight))
    left = waterfill(max(0.0, bound - sum(grant for _, grant, _ in sure.values())), rests)
    return {name: (sums[name], sure[name][1] + left.grants[name], sure[name][2]) for name in sums}


def _shares(members: Sequence[Member], asked: Mapping[str, _Asked], fill: Fill, index: int) -> list[WorkloadShare]:
    return [
        WorkloadShare(
            fill[member.name][1],
            {instance: demand[index] for instance, demand in asked[member.name].demands.items()},
            asked[member.name].is_capped[index],
        )
        for member in members
    ]


def _held(members: Sequence[Member], index: int) -> dict[str, float]:
    return {
        instance: offer.held.rates[index]
        for member in members
        for instance, offer in member.offers.items()
        if offer.held is not None and offer.held.is_contended[index]
    }


def _with_headroom(shares: dict[str, LeaseShare], bound: float, unlimited: float) -> dict[str, LeaseShare]:
    """What nobody is charged for is lent evenly to those who do not queue, so that a burst after silence need not wait for a report.

    Each then holds the more of twice its demand and demand plus headroom, and no more than all there is; even if all used their
    headroom, capacity would hold.
    """
    free = [name for name, share in shares.items() if not share.is_contended]
    if not free:
        return shares
    if bound >= BOUNDLESS:
        lent = {name: LeaseShare(unlimited, shares[name].charge, False) for name in free}
    else:
        headroom = max(0.0, bound - sum(share.charge for share in shares.values())) / len(free)
        lent = {name: _lend(shares[name], headroom, bound) for name in free}
    return {**shares, **lent}


def _lend(share: LeaseShare, headroom: float, bound: float) -> LeaseShare:
    return LeaseShare(min(bound, max(share.lease, share.charge + headroom)), share.charge, False)


def _portion(name: str, fills: Sequence[Fill], asked: _Asked) -> Portion:
    first, second, third = (fill[name] for fill in fills)
    contended = [grant < CONTENDED_BELOW * demand for demand, grant, _ in (first, second, third)]
    return Portion(
        demand=add(asked.demands.values()),
        grant=(first[1], second[1], third[1]),
        is_contended=(contended[0], contended[1], contended[2]),
        is_guarantee_scaled=(first[2], second[2], third[2]),
        is_capped=any(asked.is_capped),
    )
