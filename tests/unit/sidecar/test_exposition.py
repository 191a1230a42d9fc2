"""What the proxy writes for Prometheus is, to the byte, what prometheus-client would write."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import exposition as plain
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from claudeops.sidecar.counters import SECONDS, SHARES, Histogram
from claudeops.sidecar.exposition import EXEMPLAR_MAX_CHARACTERS, OPENMETRICS_TYPE, PLAIN_TYPE, number, write_family
from claudeops.sidecar.metrics import COUNTER, GAUGE, HISTOGRAM, Family, Row

WALL_OFFSET_S = 1.7e9
LABELS = ("model", "code", "a", "a1", "le_", "tier")
AWKWARD = st.text(st.sampled_from('\\"\n{}, #=ä€😀x'), max_size=6)
# Without annotations in their package.
generate_openmetrics: Callable[[Collector], bytes] = openmetrics.generate_latest
read_openmetrics: Callable[[str], Iterable[Metric]] = openmetrics_families
write_number: Callable[[float], str] = floatToGoString
FLOATS = st.floats() | st.floats(0, 1e17) | st.integers(0, 10**18) | st.sampled_from([0, 999_999, 10**6, 1_234_500, 1e15, 1e16, 5e-324])


class One(Collector):
    """A registry of one family."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def theirs(name: str, family: Family, rows: list[Row], *, is_open: bool) -> bytes:
    """The same family by prometheus-client."""
    if family.kind == HISTOGRAM:
        histograms = HistogramMetricFamily(name, family.help, labels=family.labels)
        for labels, value in rows:
            assert isinstance(value, Histogram)
            histograms.add_metric(labels, buckets(value, is_open=is_open), value.sum)
        return written(histograms, is_open=is_open)
    metric = (CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily)(name, family.help, labels=family.labels)
    for labels, value in rows:
        assert not isinstance(value, Histogram)
        metric.add_metric(labels, value)
    return written(metric, is_open=is_open)


def buckets(histogram: Histogram, *, is_open: bool) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    found: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    for index, bound in enumerate([*map(repr, histogram.bounds), "+Inf"]):
        count = sum(histogram.counts[: index + 1])
        trace = histogram.traces[index] if is_open and histogram.traces else None
        if trace is None:
            found.append((bound, count))
        else:
            value, head, at = trace
            labels = {"request_id": head.split(b": ", 1)[1].removesuffix(b"\r\n\r\n").decode("latin-1")}
            found.append((bound, count, Exemplar(labels, value, round(at + WALL_OFFSET_S, 3))))
    return found


def written(metric: Metric, *, is_open: bool) -> bytes:
    return generate_openmetrics(One(metric)).removesuffix(b"# EOF\n") if is_open else plain.generate_latest(One(metric))


def ours(name: str, family: Family, rows: list[Row], *, is_open: bool) -> bytes:
    return write_family(name, family, rows, wall_offset_s=WALL_OFFSET_S if is_open else None)


def parsed(text: bytes, *, is_open: bool) -> list[object]:
    """The samples as Prometheus' own parsers read them."""
    families = read_openmetrics(text.decode() + "# EOF\n") if is_open else text_string_to_metric_families(text.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    histogram = Histogram(draw(st.sampled_from([SECONDS, SHARES])), is_traced=draw(st.booleans()))
    for value in draw(st.lists(st.floats(0, 2_000_000), max_size=5)):
        if histogram.traces:
            id_ = draw(st.text(st.sampled_from('ab_"\\é'), min_size=1, max_size=EXEMPLAR_MAX_CHARACTERS))
            histogram.trace(value, f"HTTP/1.1 200 OK\r\nrequest-id: {id_}\r\n\r\n".encode("latin-1"), draw(st.floats(0, 1e6)))
        else:
            histogram.observe(value)
    return histogram


@settings(max_examples=50)
@given(data=st.data(), kind=st.sampled_from([COUNTER, GAUGE, HISTOGRAM]), is_open=st.booleans())
def test_every_family_is_written_as_the_reference_writes_it(data: st.DataObject, kind: str, is_open: bool) -> None:
    name = "claudeops_x_total" if kind == COUNTER else "claudeops_x"
    family = Family(kind, tuple(data.draw(st.permutations(LABELS)))[: data.draw(st.integers(0, 4))], data.draw(AWKWARD))
    labels = st.tuples(*[AWKWARD] * len(family.labels))
    values: st.SearchStrategy[float | Histogram] = histograms() if kind == HISTOGRAM else FLOATS
    rows: list[Row] = data.draw(st.lists(st.tuples(labels, values), max_size=3))
    assert ours(name, family, rows, is_open=is_open) == theirs(name, family, rows, is_open=is_open)


@given(FLOATS)
def test_numbers_are_written_as_the_reference_writes_them(value: float) -> None:
    assert number(value) == write_number(value)


@pytest.mark.parametrize("is_open", [False, True])
def test_the_reference_s_parsers_read_every_value_back(is_open: bool) -> None:
    rows: list[Row] = [(('a\\"b\nc', "200"), 1_234_567.0), (("ä", "504"), 0.25)]
    text = ours("claudeops_x_total", Family(COUNTER, ("model", "code"), 'Help with "quotes", \\ and\nlines.'), rows, is_open=is_open)
    expected = [("claudeops_x_total", {"model": labels[0], "code": labels[1]}, value) for labels, value in rows]
    assert parsed(text, is_open=is_open) == expected


def test_an_id_that_is_too_long_for_an_exemplar_is_left_out() -> None:
    histogram = Histogram(SHARES, is_traced=True)
    histogram.trace(0.1, b"HTTP/1.1 200 OK\r\nrequest-id: %b\r\n\r\n" % (b"r" * (EXEMPLAR_MAX_CHARACTERS + 1)), 1.0)
    assert b" # {" not in ours("claudeops_x", Family(HISTOGRAM, (), "x"), [((), histogram)], is_open=True)


def test_the_content_types_are_the_reference_s() -> None:
    assert plain.CONTENT_TYPE_PLAIN_0_0_4 == PLAIN_TYPE
    assert openmetrics.CONTENT_TYPE_LATEST == OPENMETRICS_TYPE
