"""How full the organisation's bucket is, as the API's own headers tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TOKEN_SLACK: Final = 1000.0
"""`remaining` is rounded to the nearest thousand tokens: the last thousand counts as full."""
REQUEST_SLACK: Final = 1.0
STALE_S: Final = 12.0
TOKEN_SIZE_MIN: Final = 5000.0
REQUEST_SIZE_MIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of `anthropic-ratelimit-*`: the limit per second (header / 60), what remains, when it was sent for."""

    limit_per_s: float
    remaining: float
    sent_at: float


def governor_scale(level: float) -> float:
    """How much of its lease a proxy uses: all of it above a quarter, falling to half when the bucket is empty."""
    if level > 0.25:
        return 1.0
    return 0.5 + 2.0 * max(0.0, level)


def bucket_level(remaining: float, size: float, slack: float) -> float:
    """Level in 0..1 of a bucket whose full reading is `size`; 1 where the rounding hides everything."""
    full = size - slack
    if full <= 0.0:
        return 1.0
    return min(1.0, max(0.0, remaining / full))


class LevelGauge:
    """One dimension on a proxy: the newest reading by send time, and the fullest ever seen, in seconds of the limit."""

    __slots__ = ("full_s", "limit_per_s", "remaining", "seen_at", "sent_at", "size_min", "slack")

    def __init__(self, is_requests: bool = False) -> None:
        self.slack = REQUEST_SLACK if is_requests else TOKEN_SLACK
        self.size_min = REQUEST_SIZE_MIN if is_requests else TOKEN_SIZE_MIN
        self.full_s = 0.0
        self.limit_per_s = 0.0
        self.remaining = 0.0
        self.sent_at = -1.0e18
        self.seen_at = -1.0e18

    def see(self, sample: Sample, now: float) -> bool:
        """Take a reading; False if a later-sent one was seen before (headers of whole answers are old)."""
        if sample.sent_at < self.sent_at or sample.limit_per_s <= 0.0:
            return False
        if sample.limit_per_s == self.limit_per_s or self.limit_per_s == 0.0:
            self.full_s = max(self.full_s, sample.remaining / sample.limit_per_s)
        self.limit_per_s = sample.limit_per_s
        self.remaining = sample.remaining
        self.sent_at = sample.sent_at
        self.seen_at = now
        return True

    def learn_full(self, full_s: float) -> None:
        """The fleet's measure of the bucket, in seconds, if it is the larger."""
        self.full_s = max(self.full_s, full_s)

    def level(self, now: float) -> float:
        """0..1; 1 when the last reading is stale or the bucket is too small to be read: then only the lease governs."""
        size = self.full_s * self.limit_per_s
        if now - self.seen_at > STALE_S or size < self.size_min:
            return 1.0
        return bucket_level(self.remaining, size, self.slack)
