"""The rows of :mod:`claudeops.sidecar.metrics` as Prometheus text or OpenMetrics, written by ``prometheus-client``.

That package is imported here only, and this module at the first scrape (:class:`MetricsPage` does it on a thread): a proxy that is
never scraped does not pay its 2 MiB, and none pays its 50 ms in the middle of the traffic. A page is written family by family, so
that the requests under way never wait for a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as _generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from claudeops.sidecar.counters import Histogram
from claudeops.sidecar.metrics import COUNTER, FAMILIES, HISTOGRAM, Family, Measures, Row
from claudeops.wire.http1 import header

PLAIN_TYPE = CONTENT_TYPE_PLAIN_0_0_4
EXEMPLAR_MAX_CHARACTERS = 100
"""OpenMetrics allows 128 for names and values of an exemplar's labels together."""
_END = b"# EOF\n"
Bucket = tuple[str, float] | tuple[str, float, Exemplar]
generate_openmetrics: Callable[[Collector], bytes] = _generate_openmetrics


def content_type(accept: str) -> str:
    """What to answer to this ``Accept`` header: OpenMetrics where it is asked for, else Prometheus text."""
    names = (part.split(";", 1)[0].strip().lower() for part in accept.split(","))
    return OPENMETRICS_TYPE if "application/openmetrics-text" in names else PLAIN_TYPE


def render(measures: Measures, kind: str, *, now: float, wall_offset_s: float) -> Iterator[bytes]:
    """The page of this content type, one part for each family. ``now``: the runtime's clock; ``wall_offset_s``: unix time minus that."""
    is_open = kind == OPENMETRICS_TYPE
    for name, family in FAMILIES.items():
        collector = _Collector(_family(name, family, measures.rows(name, now), wall_offset_s if is_open else None))
        yield generate_openmetrics(collector).removesuffix(_END) if is_open else generate_latest(collector)
    if is_open:
        yield _END


class _Collector(Collector):
    """One family, as the writers want it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """The family."""
        return (self._metric,)


def _family(name: str, family: Family, rows: Iterable[Row], wall_offset_s: float | None) -> Metric:
    full_name = f"claudeops_{name}"
    if family.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(full_name, family.help, labels=family.labels)
        for labels, value in rows:
            assert isinstance(value, Histogram)
            histogram.add_metric(labels, _buckets(value, wall_offset_s), value.sum)
        return histogram
    make = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
    metric = make(full_name, family.help, labels=family.labels)
    for labels, value in rows:
        assert not isinstance(value, Histogram)
        metric.add_metric(labels, value)
    return metric


def _buckets(histogram: Histogram, wall_offset_s: float | None) -> list[Bucket]:
    found: list[Bucket] = []
    count = 0
    for index, part in enumerate(histogram.counts):
        count += part
        bound = repr(histogram.bounds[index]) if index < len(histogram.bounds) else "+Inf"
        exemplar = None if wall_offset_s is None else _exemplar(histogram, index, wall_offset_s)
        found.append((bound, count) if exemplar is None else (bound, count, exemplar))
    return found


def _exemplar(histogram: Histogram, index: int, wall_offset_s: float) -> Exemplar | None:
    """The bucket's newest answer, by the API's own ``request-id``."""
    trace = histogram.traces[index] if histogram.traces else None
    if trace is None:
        return None
    value, head, at = trace
    request_id = header(head, head.lower(), b"request-id").decode("latin-1")
    if not request_id or len(request_id) > EXEMPLAR_MAX_CHARACTERS:
        return None
    return Exemplar({"request_id": request_id}, value, round(at + wall_offset_s, 3))
