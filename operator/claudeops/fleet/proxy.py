"""Soft state of one proxy: what its reports said, what it was told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from claudeops.exchange import Assignment, BreakerReport, GroupUse, LevelSample, Report
from claudeops.exchange import Rates as WireRates
from claudeops.policy.level import Sample
from claudeops.policy.shares import DemandMeter
from claudeops.proxyconfig import WorkloadKey

SAME_SAMPLE_S = 0.5
"""A proxy repeats its newest reading until there is a newer one; ages wobble by what the way took."""
SERVER_ERRORS = frozenset({"0", "504", "529"})

Triple = tuple[float, float, float]
Flags = tuple[bool, bool, bool]
NOTHING: Triple = (0.0, 0.0, 0.0)


def triple(rates: WireRates) -> Triple:
    """In the order of DIMENSIONS."""
    return (rates.requests, rates.input_tokens, rates.output_tokens)


def add(values: Iterable[Triple]) -> Triple:
    """Sum in each dimension."""
    first = second = third = 0.0
    for value in values:
        first, second, third = first + value[0], second + value[1], third + value[2]
    return (first, second, third)


def scale(values: Triple, factor: float) -> Triple:
    """Every dimension times ``factor``."""
    return (values[0] * factor, values[1] * factor, values[2] * factor)


def wire(values: Triple) -> WireRates:
    """As the exchange spells it."""
    return WireRates(requests=values[0], input_tokens=values[1], output_tokens=values[2])


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease of one group as decided: per dimension a rate, the charge for it, and whether it is contended."""

    rates: Triple
    charges: Triple
    is_contended: Flags = (False, False, False)


@dataclass(frozen=True, slots=True)
class Tally:
    """Upstream answers of one model in one report; 429s are not among ``requests``."""

    at: float
    sequence: int
    requests: int
    errors: int
    successes: int
    throttles: int


@dataclass(slots=True)
class Proxy:
    """One instance. ``grants`` is what it should hold by the last decision, ``delivered`` what it was last told."""

    instance: str
    workload: WorkloadKey
    seen_at: float
    last: Report
    meters: dict[str, DemandMeter] = field(default_factory=dict)
    traffic: list[tuple[float, int]] = field(default_factory=list)
    tallies: dict[str, list[Tally]] = field(default_factory=dict)
    breakers: dict[str, tuple[BreakerReport, float]] = field(default_factory=dict)
    samples_seen: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    organization: str = ""
    grants: dict[str, Grant] = field(default_factory=dict)
    delivered: dict[str, Grant] = field(default_factory=dict)
    flips: tuple[tuple[str, bool], ...] = ()
    connections: int | None = None
    max_in_flight: int | None = None
    assignment: Assignment | None = None
    version: int = 0
    told_flips: tuple[tuple[str, bool], ...] = ()
    told_epoch: int = -1
    told_at: float = -1.0e18
    told_revision: int = -1

    def is_done(self) -> bool:
        """It drains and has nothing left: this was its last word."""
        return self.last.is_draining and not any(use.in_flight or use.queued for use in self.last.groups.values())

    def offered(self, group: str) -> float:
        """Smoothed requests a second that the application offered for this group, as of the last report."""
        meter = self.meters.get(group)
        return 0.0 if meter is None else meter.rate

    def demand(self) -> float:
        """Requests a second offered in all groups."""
        return sum(meter.rate for meter in self.meters.values())

    def use(self, group: str) -> GroupUse:
        """The last report's figures of this group."""
        return self.last.groups.get(group) or GroupUse()

    def recent_traffic(self, since: float) -> int:
        """Answers given to the application since then."""
        return sum(count for at, count in self.traffic if at >= since)

    def tally(self, model: str, since: float) -> tuple[int, int]:
        """(requests, errors) of this model at the upstream since then."""
        seen = [tally for tally in self.tallies.get(model, ()) if tally.at >= since]
        return sum(tally.requests for tally in seen), sum(tally.errors for tally in seen)

    def take(self, report: Report, now: float, *, tau_s: float, window_s: float) -> None:
        """Takes a report in that is newer than the last one."""
        if report.sequence < self.last.sequence:
            raise ValueError("an older report")
        self.last = report
        self.seen_at = now
        if report.organization_ids:
            self.organization = report.organization_ids[-1]
        for group, use in report.groups.items():
            self._offer(group, use, report.interval_s, tau_s)
        self.breakers = {breaker.model: (breaker, now - breaker.since_s) for breaker in report.breakers}
        self.traffic.append((now, report.requests))
        for result in report.results:
            self.tallies.setdefault(result.model, []).append(_tally(result.codes, result.throttles, now, report.sequence))
        self._prune(now - window_s)

    def new_samples(self, now: float) -> list[tuple[LevelSample, Sample]]:
        """The last report's header readings that were not taken before, on the controller's clock."""
        fresh = []
        for seen in self.last.samples:
            key = (seen.group, seen.dimension)
            sent_at = now - seen.age_s
            old_at, old_remaining = self.samples_seen.get(key, (-1.0e18, -1.0))
            if sent_at < old_at or (sent_at < old_at + SAME_SAMPLE_S and seen.remaining == old_remaining):
                continue
            self.samples_seen[key] = (sent_at, seen.remaining)
            fresh.append((seen, Sample(seen.limit_per_minute / 60.0, seen.remaining, sent_at)))
        return fresh

    def _offer(self, group: str, use: GroupUse, interval_s: float, tau_s: float) -> None:
        """Folds by the report's own interval, so that the wait for the next one does not read as silence."""
        meter = self.meters.get(group)
        if meter is None:
            meter = self.meters[group] = DemandMeter(0.0, tau_s)
        meter.offer(use.wants.requests * interval_s)
        meter.rate_per_s(meter.updated_at + interval_s)

    def _prune(self, before: float) -> None:
        self.traffic = [entry for entry in self.traffic if entry[0] >= before]
        for model, tallies in list(self.tallies.items()):
            kept = [tally for tally in tallies if tally.at >= before]
            if kept:
                self.tallies[model] = kept
            else:
                del self.tallies[model]


def _tally(codes: dict[str, int], throttles: dict[str, int], now: float, sequence: int) -> Tally:
    errors = sum(count for code, count in codes.items() if code in SERVER_ERRORS or code.startswith("5"))
    successes = sum(count for code, count in codes.items() if code.startswith("2"))
    requests = sum(count for code, count in codes.items() if code != "429")
    return Tally(now, sequence, requests, errors, successes, max(codes.get("429", 0), sum(throttles.values())))
