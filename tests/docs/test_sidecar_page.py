"""``docs/sidecar.md`` names every header, refusal and flag of the proxy, as they are."""

from __future__ import annotations

import re
from pathlib import Path

from claudeops.sidecar.answer import RETRY_AFTER_MAX_S, RULES
from claudeops.sidecar.command import FLAGS
from claudeops.sidecar.sticky import IDLE_S, LONGEST_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sidecar.md").read_text()
CELLS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")]


def test_every_refusal_is_in_the_table_with_its_status_and_headers() -> None:
    rows = {cells[0].strip("`"): cells for cells in CELLS if len(cells) == 5 and cells[0] != "`x-claudeops-reason`"}
    assert rows.keys() == RULES.keys()
    for reason, rule in RULES.items():
        _, status, _, retry_after, should_retry = rows[reason]
        assert (int(status), retry_after != "–", should_retry == "`false`") == (rule.status, rule.has_retry_after, rule.is_final), reason
    assert f"1–{RETRY_AFTER_MAX_S:.0f}" in PAGE


def test_every_header_of_ours_is_on_the_page_and_none_is_made_up() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "operator" / "claudeops" / "sidecar").rglob("*.py"))
    names = re.compile(r"x-claudeops-[a-z-]*[a-z]")
    assert set(names.findall(PAGE)) == set(names.findall(sources))


def test_every_flag_is_on_the_page_with_its_variable_and_default() -> None:
    rows = {cells[0]: cells for cells in CELLS if cells[0].startswith("`--")}
    assert rows.keys() == {f"`--{flag}`" for flag in FLAGS}
    for flag, (variable, default, *_) in FLAGS.items():
        assert rows[f"`--{flag}`"][1:3] == [f"`{variable}`", f"`{default}`" if default else "none"]


def test_how_long_a_session_stays_is_what_it_is() -> None:
    assert f"idle for {IDLE_S:.0f} s, for {LONGEST_S:.0f} s at most" in PAGE
