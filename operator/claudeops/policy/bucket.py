"""A post-paid token bucket: it admits while it is not in debt, and the one it admits may take it into debt."""

from __future__ import annotations

from math import inf


class TokenBucket:
    """Refills continuously at `rate` a second up to `burst`; starts full. The caller brings the clock.

    Debt is kept when the rate changes: what was used was used.
    """

    __slots__ = ("burst", "level", "rate", "updated_at")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = burst
        self.updated_at = now

    def refill(self, now: float) -> None:
        """Bring the level to `now`; a clock that went back changes nothing."""
        elapsed_s = now - self.updated_at
        if elapsed_s <= 0.0:
            return
        self.updated_at = now
        level = self.level + elapsed_s * self.rate
        self.level = level if level < self.burst else self.burst

    def has_room(self) -> bool:
        """True while not in debt, as of the last refill."""
        return self.level >= 0.0

    def debit(self, amount: float) -> None:
        """Take `amount`, below zero if need be."""
        self.level -= amount

    def credit(self, amount: float) -> None:
        """Give back what was debited but not used; never above the burst."""
        level = self.level + amount
        self.level = level if level < self.burst else self.burst

    def wait_s(self) -> float:
        """Seconds from the last refill until the debt is paid; infinite without a rate."""
        if self.level >= 0.0:
            return 0.0
        return -self.level / self.rate if self.rate > 0.0 else inf

    def set_rate(self, rate: float, burst: float, now: float) -> None:
        """From `now` on refill at `rate` up to `burst`; what was earned above the new burst is lost."""
        self.refill(now)
        self.rate = rate
        self.burst = burst
        if self.level > burst:
            self.level = burst
