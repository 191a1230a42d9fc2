"""The proxy's circuit breaker for one (upstream, model)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLOSED: Final = "Closed"
OPEN: Final = "Open"
HALF_OPEN: Final = "HalfOpen"

CONSECUTIVE_THROTTLES: Final = "ConsecutiveThrottles"
ERROR_SHARE: Final = "ErrorShare"
UNREACHABLE: Final = "Unreachable"
CAUSES: Final = (CONSECUTIVE_THROTTLES, ERROR_SHARE, UNREACHABLE)

_CELLS: Final = 10


@dataclass(frozen=True, slots=True)
class BreakerParameters:
    """Defaults are the product's (`resilience.breaker`)."""

    consecutive_throttles: int = 5
    error_share: float = 0.5
    minimum_requests: int = 20
    window_s: float = 30.0
    open_s: float = 30.0


class Breaker:
    """Closed → Open after N 429s in a row or an error share in the window → HalfOpen after max(open_s, retry-after) → Closed.

    `sent_at` is when the request was sent, on the caller's clock. 429s of requests sent before the last counted one
    arrived are the same outage and count once. Successes and failures of requests sent before HalfOpen began decide
    nothing there: only its probe does. Client errors are for `ignored`, our own sheds for nobody.
    """

    __slots__ = (
        "cell_at", "cells", "opened", "parameters", "probe_at", "reason", "reopen_at", "since", "state", "throttle_at", "throttles",
    )  # fmt: skip

    def __init__(self, parameters: BreakerParameters, now: float) -> None:
        self.parameters = parameters
        self.state: str = CLOSED
        self.reason: str = ""
        self.since = now
        self.opened: dict[str, int] = dict.fromkeys(CAUSES, 0)
        """How often, by cause; only grows."""
        self.throttles = 0
        self.throttle_at = -1.0e18
        self.reopen_at = 0.0
        self.probe_at = -1.0e18
        self.cell_at = self._cell(now)
        self.cells = [[0, 0, 0] for _ in range(_CELLS)]

    def allows(self, now: float) -> bool:
        """May ordinary traffic go this way? In HalfOpen nothing but `take_probe` may."""
        if self.state == CLOSED:
            return True
        self.tick(now)
        return False

    def tick(self, now: float) -> None:
        """Open becomes HalfOpen when its time is over."""
        if self.state == OPEN and now >= self.reopen_at:
            self._enter(HALF_OPEN, self.reason, now)
            self.probe_at = -1.0e18

    def take_probe(self, now: float, is_permitted: bool = True) -> bool:
        """Take the one probe of HalfOpen: True means send this request. A probe never heard of again is replaced after `open_s`."""
        self.tick(now)
        if self.state != HALF_OPEN or not is_permitted or now - self.probe_at < self.parameters.open_s:
            return False
        self.probe_at = now
        return True

    def succeeded(self, sent_at: float, now: float) -> None:
        """An answer that says the upstream works."""
        self._count(0, now)
        if sent_at >= self.throttle_at:
            self.throttles = 0
        if self.state == HALF_OPEN and sent_at >= self.since:
            self._close(now)

    def failed(self, sent_at: float, now: float, *, is_unreachable: bool = False, retry_after_s: float = 0.0) -> None:
        """5xx, 529, a time-out, an error inside a 200 stream; or no connection at all (`is_unreachable`)."""
        self._count(1 if not is_unreachable else 2, now)
        if self.state == HALF_OPEN:
            if sent_at >= self.since:
                self._open(UNREACHABLE if is_unreachable else ERROR_SHARE, retry_after_s, now)
            return
        if self.state == CLOSED:
            requests, errors, unreachable = self._sums(now)
            if requests >= self.parameters.minimum_requests and errors >= self.parameters.error_share * requests:
                self._open(UNREACHABLE if 2 * unreachable > errors else ERROR_SHARE, retry_after_s, now)

    def throttled(self, sent_at: float, now: float, retry_after_s: float = 0.0) -> None:
        """A 429 that waiting may cure (never a spend limit)."""
        if self.state == HALF_OPEN:
            if sent_at < self.since:
                return
        elif sent_at < self.throttle_at:
            return
        self.throttle_at = now
        self.throttles += 1
        if self.state == HALF_OPEN or (self.state == CLOSED and self.throttles >= self.parameters.consecutive_throttles):
            self._open(CONSECUTIVE_THROTTLES, retry_after_s, now)

    def ignored(self, sent_at: float) -> None:
        """The request told nothing of the upstream (client error, cancelled): if it was the probe, another may go."""
        if self.state == HALF_OPEN and sent_at >= self.probe_at:
            self.probe_at = -1.0e18

    def wait_s(self, now: float) -> float:
        """Seconds until a probe may go; 0 unless Open."""
        return max(0.0, self.reopen_at - now) if self.state == OPEN else 0.0

    def counts(self, now: float) -> tuple[int, int]:
        """(requests, errors) of the window, 429s not among them."""
        requests, errors, _ = self._sums(now)
        return requests, errors

    def _enter(self, state: str, reason: str, now: float) -> None:
        self.state = state
        self.reason = reason
        self.since = now

    def _open(self, reason: str, retry_after_s: float, now: float) -> None:
        self._enter(OPEN, reason, now)
        self.opened[reason] += 1
        self.reopen_at = now + max(self.parameters.open_s, retry_after_s)

    def _close(self, now: float) -> None:
        self._enter(CLOSED, "", now)
        self.throttles = 0
        for cell in self.cells:
            cell[:] = (0, 0, 0)

    def _cell(self, now: float) -> int:
        return int(now * _CELLS / self.parameters.window_s)

    def _count(self, kind: int, now: float) -> None:
        if int(now * _CELLS / self.parameters.window_s) != self.cell_at:
            self._roll(now)
        self.cells[self.cell_at % _CELLS][kind] += 1

    def _roll(self, now: float) -> None:
        """Clears the cells that have come round again: all of them where the window's length has changed and its numbers went back."""
        cell_at = self._cell(now)
        if cell_at == self.cell_at:
            return
        first = self.cell_at + 1 if cell_at > self.cell_at else cell_at - _CELLS + 1
        for index in range(first, min(cell_at, first + _CELLS - 1) + 1):
            self.cells[index % _CELLS][:] = (0, 0, 0)
        self.cell_at = cell_at

    def _sums(self, now: float) -> tuple[int, int, int]:
        self._roll(now)
        good = sum(cell[0] for cell in self.cells)
        errors = sum(cell[1] for cell in self.cells)
        unreachable = sum(cell[2] for cell in self.cells)
        return good + errors + unreachable, errors + unreachable, unreachable
