"""The rows of :mod:`claudeops.sidecar.metrics` as Prometheus text or OpenMetrics, to the byte as ``prometheus-client`` writes them.

Written here because that package is 2.8 MiB of every proxy's memory, most of it servers and clients for which a proxy has no use
(docs/decisions/metrics-exposition.md); the tests compare the two. A page is written family by family, so that the requests under way
never wait for a whole one.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from claudeops.sidecar.counters import Histogram
from claudeops.sidecar.metrics import COUNTER, FAMILIES, Family, Measures, Row
from claudeops.wire.http1 import header

PLAIN_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
EXEMPLAR_MAX_CHARACTERS: Final = 100
"""OpenMetrics allows 128 for names and values of an exemplar's labels together."""
_END: Final = b"# EOF\n"
_NOT_FINITE: Final = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
_MAX_WHOLE_DIGITS: Final = 6


def content_type(accept: str) -> str:
    """What to answer to this ``Accept`` header: OpenMetrics where it is asked for, else Prometheus text."""
    names = (part.split(";", 1)[0].strip().lower() for part in accept.split(","))
    return OPENMETRICS_TYPE if "application/openmetrics-text" in names else PLAIN_TYPE


def render(measures: Measures, kind: str, *, now: float, wall_offset_s: float) -> Iterator[bytes]:
    """The page of this content type, one part for each family. ``now``: the runtime's clock; ``wall_offset_s``: unix time minus that."""
    is_open = kind == OPENMETRICS_TYPE
    for name, family in FAMILIES.items():
        yield write_family(f"claudeops_{name}", family, measures.rows(name, now), wall_offset_s=wall_offset_s if is_open else None)
    if is_open:
        yield _END


def write_family(name: str, family: Family, rows: Iterable[Row], *, wall_offset_s: float | None) -> bytes:
    """One family by its full name: OpenMetrics with exemplars where ``wall_offset_s`` is known, else Prometheus text."""
    is_open = wall_offset_s is not None
    title = name.removesuffix("_total") if is_open and family.kind == COUNTER else name
    lines = [f"# HELP {title} {_escape(family.help) if is_open else _escape_line(family.help)}", f"# TYPE {title} {family.kind}"]
    for values, value in rows:
        labels = sorted(zip(family.labels, values, strict=True))
        if isinstance(value, Histogram):
            lines.extend(_histogram(name, labels, value, wall_offset_s))
        else:
            lines.append(f"{name}{_braces(_pairs(labels))} {number(value)}")
    lines.append("")
    return "\n".join(lines).encode()


def number(value: float) -> str:
    """As Go writes a float, which has exponents sooner than Python: from a million on."""
    text = repr(float(value))
    point = text.find(".")
    if value > 0 and point > _MAX_WHOLE_DIGITS:
        digits = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{digits}e+{point - 1:02d}"
    return _NOT_FINITE.get(text, text)


def _histogram(name: str, labels: list[tuple[str, str]], histogram: Histogram, wall_offset_s: float | None) -> Iterator[str]:
    pairs = _pairs(labels)
    place = bisect([label for label, _ in labels], "le")
    counts = list(accumulate(histogram.counts))
    for index, (bound, count) in enumerate(zip((*map(repr, histogram.bounds), "+Inf"), counts, strict=True)):
        exemplar = "" if wall_offset_s is None else _exemplar(histogram, index, wall_offset_s)
        with_bound = [*pairs[:place], f'le="{bound}"', *pairs[place:]]
        yield f"{name}_bucket{_braces(with_bound)} {number(count)}{exemplar}"
    yield f"{name}_count{_braces(pairs)} {number(counts[-1])}"
    yield f"{name}_sum{_braces(pairs)} {number(histogram.sum)}"


def _exemplar(histogram: Histogram, index: int, wall_offset_s: float) -> str:
    """The bucket's newest answer, by the API's own ``request-id``."""
    trace = histogram.traces[index] if histogram.traces else None
    if trace is None:
        return ""
    value, head, at = trace
    request_id = header(head, head.lower(), b"request-id").decode("latin-1")
    if not request_id or len(request_id) > EXEMPLAR_MAX_CHARACTERS:
        return ""
    return f' # {{request_id="{_escape(request_id)}"}} {number(value)} {round(at + wall_offset_s, 3)}'


def _pairs(labels: list[tuple[str, str]]) -> list[str]:
    return [f'{label}="{_escape(value)}"' for label, value in labels]


def _braces(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escape(text: str) -> str:
    return _escape_line(text).replace('"', r"\"")


def _escape_line(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
