"""A table in one test is as strong as a test for each row."""

from __future__ import annotations

import inspect

import pytest
from tests.unit.table import every


def test_every_row_runs_though_others_failed_and_each_that_failed_is_shown() -> None:
    ran: list[tuple[int, int]] = []

    @every("number", [1, 2, 3])
    @every(("power", "expected"), [(1, 2), (2, 4)])
    def square(number: int, power: int, expected: int) -> None:
        ran.append((number, power))
        assert number**power == expected

    with pytest.raises(ExceptionGroup, match="2 of 3 rows") as shown:
        square()
    assert ran == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    one, three = shown.value.exceptions
    assert isinstance(one, ExceptionGroup)
    assert (one.__notes__, three.__notes__) == (["Row: {'number': 1}"], ["Row: {'number': 3}"])
    assert [part.__notes__ for part in one.exceptions] == [["Row: {'power': 1, 'expected': 2}"], ["Row: {'power': 2, 'expected': 4}"]]


def test_a_missing_refusal_is_a_failed_row_too() -> None:
    @every("text", ["1", "x"])
    def refused(text: str) -> None:
        with pytest.raises(ValueError, match="invalid literal"):
            int(text)

    with pytest.raises(BaseExceptionGroup, match="1 of 2 rows"):
        refused()


def test_what_is_no_column_is_a_fixture() -> None:
    @every("row", [1])
    def test(row: int, fixture: object) -> None:
        assert (row, fixture) == (1, "shared")

    assert list(inspect.signature(test).parameters) == ["fixture"]
    test(fixture="shared")


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(AssertionError, match="no rows"):
        every("row", [])
