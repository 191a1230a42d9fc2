"""Soft state of one workload: its terms, its proxies, and what was learned of them."""

from __future__ import annotations

from math import exp

from claudeops.catalogue import load_catalogue
from claudeops.exchange import Report
from claudeops.fleet.figures import FigureWindow, SloStore
from claudeops.fleet.proxy import Proxy, Triple, triple
from claudeops.fleet.settings import FleetSettings
from claudeops.fleet.views import SloView
from claudeops.policy.gate import START_MEAN_OUTPUT
from claudeops.policy.replicas import ReplicaState
from claudeops.proxyconfig import ProxyConfig
from claudeops.translate.terms import WorkloadTerms

START_MEAN_INPUT = 1500.0
COST_MEMORY_S = 60.0
PRIOR_REQUESTS = 1.0
LATENCY_MEMORY_S = 15.0


class CostMeter:
    """Mean cost of one request in a group, by the proxies' own estimates of what is offered; decayed over a minute.

    Not by what was used: short answers end first and would make a young fleet look cheap (reference quota-control, pitfalls 3 and 4).
    """

    __slots__ = ("requests", "tokens", "updated_at")

    def __init__(self, now: float) -> None:
        self.updated_at = now
        self.requests = PRIOR_REQUESTS
        self.tokens = (PRIOR_REQUESTS * START_MEAN_INPUT, PRIOR_REQUESTS * START_MEAN_OUTPUT)

    def take(self, wants: Triple, interval_s: float, now: float) -> None:
        """One proxy's offered rates over its report's interval. Silence changes nothing; nor does a proxy that estimates no tokens."""
        if wants[0] <= 0.0 or wants[1] + wants[2] <= 0.0:
            return
        keep = exp(-max(0.0, now - self.updated_at) / COST_MEMORY_S)
        self.updated_at = now
        self.requests = self.requests * keep + wants[0] * interval_s
        self.tokens = (self.tokens[0] * keep + wants[1] * interval_s, self.tokens[1] * keep + wants[2] * interval_s)

    def means(self) -> Triple:
        """(1, input tokens, output tokens) of one request."""
        return (1.0, self.tokens[0] / self.requests, self.tokens[1] / self.requests)


class Workload:
    """One workload. ``tiers`` and ``groups`` are by the catalogue's canonical model ids, as proxies report them."""

    def __init__(self, terms: WorkloadTerms, config: ProxyConfig, settings: FleetSettings) -> None:
        self.key = terms.workload
        self.proxies: dict[str, Proxy] = {}
        self.gone: dict[str, float] = {}
        self.costs: dict[str, CostMeter] = {}
        self.window = FigureWindow(settings.figures_window_s)
        self.slos = SloStore()
        self.latency_s = 0.0
        self.latency_at = 0.0
        self.throttled_at = -1.0e18
        self.throttle_reason = ""
        self.throttled_hold_s = settings.throttled_hold_s
        self.expected: int | None = None
        self.replicas: int | None = None
        self.replica_state: ReplicaState | None = None
        self.desired_replicas: int | None = None
        self.wanted_replicas: int | None = None
        self.is_capped_by_quota = False
        self.connections: int | None = None
        self.short_at = -1.0e18
        self.short: tuple[int, bool] | None = None
        self.signature: object = None
        self.adopt(terms, config)

    def adopt(self, terms: WorkloadTerms, config: ProxyConfig) -> None:
        """New terms and config."""
        catalogue = load_catalogue()

        def canonical(model: str) -> str:
            found = catalogue.model(model)
            return model if found is None else found.id

        self.terms = terms
        self.config = config
        self.tiers = tuple(dict.fromkeys(canonical(model) for model in terms.tiers))
        self.groups = {canonical(model): terms.groups[model] for model in terms.tiers}
        self.active_model = self.tiers[0]
        self.slo_views: tuple[float, tuple[SloView, ...]] | None = None
        if terms.scaling is None:
            self.replica_state = None

    @property
    def name(self) -> str:
        """``namespace/name``."""
        return f"{self.key.namespace}/{self.key.name}"

    @property
    def active_group(self) -> str:
        """The group of the model that the fleet serves now."""
        return self.groups[self.active_model]

    def used_groups(self) -> set[str]:
        """Groups of its tiers, and of whatever its proxies report."""
        groups = set(self.groups.values())
        for proxy in self.proxies.values():
            groups.update(proxy.last.groups)
        return groups

    def mean_costs(self, group: str) -> Triple:
        """(1, input, output tokens) of one request in this group."""
        meter = self.costs.get(group)
        return (1.0, START_MEAN_INPUT, START_MEAN_OUTPUT) if meter is None else meter.means()

    def take(self, report: Report, now: float) -> None:
        """Learns from a report that its proxy took in."""
        self.window.take(report, now)
        self.slos.take(report)
        for group, use in report.groups.items():
            self.costs.setdefault(group, CostMeter(now)).take(triple(use.wants), report.interval_s, now)
            if use.latency_s > 0.0:
                weight = 1.0 if self.latency_s == 0.0 else 1.0 - exp(-max(0.0, now - self.latency_at) / LATENCY_MEMORY_S)
                self.latency_s += weight * (use.latency_s - self.latency_s)
                self.latency_at = now
        for result in report.results:
            for cause, count in result.throttles.items():
                if count:
                    self.throttled_at, self.throttle_reason = now, cause
