"""Multi-window, multi-burn-rate evaluation of one objective. Source: Google SRE Workbook, chapter 5."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

CELL_S = 300.0
CELLS = 73
"""Six hours of 5-minute cells, and the running one."""


class SloParameters(NamedTuple):
    """The windows of the pages: (short, long, burn rate)."""

    fast_short_s: float = 300.0
    fast_long_s: float = 3600.0
    fast_burn: float = 14.4
    slow_short_s: float = 1800.0
    slow_long_s: float = 21600.0
    slow_burn: float = 6.0
    minimum_requests: int = 20
    report_s: float = 3600.0


class SloVerdict(NamedTuple):
    """`is_met`: None is Unknown. `current_percent` and `burn_rate` are over one hour; None without requests."""

    is_met: bool | None
    current_percent: float | None
    burn_rate: float | None


class SloWindow:
    """Good and total requests in 5-minute cells, newest six hours. The caller brings the clock (unix seconds)."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: dict[int, list[int]] = {}

    def add(self, good: int, total: int, now: float) -> None:
        """Count requests that ended at `now`."""
        self.merge(int(now // CELL_S), good, total)

    def merge(self, start: int, good: int, total: int) -> None:
        """Add to the cell `start` (unix seconds / 300); cells older than six hours before the newest are dropped."""
        cell = self.cells.get(start)
        if cell is not None:
            cell[0] += good
            cell[1] += total
            return
        self.cells[start] = [good, total]
        if len(self.cells) > CELLS:
            oldest = max(self.cells) - CELLS
            self.cells = {key: value for key, value in self.cells.items() if key > oldest}

    def entries(self) -> list[tuple[int, int, int]]:
        """(start, good, total) of every cell, oldest first."""
        return [(start, *self.cells[start]) for start in sorted(self.cells)]  # type: ignore[misc]

    def load(self, entries: Iterable[tuple[int, int, int]]) -> None:
        """Replace the content, as after a restart."""
        self.cells = {start: [good, total] for start, good, total in entries}

    def sums(self, window_s: float, now: float) -> tuple[float, float]:
        """(good, total) of the last `window_s`; the oldest cell counts by the part that lies in the window."""
        begin = now - window_s
        first, last = int(begin // CELL_S), int(now // CELL_S)
        good = total = 0.0
        for start, cell in self.cells.items():
            if first <= start <= last:
                share = 1.0 if start > first else 1.0 - (begin - first * CELL_S) / CELL_S
                good += share * cell[0]
                total += share * cell[1]
        return good, total

    def burn_rate(self, window_s: float, objective_percent: float, now: float) -> float | None:
        """Error share over the window divided by the share that the objective allows; None without requests."""
        good, total = self.sums(window_s, now)
        if total <= 0.0:
            return None
        allowed = max(1e-9, 1.0 - objective_percent / 100.0)
        return max(0.0, 1.0 - good / total) / allowed


def evaluate_slo(
    window: SloWindow, objective_percent: float, now: float, *, is_observed: bool = True, parameters: SloParameters | None = None
) -> SloVerdict:
    """False when 5 m and 1 h both burn > 14.4, or 30 m and 6 h > 6. Unknown under 20 requests an hour or unobserved."""
    rules = parameters or SloParameters()
    good, total = window.sums(rules.report_s, now)
    current = 100.0 * good / total if total > 0.0 else None
    burn = window.burn_rate(rules.report_s, objective_percent, now)
    if total < rules.minimum_requests or not is_observed:
        return SloVerdict(None, current, burn)
    is_fast = _burns(window, (rules.fast_short_s, rules.fast_long_s), rules.fast_burn, objective_percent, now)
    is_slow = _burns(window, (rules.slow_short_s, rules.slow_long_s), rules.slow_burn, objective_percent, now)
    return SloVerdict(not (is_fast or is_slow), current, burn)


def _burns(window: SloWindow, windows_s: tuple[float, float], threshold: float, objective_percent: float, now: float) -> bool:
    rates = [window.burn_rate(window_s, objective_percent, now) for window_s in windows_s]
    return all(rate is not None and rate > threshold for rate in rates)
