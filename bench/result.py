"""Where results go: results.json keeps the last of each benchmark, README.md shows them."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.machine import ROOT

RESULTS = ROOT / "bench" / "results.json"
README = ROOT / "bench" / "README.md"
BEGIN, END = "<!-- results: written by python -m bench.result -->", "<!-- end of results -->"


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
    write_table(README, results)
    for row in rows:
        print(f"  {row.figure}: {row.measured} (bar {row.bar})", flush=True)


def write_table(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Puts the table of all results between its marks."""
    lines = ["| figure | bar | measured | when |", "|---|---|---|---|"]
    for name in sorted(results):
        lines += [f"| {row['figure']} | {row['bar']} | {row['measured']} | {results[name]['date']} |" for row in results[name]["rows"]]
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_table(README, json.loads(RESULTS.read_text()))
