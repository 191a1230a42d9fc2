"""Leases among proxies: what each of a group's proxies gets of its workload's grant, in one dimension.

Source: reference quota-control, section 2 "shares" and section 4 "Pooling". A lease is *charged*: a contended one in full, an
uncontended one at the proxy's demand, since who does not queue uses no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp

CONTENDED_BELOW = 0.999
ROOM = 2.0
PROBE_SHARE = 0.01
PUSH_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class WorkloadShare:
    """One workload's grant of this dimension and its proxies' demands. `is_capped`: at its own maximum, so contended."""

    grant: float
    demands: Mapping[str, float]
    is_capped: bool = False


@dataclass(frozen=True, slots=True)
class LeaseShare:
    """What one proxy is leased and what it is charged for, per second."""

    lease: float
    charge: float
    is_contended: bool


class DemandMeter:
    """EWMA (5 s) of what the application offers, refused and queued work included. The caller brings the clock."""

    __slots__ = ("memory_s", "rate", "unfolded", "updated_at")

    def __init__(self, now: float, memory_s: float = 5.0) -> None:
        self.memory_s = memory_s
        self.rate = 0.0
        self.unfolded = 0.0
        self.updated_at = now

    def offer(self, amount: float) -> None:
        """Work offered now."""
        self.unfolded += amount

    def rate_per_s(self, now: float) -> float:
        """The smoothed rate at `now`; folds what was offered since the last call (call it every report or second)."""
        elapsed_s = now - self.updated_at
        if elapsed_s > 0.0:
            keep = exp(-elapsed_s / self.memory_s)
            self.rate = self.rate * keep + (1.0 - keep) * self.unfolded / elapsed_s
            self.unfolded = 0.0
            self.updated_at = now
        return self.rate


def proxy_demand(offered_per_s: float, queued: float, mean_cost: float, probe: float) -> float:
    """Demand of one proxy in one dimension: offered requests and a tenth of the queue each second, at their mean cost,
    and the probing minimum, so that nobody is forgotten."""
    return (offered_per_s + queued / 10.0) * mean_cost + probe


def probe_rate(capacity: float, proxies: int) -> float:
    """The probing minimum: one hundredth of the capacity over all proxies."""
    return PROBE_SHARE * capacity / max(1, proxies)


def lease_shares(
    capacity: float, workloads: Iterable[WorkloadShare], held: Mapping[str, float], probe: float = 0.0
) -> dict[str, LeaseShare]:
    """The next lease of every proxy of a group, by proxy name.

    `workloads`: grants from `waterfill` (their sum is at most `capacity`). `held`: every contended lease that may still
    be in use, of proxies that are gone as well. Contended: the grant is split by demand (each at least `probe`);
    decreases take effect at once, increases are scaled to what is left of the capacity while old leases are held, so
    the sum of charges passes the capacity by no more than the probes. Otherwise: twice the demand, charged once.
    """
    shares: dict[str, LeaseShare] = {}
    targets: dict[str, float] = {}
    for workload in workloads:
        wanted = sum(workload.demands.values())
        if workload.is_capped or workload.grant < CONTENDED_BELOW * wanted:
            targets.update(_split(workload, wanted, probe))
        else:
            shares.update({name: LeaseShare(ROOM * demand, demand, False) for name, demand in workload.demands.items()})
    charged = sum(share.charge for share in shares.values())
    charged += sum(lease for name, lease in held.items() if name not in shares)
    shares.update(_approach(targets, held, capacity - charged, probe))
    return shares


def _approach(targets: Mapping[str, float], held: Mapping[str, float], room: float, probe: float) -> dict[str, LeaseShare]:
    """Contended leases on the way to their targets: down at once, up by the same part of each rise as `room` allows."""
    rise = sum(max(0.0, target - held.get(name, 0.0)) for name, target in targets.items())
    factor = min(1.0, max(0.0, room) / rise) if rise > 0.0 else 1.0
    shares = {}
    for name, target in targets.items():
        has = min(target, held.get(name, 0.0))
        lease = max(has + factor * (target - has), min(probe, target))
        shares[name] = LeaseShare(lease, lease, True)
    return shares


def should_push(old: float, new: float) -> bool:
    """Is the change worth telling before the next report? More than 2 % of the larger."""
    return abs(new - old) > PUSH_SHARE * max(old, new)


def _split(workload: WorkloadShare, wanted: float, probe: float) -> dict[str, float]:
    count = len(workload.demands)
    floor = min(probe, workload.grant / count) if count else 0.0
    rest = workload.grant - floor * count
    if wanted <= 0.0:
        return dict.fromkeys(workload.demands, floor)
    return {name: floor + rest * demand / wanted for name, demand in workload.demands.items()}
