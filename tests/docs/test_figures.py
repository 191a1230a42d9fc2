"""The figures that the pages show are those that were recorded."""

import json

from bench.result import FRONT_PAGE, README, RESULTS, all_rows, headlines, table

RECORDED = json.loads(RESULTS.read_text())


def test_the_table_of_all_figures_is_what_was_recorded() -> None:
    assert table(all_rows(RECORDED)) in README.read_text(encoding="utf-8")


def test_the_front_page_shows_the_headlines_among_them() -> None:
    assert len(headlines(RECORDED)) >= 3
    assert table(headlines(RECORDED)) in FRONT_PAGE.read_text(encoding="utf-8")
