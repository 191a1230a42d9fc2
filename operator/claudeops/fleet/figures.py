"""What a workload's proxies measured lately: counts and histograms in cells of time, and the SLO cells of all its proxies."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from claudeops.exchange import Report
from claudeops.policy.sketch import Sketch
from claudeops.policy.slo import CELL_S, CELLS, SloWindow

CELLS_IN_WINDOW = 12


@dataclass(slots=True)
class Figures:
    """Sums over some time."""

    requests: int = 0
    fallback_requests: int = 0
    throttled: int = 0
    shed: int = 0
    cache_read_tokens: int = 0
    cacheable_tokens: int = 0
    latency: Sketch = field(default_factory=Sketch)
    time_to_first_token: Sketch = field(default_factory=Sketch)
    queue_wait: Sketch = field(default_factory=Sketch)

    def take(self, report: Report) -> None:
        """Adds one report's deltas."""
        self.requests += report.requests
        self.fallback_requests += report.fallback_requests
        self.throttled += sum(sum(result.throttles.values()) for result in report.results)
        self.shed += sum(use.shed for use in report.groups.values())
        self.cache_read_tokens += report.cache_read_tokens
        self.cacheable_tokens += report.cacheable_tokens
        sketches = report.sketches
        self.latency.merge(Sketch.from_list(sketches.latency))
        self.time_to_first_token.merge(Sketch.from_list(sketches.time_to_first_token))
        self.queue_wait.merge(Sketch.from_list(sketches.queue_wait))

    def merge(self, other: Figures) -> None:
        """Adds another sum."""
        self.requests += other.requests
        self.fallback_requests += other.fallback_requests
        self.throttled += other.throttled
        self.shed += other.shed
        self.cache_read_tokens += other.cache_read_tokens
        self.cacheable_tokens += other.cacheable_tokens
        self.latency.merge(other.latency)
        self.time_to_first_token.merge(other.time_to_first_token)
        self.queue_wait.merge(other.queue_wait)


class FigureWindow:
    """Figures of the last ``window_s``, to a twelfth of it."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._cells: deque[tuple[int, Figures]] = deque()

    def take(self, report: Report, now: float) -> None:
        """Adds one report to the running cell."""
        index = self._index(now)
        if not self._cells or self._cells[-1][0] != index:
            self._cells.append((index, Figures()))
        self._cells[-1][1].take(report)
        self._prune(now)

    def total(self, now: float) -> Figures:
        """The sum over the window that ends now."""
        self._prune(now)
        total = Figures()
        for _, figures in self._cells:
            total.merge(figures)
        return total

    def _index(self, now: float) -> int:
        return int(now * CELLS_IN_WINDOW / self.window_s)

    def _prune(self, now: float) -> None:
        oldest = self._index(now) - CELLS_IN_WINDOW
        while self._cells and self._cells[0][0] <= oldest:
            self._cells.popleft()


class SloStore:
    """Absolute SLO cells of a workload's proxies, summed; the cells of a proxy that is gone stay counted."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[tuple[str, int], tuple[int, int]]] = {}
        self._gone: dict[tuple[str, int], tuple[int, int]] = {}

    def take(self, report: Report) -> None:
        """Replaces the cells that the report carries."""
        if not report.slo_cells:
            return
        cells = self._cells.setdefault(report.instance, {})
        for cell in report.slo_cells:
            cells[(cell.indicator, cell.start)] = (cell.good, cell.total)

    def retire(self, instance: str) -> None:
        """The proxy will not come back: its cells are kept in the sum only."""
        for key, (good, total) in self._cells.pop(instance, {}).items():
            old = self._gone.get(key, (0, 0))
            self._gone[key] = (old[0] + good, old[1] + total)

    def window(self, indicator: str, unix_s: float) -> SloWindow:
        """All proxies' cells of one indicator; older ones than six hours are forgotten on the way."""
        oldest = int(unix_s // CELL_S) - CELLS
        window = SloWindow()
        for cells in (self._gone, *self._cells.values()):
            for key in [key for key in cells if key[1] < oldest]:
                del cells[key]
            for (name, start), (good, total) in cells.items():
                if name == indicator:
                    window.merge(start, good, total)
        return window
