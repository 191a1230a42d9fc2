"""A table of cases in one test: for hundreds of rows that take microseconds each, a test of its own would cost a hundred times as much."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

FAILURES = (AssertionError, pytest.fail.Exception, BaseExceptionGroup)
"""What an assertion, `pytest.raises` and a table within a table raise; anything else ends the test at once, with its row."""


def every(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `pytest.mark.parametrize`, but all rows are one test, which runs them all and shows each one that failed. The other parameters
    are fixtures, which the rows share."""
    columns = (names,) if isinstance(names, str) else tuple(names)
    table = [(row,) if isinstance(names, str) else tuple(row) for row in rows]
    assert table, "a test of no rows cannot fail"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def over_all_rows(**fixtures: object) -> None:
            failures = []
            for row in table:
                case = dict(zip(columns, row, strict=True))
                try:
                    test(**case, **fixtures)
                except BaseException as failure:
                    failure.add_note(f"Row: {case}")
                    if not isinstance(failure, FAILURES):
                        raise
                    failures.append(failure)
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(table)} rows", failures)

        signature = inspect.signature(test)
        fixtures = [parameter for name, parameter in signature.parameters.items() if name not in columns]
        over_all_rows.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return over_all_rows

    return decorate
