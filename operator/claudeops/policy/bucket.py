"""A post-paid token bucket: it admits while it is not in debt, and the one it admits may take it into debt."""

from __future__ import annotations

from math import inf
from typing import Final

MARKS_MAX: Final = 64
"""A bucket that has not been full for long remembers no more; then two become one that allows no more than either."""


class TokenBucket:
    """Refills continuously at `rate` a second up to `burst`; starts full. The caller brings the clock.

    Debt is kept when the rate changes: what was used was used. What is given back creates no capacity: over any interval the debits
    that stood sum up to no more than `rate` x interval + `burst` + the last one, whatever was given back meanwhile and when.
    """

    __slots__ = ("burst", "full_at", "level", "marks", "rate", "updated_at")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = burst
        self.updated_at = now
        self.full_at = now
        """When it was full last: what was taken before has been refilled since, whether it is given back or not."""
        self.marks: list[tuple[float, float]] = []
        """(when, how far from full) before a debit; of those that nothing later has undercut, so both rise."""

    def refill(self, now: float) -> None:
        """Bring the level to `now`; a clock that went back changes nothing."""
        elapsed_s = now - self.updated_at
        if elapsed_s <= 0.0:
            return
        self.updated_at = now
        level = self.level + elapsed_s * self.rate
        if level < self.burst:
            self.level = level
        else:
            self.level = self.burst
            self.full_at = now

    def has_room(self) -> bool:
        """True while not in debt, as of the last refill."""
        return self.level >= 0.0

    def debit(self, amount: float) -> None:
        """Take `amount`, below zero if need be."""
        if self.full_at != self.updated_at:
            self.mark()
        self.level -= amount

    def mark(self) -> None:
        """Remember how full the bucket has become: to be called before it is less full (by a debit, a larger burst), unless it is full
        right now."""
        marks, room = self.marks, self.burst - self.level
        if marks and marks[-1][0] < self.full_at:
            marks.clear()
        while marks and marks[-1][1] >= room:
            marks.pop()
        if len(marks) >= MARKS_MAX:
            marks[:] = [(when, below) for (_, below), (when, _) in zip(marks[::2], marks[1::2], strict=False)]
        marks.append((self.updated_at, room))

    def credit(self, amount: float, since: float) -> None:
        """Give back what was debited at `since` but not used, as far as the bucket would hold it now had it never been debited.

        What it would have held is known from how close to full it has come since: the rest would have run over.
        """
        if amount <= 0.0:
            self.debit(-amount)
            return
        if since < self.full_at:
            return
        marks = self.marks
        later = [mark for mark in marks if mark[0] > since]
        amount = min(amount, self.burst - self.level, later[0][1] if later else inf)
        self.level += amount
        room = later[0][1] - amount if later else inf
        marks[:] = [mark for mark in marks if mark[0] <= since and mark[1] < room] + [(when, below - amount) for when, below in later]

    def wait_s(self) -> float:
        """Seconds from the last refill until the debt is paid; infinite without a rate."""
        if self.level >= 0.0:
            return 0.0
        return -self.level / self.rate if self.rate > 0.0 else inf

    def set_rate(self, rate: float, burst: float, now: float) -> None:
        """From `now` on refill at `rate` up to `burst`; what was earned above the new burst is lost."""
        self.refill(now)
        self.rate = rate
        before, self.burst = self.burst, burst
        if self.level >= burst:
            self.level = burst
            self.full_at = self.updated_at
        elif burst != before and self.full_at != self.updated_at:
            self.burst = min(before, burst)
            self.mark()
            self.burst = burst
