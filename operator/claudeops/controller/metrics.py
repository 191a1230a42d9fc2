"""What the controller counts about itself and its quotas, for ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from claudeops.fleet import Fleet
from claudeops.proxyconfig import WorkloadKey


class ControllerMetrics:
    """The controller's own figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queue_depth = Gauge("claudeops_controller_queue_depth", "Keys that wait to be reconciled", registry=self.registry)
        self.reconciles = Histogram(
            "claudeops_controller_reconcile_seconds", "Time of one reconcile, by kind", ("kind",), registry=self.registry
        )
        self.errors = Counter("claudeops_controller_reconcile_errors", "Reconciles that failed, by kind", ("kind",), registry=self.registry)
        self.is_leader = Gauge("claudeops_controller_leader", "1 on the leader", registry=self.registry)
        self.last_event_age = Gauge(
            "claudeops_controller_last_watch_event_age_seconds", "Time since the last watch event or list", registry=self.registry
        )
        self.loop_lag = Gauge("claudeops_controller_loop_lag_seconds", "How late the event loop runs its timers", registry=self.registry)


class FleetCollector(Collector):
    """The fleet's figures, read when somebody asks."""

    def __init__(
        self, fleet: Fleet, workloads: Callable[[], Iterable[WorkloadKey]], quotas: Callable[[], Iterable[str]], clock: Callable[[], float]
    ) -> None:
        self._fleet = fleet
        self._workloads = workloads
        self._quotas = quotas
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """The samples of this moment."""
        yield self._proxies()
        yield from self._groups()

    def _proxies(self) -> Metric:
        family = GaugeMetricFamily("claudeops_proxies_connected", "Proxies that report, by workload", labels=("namespace", "workload"))
        for key in self._workloads():
            family.add_metric((key.namespace, key.name), self._fleet.workload_view(key, self._clock()).connected)
        return family

    def _groups(self) -> Iterable[Metric]:
        labels = ("quota", "group", "dimension")
        texts = {
            "level": "How full the organisation's bucket is, 0 to 1",
            "capacity": "What is shared out, a minute",
            "granted": "What the workloads hold, a minute",
            "used": "What the workloads use, a minute",
            "throttled_per_minute": "Upstream 429s a minute",
        }
        families = {name: GaugeMetricFamily(f"claudeops_quota_{name}", text, labels=labels) for name, text in texts.items()}
        for quota in self._quotas():
            for group in self._fleet.quota_view(quota, self._clock()).groups:
                for name, family in families.items():
                    value = getattr(group, name)
                    if value is not None:
                        family.add_metric((quota, group.group, group.dimension), value)
        return families.values()
