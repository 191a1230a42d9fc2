"""Where results go: results.json keeps the last of each benchmark, bench/README.md shows them all and README.md some."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.machine import ROOT

RESULTS = ROOT / "bench" / "results.json"
README = ROOT / "bench" / "README.md"
FRONT_PAGE = ROOT / "README.md"
HEADLINES = (
    "claudeops, 2 KB JSON with three edits, 32 connections",
    "Envoy + Lua clamp, 2 KB JSON with three edits, 32 connections",
    "LiteLLM, 2 KB JSON, 32 connections",
    "Portkey, 2 KB JSON, 32 connections",
    "claudeops, 100 events 10 ms apart, 64 streams",
    "claudeops, first byte of a stream at 20 a second: added median",
    "primary fails at the API: first breaker open → last of 3 proxies on the fallback, slowest of 3",
    "share of the organisation's limit used · 429s of the API, 3 proxies, 3 × demand, burst 5 s",
)
"""What the front page shows of them, in this order; those not measured yet are left out."""
BEGIN, END = "<!-- results: written by python -m bench.result -->", "<!-- end of results -->"
Dated = tuple[dict[str, Any], str]
"""A row of results.json and when it was measured."""


class Row(NamedTuple):
    """One figure: in words, and as a number. ``ratio``: to Envoy in the same run, None where there is none."""

    figure: str
    bar: str
    measured: str
    value: float
    unit: str
    ratio: float | None = None
    runs: int = 1


def record(name: str, rows: Sequence[Row], details: dict[str, Any]) -> None:
    """Replaces one benchmark's entry and the table."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}",
        "rows": [row._asdict() for row in rows],
        "details": details,
    }
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    write_tables(results)
    for row in rows:
        print(f"  {row.figure}: {row.measured} (bar {row.bar})", flush=True)


def write_tables(results: dict[str, Any]) -> None:
    """Puts the table of all results, and that of the headlines, between their marks."""
    for path, rows in ((README, all_rows(results)), (FRONT_PAGE, headlines(results))):
        text = path.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        path.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")


def all_rows(results: dict[str, Any]) -> list[Dated]:
    """Every row with its date, benchmark by benchmark."""
    return [(row, results[name]["date"]) for name in sorted(results) for row in results[name]["rows"]]


def headlines(results: dict[str, Any]) -> list[Dated]:
    """Those rows that the front page shows."""
    by_figure = {row["figure"]: (row, date) for row, date in all_rows(results)}
    return [by_figure[figure] for figure in HEADLINES if figure in by_figure]


def table(rows: Sequence[Dated]) -> str:
    """As Markdown."""
    lines = ["| figure | bar | measured | when |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {row['figure']} | {row['bar']} | {row['measured']} | {date} |" for row, date in rows)])


if __name__ == "__main__":
    write_tables(json.loads(RESULTS.read_text()))
