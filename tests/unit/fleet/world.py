"""A few proxies with steady demand, driven through the real fleet in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claudeops.exchange import (
    DIMENSIONS,
    Assignment,
    BreakerReport,
    GroupUse,
    LevelSample,
    ModelResults,
    Rates,
    Report,
)
from claudeops.fleet import Fleet, FleetSettings
from claudeops.proxyconfig import BreakerPolicy, Connections, ModelChoice, Objective, ProxyConfig, Upstream, WorkloadKey
from claudeops.proxyconfig import Rates as Declared
from claudeops.translate.terms import QuotaTerms, ScalingTerms, WorkloadTerms

PRIMARY = "claude-sonnet-5-5"
FALLBACK = "claude-haiku-5-5"
GROUP = "sonnet-5.5"
FALLBACK_GROUP = "haiku-5.5"
UPSTREAM = "http://simulator.test"


def key(name: str = "bot", namespace: str = "shop") -> WorkloadKey:
    return WorkloadKey(namespace=namespace, name=name)


def declared(requests: float | None = None, input_tokens: float | None = None, output_tokens: float | None = None) -> Declared:
    """A minute."""
    return Declared(requests_per_minute=requests, input_tokens_per_minute=input_tokens, output_tokens_per_minute=output_tokens)


LIMITS = declared(600, 600_000, 120_000)


def quota(name: str = "prod", limits: Mapping[str, Declared] | None = None, **changes: Any) -> QuotaTerms:
    return QuotaTerms(name=name, upstream=UPSTREAM, limits=limits or {GROUP: LIMITS, FALLBACK_GROUP: LIMITS}, **changes)


def scaling(mode: Any = "Adaptive", *, least: int = 1, most: int = 20, replicas: int = 1, target: int = 16) -> ScalingTerms:
    return ScalingTerms(
        mode=mode,
        target_kind="Deployment",
        target_name="bot",
        min=least,
        max=most,
        replicas=replicas,
        target_in_flight_per_replica=target,
    )


def workload(name: str = "bot", **changes: Any) -> WorkloadTerms:
    terms: dict[str, Any] = {
        "workload": key(name),
        "quota": "prod",
        "tiers": (PRIMARY, FALLBACK),
        "groups": {PRIMARY: GROUP, FALLBACK: FALLBACK_GROUP},
        "weight": 100,
        "guaranteed": declared(),
        "maximum": declared(),
        "max_in_flight": None,
        "connections": Connections(),
        "breaker": BreakerPolicy(),
        "scaling": None,
        "objectives": (),
    }
    return WorkloadTerms(**{**terms, **changes})


def objective(indicator: Any = "Latency", threshold_s: float = 5.0, percent: float = 95.0) -> Objective:
    return Objective(indicator=indicator, threshold_s=threshold_s, objective_percent=percent)


def config(terms: WorkloadTerms, revision: int = 1) -> ProxyConfig:
    return ProxyConfig(
        revision=revision, workload=terms.workload, upstream=Upstream(base_url=UPSTREAM), model=ModelChoice(name=terms.model)
    )


@dataclass
class SimulatedProxy:
    """Offers requests at a steady rate and uses what its lease allows. Every request costs the same."""

    instance: str
    workload: WorkloadKey = field(default_factory=key)
    offered_per_s: float = 0.0
    cost: tuple[float, float] = (1000.0, 400.0)
    queued: int = 0
    group: str = GROUP
    revision: int = 1
    organization: str = ""
    is_draining: bool = False
    assignment: Assignment | None = None
    sequence: int = 0
    reported_at: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def used_per_s(self) -> float:
        """What its lease feeds of what is offered."""
        lease = None if self.assignment is None else self.assignment.leases.get(self.group)
        if lease is None:
            return 0.0
        feeds = min(lease.rates.requests, lease.rates.input_tokens / self.cost[0], lease.rates.output_tokens / self.cost[1])
        return min(self.offered_per_s, feeds)

    def report(self, now: float, *, is_urgent: bool = False, **changes: Any) -> Report:
        interval_s = 5.0 if self.reported_at is None else max(0.001, now - self.reported_at)
        self.reported_at = now
        self.sequence += 1
        used = self.used_per_s()
        lease = None if self.assignment is None else self.assignment.leases.get(self.group)
        use = GroupUse(
            wants=self._rates(self.offered_per_s),
            used=self._rates(used),
            holds=Rates() if lease is None else lease.rates,
            queued=self.queued,
            in_flight=round(used * 5.0),
            latency_s=5.0 if used else 0.0,
        )
        known = {
            "instance": self.instance,
            "workload": self.workload,
            "sequence": self.sequence,
            "revision": self.revision,
            "epoch": 0 if self.assignment is None else self.assignment.epoch,
            "version": 0 if self.assignment is None else self.assignment.version,
            "lease_state": "Baseline" if self.assignment is None else "Fresh",
            "is_urgent": is_urgent,
            "is_draining": self.is_draining,
            "interval_s": interval_s,
            "groups": {self.group: use},
            "requests": round(self.offered_per_s * interval_s),
            "organization_ids": [self.organization] if self.organization else [],
        }
        return Report(**{**known, **self.extra, **changes})

    def speak(self, fleet: Fleet, now: float, **changes: Any) -> None:
        """Reports and takes the answer."""
        fleet.accept(self.report(now, **changes), now)
        self.listen(fleet, now)

    def listen(self, fleet: Fleet, now: float) -> None:
        """Takes what the fleet says now, as the end of a long poll would bring it."""
        self.assignment = fleet.assignment_for(self.instance, now)
        if self.assignment.config is not None:
            self.revision = self.assignment.config.revision

    def _rates(self, requests_per_s: float) -> Rates:
        return Rates(requests=requests_per_s, input_tokens=requests_per_s * self.cost[0], output_tokens=requests_per_s * self.cost[1])


@dataclass
class World:
    """A fleet with its proxies and its clock. Each proxy reports every 5 s, staggered; the fleet ticks every second and pushes."""

    settings: FleetSettings = field(default_factory=FleetSettings)
    proxies: list[SimulatedProxy] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.settings)
        self.fleet.begin(1, self.now)

    def add(self, terms: WorkloadTerms, *proxies: SimulatedProxy) -> None:
        self.fleet.set_workload(terms, config(terms))
        self.proxies.extend(proxies)

    def run(self, seconds: int, **changes: Any) -> None:
        """Lets time pass, with ``changes`` in every report."""
        interval_s = round(self.settings.report_interval_s)
        for _ in range(seconds):
            self.now += 1.0
            for index, proxy in enumerate(self.proxies):
                if (int(self.now) + index) % interval_s == 0 or proxy.reported_at is None:
                    proxy.speak(self.fleet, self.now, **changes)
            self.tick()

    def tick(self) -> None:
        self.fleet.tick(self.now)
        pushes = self.fleet.take_pushes()
        for proxy in self.proxies:
            if proxy.instance in pushes and proxy.reported_at is not None:
                proxy.listen(self.fleet, self.now)

    def lease(self, proxy: SimulatedProxy, group: str = GROUP) -> Rates:
        assert proxy.assignment is not None
        return proxy.assignment.leases[group].rates

    def leased(self, group: str = GROUP) -> Rates:
        """Sum over proxies."""
        held = [proxy.assignment.leases[group].rates for proxy in self.proxies if proxy.assignment and group in proxy.assignment.leases]
        return Rates(
            requests=sum(rates.requests for rates in held),
            input_tokens=sum(rates.input_tokens for rates in held),
            output_tokens=sum(rates.output_tokens for rates in held),
        )


def samples(share: float, *, limits: Declared = LIMITS, burst_s: float = 5.0, group: str = GROUP) -> list[LevelSample]:
    """Headers of a bucket that is this full, sent just now."""
    values = (limits.requests_per_minute or 0.0, limits.input_tokens_per_minute or 0.0, limits.output_tokens_per_minute or 0.0)
    return [
        LevelSample(group=group, dimension=dimension, limit_per_minute=limit, remaining=limit / 60.0 * burst_s * share, age_s=0.0)
        for dimension, limit in zip(DIMENSIONS, values, strict=True)
    ]


def breaker(state: Any = "Open", *, reason: str = "ErrorShare", since_s: float = 0.0, model: str = PRIMARY) -> BreakerReport:
    return BreakerReport(model=model, state=state, reason=reason, since_s=since_s, requests=20, errors=20)


def results(good: int = 0, bad: int = 0, throttled: int = 0, *, model: str = PRIMARY, cause: str = "RateLimited") -> ModelResults:
    codes = {code: count for code, count in (("200", good), ("529", bad), ("429", throttled)) if count}
    return ModelResults(model=model, codes=codes, throttles={cause: throttled} if throttled else {})
