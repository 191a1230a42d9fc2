"""What the proxy costs beside Envoy: CPU a request and a stream's event, added latency, connection reuse; one pinned core each."""

from __future__ import annotations

import pathlib
import tempfile
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench.arguments import comparison_parser
from bench.compare import DIRECT, Case, Outcome, Sample, added_ratio, judge, print_table, run, run_rounds
from bench.envoy import envoy, find_envoy
from bench.load import put_load
from bench.machine import find_wrk
from bench.result import Row, record
from bench.subject import COMPILED, PROXY_CORE, PURE, Subject, Upstreams, config_document, our_proxy, upstream

ENVOY, LUA = "Envoy", "Envoy + Lua clamp"
REUSE_BAR_PERCENT = 99.0


class Barred(NamedTuple):
    """A case, and how much of Envoy's cost it may have.

    ``repeats``: of all rounds. A burst of events costs what it costs by how many of them one read happens to find, which differs from
    run to run by a third, for Envoy as for us: five rounds are too few to say which side of a bar it is on.
    """

    case: Case
    bar: float = 0.0
    has_lua: bool = False
    repeats: int = 1


PLAIN = (
    Barred(Case("2 KB JSON with three edits, 32 connections"), 0.85, True),
    Barred(Case("2 KB JSON with three edits, 1 connection", connections=1)),
    Barred(Case("2 KB JSON with three edits, 128 connections", connections=128)),
    Barred(Case("20 KB JSON with three edits, 32 connections", size=20_480), 1.05, True),
    Barred(Case("20 KB JSON with three edits, 1 connection", size=20_480, connections=1)),
    Barred(Case("20 KB JSON with three edits, 128 connections", size=20_480, connections=128)),
    Barred(Case("200 KB JSON, legal with one cache mark, 32 connections", size=204_800, is_legal=True), 1.2),
    Barred(Case("100 events back to back, 64 streams", is_streamed=True, connections=64), 1.2, repeats=3),
    Barred(Case("100 events 10 ms apart, 64 streams", is_streamed=True, connections=64, pace_ms=10, seconds=4), 0.9),
    Barred(Case("100 events 10 ms apart, 500 streams", is_streamed=True, connections=500, pace_ms=10, seconds=4)),
)
SECURE = (
    Barred(Case("2 KB JSON with three edits, upstream with TLS")),
    Barred(Case("100 events back to back, 64 streams, upstream with TLS", is_streamed=True, connections=64), 1.15, repeats=3),
)
SLOW = (
    Barred(Case("2 KB JSON at 50 requests a second", connections=8, per_s=50.0, seconds=4), 1.0),
    Barred(Case("first byte of a stream at 20 a second", is_streamed=True, connections=8, per_s=20.0, seconds=4), 1.0),
)


