"""When to try again: full-jitter backoff, retry-after as the floor, and a budget against storms of retries."""

from __future__ import annotations

from random import Random
from typing import Final

RETRY_AFTER_SPREAD: Final = 0.5


def full_jitter_s(attempt: int, initial_s: float, maximum_s: float, rng: Random) -> float:
    """A uniform draw from 0 to min(maximum, initial x 2^attempt); `attempt` counts failures from 0.

    Source: Brooker, "Exponential Backoff And Jitter" (full jitter).
    """
    ceiling_s = min(maximum_s, initial_s * 2.0 ** min(attempt, 60))
    return rng.random() * ceiling_s


def pause_s(retry_after_s: float, rng: Random) -> float:
    """`retry-after` jittered upwards only (x 1 to 1.5): nobody comes back early, and not all at once."""
    return retry_after_s * (1.0 + RETRY_AFTER_SPREAD * rng.random())


def retry_wait_s(attempt: int, initial_s: float, maximum_s: float, retry_after_s: float | None, rng: Random) -> float:
    """Wait before the next try: full jitter, and never less than `retry-after` (itself jittered upwards)."""
    wait_s = full_jitter_s(attempt, initial_s, maximum_s, rng)
    return wait_s if retry_after_s is None else max(wait_s, pause_s(retry_after_s, rng))


class RetryBudget:
    """Retries are at most `percent` of first attempts, and a few to begin with.

    `deposit` at every first attempt; `withdraw` before a retry. `scale` (0..1) is the fleet's brake.
    """

    __slots__ = ("level", "maximum", "percent", "scale")

    def __init__(self, percent: float, maximum: float = 10.0) -> None:
        self.percent = percent
        self.maximum = maximum
        self.level = maximum
        self.scale = 1.0

    def deposit(self) -> None:
        """A first attempt was sent."""
        self.level = min(self.maximum, self.level + self.percent * self.scale / 100.0)

    def withdraw(self) -> bool:
        """Take one retry, if the budget has it."""
        if self.level < 1.0 or self.scale <= 0.0:
            return False
        self.level -= 1.0
        return True
