"""Where results go: results.json keeps the last of each benchmark, README.md shows them."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
from typing import Any

from bench.machine import ROOT

RESULTS = ROOT / "bench" / "results.json"
README = ROOT / "bench" / "README.md"
BEGIN, END = "<!-- results: written by python -m bench.result -->", "<!-- end of results -->"


def record(name: str, rows: list[dict[str, str]], details: dict[str, Any]) -> None:
    """Replaces one benchmark's entry and the table. ``rows``: what, bar, measured."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}",
        "rows": rows,
        "details": details,
    }
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    write_table(README, results)
    for row in rows:
        print(f"  {row['what']}: {row['measured']} (bar {row['bar']})", flush=True)


def write_table(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Puts the table of all results between its marks."""
    lines = ["| what | bar | measured | when |", "|---|---|---|---|"]
    for name in sorted(results):
        lines += [f"| {row['what']} | {row['bar']} | {row['measured']} | {results[name]['date']} |" for row in results[name]["rows"]]
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_table(README, json.loads(RESULTS.read_text()))