class Measurement:
    """The candidates while they run, and the rows that come of them."""

    def __init__(self, folder: pathlib.Path, rounds: int, *, is_quick: bool) -> None:
        self.folder = folder
        self.rounds = rounds
        self.is_quick = is_quick
        self.rows: list[Row] = []
        self.details: dict[str, Any] = {}

    def measure(self, barred: Barred, subjects: list[Subject]) -> dict[str, list[Sample]]:
        """All rounds of one case; ``is_quick`` makes them short, which proves nothing but that they run."""
        case = barred.case._replace(seconds=1) if self.is_quick else barred.case
        samples = run_rounds(self.folder, subjects, case, self.rounds if self.is_quick else self.rounds * barred.repeats)
        outcomes = judge(samples, ENVOY)
        print_table(case, outcomes)
        self.details[case.name] = {name: seen._asdict() for name, seen in outcomes.items()}
        return samples

    def compare_cpu(self, barred: Barred, subjects: list[Subject]) -> None:
        """A row for the compiled form, one for Lua."""
        seen = judge(self.measure(barred, subjects), ENVOY)
        unit = "µs of CPU an event" if barred.case.is_streamed else "µs of CPU a request"
        for name in (COMPILED, PURE, LUA):
            if name in seen:
                self.rows.append(self._row(barred, seen[name], seen[ENVOY], name=name, unit=unit))

    def _row(self, barred: Barred, own: Outcome, other: Outcome, *, name: str, unit: str) -> Row:
        bar = f"≤ {barred.bar:g} × Envoy" if barred.bar and name == COMPILED else "reported"
        measured = (
            f"{own.cpu_ratio:.2f} × ({own.cpu_range[0]:.2f}–{own.cpu_range[1]:.2f}; {own.cpu_us:.1f} against {other.cpu_us:.1f} {unit})"
        )
        figure = f"{name}, {barred.case.name}"
        return Row(figure, bar, measured, round(own.cpu_us, 2), unit, round(own.cpu_ratio, 3), len(own.samples))

    def compare_latency(self, barred: Barred, subjects: list[Subject]) -> None:
        """What each form adds to the direct way, against what Envoy adds."""
        samples = self.measure(barred, subjects)
        for name in (COMPILED, PURE):
            added_ms, ratio = added_ratio(samples, name, ENVOY, is_first=barred.case.is_streamed)
            bar = f"≤ {barred.bar:g} × Envoy" if name == COMPILED else "reported"
            measured = f"{ratio:.2f} × (adds {added_ms:.3f} ms)"
            self.rows.append(
                Row(f"{name}, {barred.case.name}: added median", bar, measured, round(added_ms, 4), "ms", round(ratio, 3), self.rounds)
            )

    def count_reuse(self, subject: Subject, upstreams: Upstreams) -> None:
        """How many requests found a connection that was open, with TLS."""
        case = SECURE[0].case._replace(seconds=1)
        before = upstreams.counts()
        run(self.folder, subject, case)
        opened, answered = (after - then for after, then in zip(upstreams.counts(), before, strict=True))
        percent = 100.0 * (1.0 - opened / answered)
        measured = f"{percent:.3f} % ({opened} handshakes for {answered} requests)"
        self.rows.append(Row("TLS connections reused", f"≥ {REUSE_BAR_PERCENT:g} %", measured, round(percent, 4), "%", None, 1))
        print(f"  TLS connections reused: {measured}", flush=True)


def start_all(stack: ExitStack, folder: pathlib.Path, upstreams: Upstreams) -> list[Subject]:
    """Envoy and both forms of the proxy, each having answered before it is measured."""
    authority = "" if upstreams.authority is None else upstreams.authority.read_text()
    document = config_document(upstreams.url, authority=authority)
    subjects = [
        stack.enter_context(envoy(folder / "envoy", upstreams, cores=PROXY_CORE)),
        stack.enter_context(our_proxy(folder / "pure", document, cores=PROXY_CORE)),
        stack.enter_context(our_proxy(folder / "compiled", document, cores=PROXY_CORE, is_compiled=True)),
    ]
    for subject in subjects:
        put_load(folder, subject, Case("warm").body, connections=32, seconds=1)
    return subjects


def main() -> None:
    """Measures, prints and records."""
    parser = comparison_parser(__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    find_wrk(), find_envoy()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        measurement = Measurement(folder, args.rounds, is_quick=args.quick)
        plain = stack.enter_context(upstream(folder / "plain"))
        subjects = start_all(stack, folder / "plain", plain)
        lua = stack.enter_context(envoy(folder / "lua", plain, cores=PROXY_CORE, is_clamping=True))
        for barred in PLAIN:
            if args.only in barred.case.name:
                measurement.compare_cpu(barred, [*subjects, *[lua] * barred.has_lua])
        for barred in SLOW:
            if args.only in barred.case.name:
                measurement.compare_latency(barred, [*subjects, Subject(DIRECT, 0, plain.port)])
        secure = stack.enter_context(upstream(folder / "tls", has_tls=True))
        subjects = start_all(stack, folder / "tls", secure)
        for barred in SECURE:
            if args.only in barred.case.name:
                measurement.compare_cpu(barred, subjects)
        measurement.count_reuse(subjects[-1], secure)
        if not args.quick and not args.only:
            record("proxy", measurement.rows, measurement.details)


if __name__ == "__main__":
    main()
