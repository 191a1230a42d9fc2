"""The organisation's rate limits: three continuous token buckets for each group of models.

Requests and uncached input are debited when a request starts, output as it is produced, so that the output bucket can
go into debt by streams that already run. A request is refused when a bucket lacks its cost (output: when the level is
not above zero). A cost larger than the whole bucket needs a full bucket, or it could never pass.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from claudeops.catalogue import RateLimits
from claudeops.simulator.identity import rfc3339

Dimension = Literal["requests", "input", "output"]
DIMENSIONS: tuple[Dimension, ...] = ("requests", "input", "output")
PER_MINUTE_NAMES: dict[Dimension, str] = {
    "requests": "requests per minute",
    "input": "input tokens per minute",
    "output": "output tokens per minute",
}


class Bucket:
    """One continuously refilled bucket. ``drain_per_s``: what running answers produce; ``outside_per_s``: others' use."""

    __slots__ = ("capacity", "drain_per_s", "level", "limit_per_minute", "outside_per_s", "rate_per_s")

    def __init__(self, limit_per_minute: int, burst_s: float, smallest: float) -> None:
        self.drain_per_s = 0.0
        self.outside_per_s = 0.0
        self.level = math.inf
        self.resize(limit_per_minute, burst_s, smallest)

    def resize(self, limit_per_minute: int, burst_s: float, smallest: float) -> None:
        """Change limit and burst; what was in the bucket stays, as far as it still fits."""
        self.limit_per_minute = limit_per_minute
        self.rate_per_s = limit_per_minute / 60
        self.capacity = max(smallest, self.rate_per_s * burst_s)
        self.level = min(self.level, self.capacity)

    def advance(self, elapsed_s: float) -> None:
        """Refill and drain for this long."""
        net_per_s = self.rate_per_s - self.drain_per_s - self.outside_per_s
        self.level = min(self.capacity, self.level + net_per_s * elapsed_s)

    def wait_s(self, cost: float) -> float:
        """How long until the bucket holds the cost, at the nominal rate; 0 when it does."""
        lacking = min(cost, self.capacity) - self.level
        return max(0.0, lacking / self.rate_per_s) if self.rate_per_s > 0 else math.inf


class Refusal(msgspec.Struct, frozen=True):
    """Which limit refused a request, what it is a minute, and when to come back (whole seconds, at least 1)."""

    dimension: Dimension
    limit_per_minute: int
    retry_after_s: int


class Levels(msgspec.Struct, frozen=True):
    """One value for each of a group's three limits."""

    requests: float
    input: float
    output: float


class GroupLimiter:
    """One group's limits in one organisation. All times are seconds on one monotonic clock."""

    __slots__ = ("burst_s", "input", "limits", "output", "outside_share", "requests", "updated_s")

    def __init__(self, limits: RateLimits, burst_s: float, now_s: float) -> None:
        self.limits = limits
        self.burst_s = burst_s
        self.outside_share = 0.0
        self.updated_s = now_s
        self.requests = Bucket(limits.requests_per_minute, burst_s, 1.0)
        self.input = Bucket(limits.input_tokens_per_minute, burst_s, 1.0)
        self.output = Bucket(limits.output_tokens_per_minute, burst_s, 1.0)

    def resize(self, limits: RateLimits, burst_s: float) -> None:
        """Other limits from now on."""
        self.limits, self.burst_s = limits, burst_s
        self.requests.resize(limits.requests_per_minute, burst_s, 1.0)
        self.input.resize(limits.input_tokens_per_minute, burst_s, 1.0)
        self.output.resize(limits.output_tokens_per_minute, burst_s, 1.0)
        self.set_outside_share(self.outside_share)

    def set_outside_share(self, share: float) -> None:
        """Others in the organisation use this share of each limit from now on."""
        self.outside_share = share
        for bucket in (self.requests, self.input, self.output):
            bucket.outside_per_s = share * bucket.rate_per_s

    def advance(self, now_s: float) -> float:
        """Bring the buckets to this moment; returns the seconds that passed."""
        elapsed_s = max(0.0, now_s - self.updated_s)
        self.updated_s = now_s
        self.requests.advance(elapsed_s)
        self.input.advance(elapsed_s)
        self.output.advance(elapsed_s)
        return elapsed_s

    def admit(self, input_tokens: int) -> Refusal | None:
        """Debit one request and its uncached input, or say which limit refuses it (which debits nothing)."""
        requests, tokens, output = self.requests, self.input, self.output
        waits_s = (requests.wait_s(1), tokens.wait_s(input_tokens), 0.0 if output.level > 0 else max(1e-3, output.wait_s(0)))
        worst_s = max(waits_s)
        if worst_s <= 0:
            requests.level -= 1
            tokens.level -= input_tokens
            return None
        worst = waits_s.index(worst_s)
        bucket = (requests, tokens, output)[worst]
        return Refusal(DIMENSIONS[worst], bucket.limit_per_minute, retry_after_s(worst_s))

    def levels(self) -> Levels:
        """What is in the buckets now."""
        return Levels(round(self.requests.level, 2), round(self.input.level, 1), round(self.output.level, 1))


def retry_after_s(wait_s: float) -> int:
    """The whole seconds a ``retry-after`` says for a wait: rounded up, at least 1, at most an hour."""
    return max(1, math.ceil(min(wait_s, 3600.0)))


def rounded_tokens(level: float) -> int:
    """A token level as the headers show it: to the nearest thousand, never below zero."""
    return max(0, round(level / 1000) * 1000)


def ratelimit_lines(limiter: GroupLimiter, now_s: float, scarcest: Bucket | None = None) -> bytes:
    """The ``anthropic-ratelimit-*`` header lines of one group. ``now_s``: seconds since the epoch.

    ``scarcest``: a bucket that is more restrictive than the group's; the ``tokens`` lines then show it instead of input and output
    together.
    """
    requests, tokens, output = limiter.requests, limiter.input, limiter.output
    parts = [
        _lines("ratelimit-requests", requests.limit_per_minute, max(0, int(requests.level)), _full_at(requests, now_s)),
        _token_lines("ratelimit-input-tokens", tokens, now_s),
        _token_lines("ratelimit-output-tokens", output, now_s),
    ]
    if scarcest is not None:
        parts.append(_token_lines("ratelimit-tokens", scarcest, now_s))
    else:
        limit = tokens.limit_per_minute + output.limit_per_minute
        remaining = rounded_tokens(tokens.level) + rounded_tokens(output.level)
        parts.append(_lines("ratelimit-tokens", limit, remaining, max(_full_at(tokens, now_s), _full_at(output, now_s))))
    return "".join(parts).encode()


def special_lines(kind: str, limiter: GroupLimiter, now_s: float) -> bytes:
    """The ``anthropic-fast-*`` or ``anthropic-priority-*`` header lines of one pool."""
    return (
        _token_lines(f"{kind}-input-tokens", limiter.input, now_s) + _token_lines(f"{kind}-output-tokens", limiter.output, now_s)
    ).encode()


def _token_lines(name: str, bucket: Bucket, now_s: float) -> str:
    """Limit, remaining and reset of one bucket of tokens."""
    return _lines(name, bucket.limit_per_minute, rounded_tokens(bucket.level), _full_at(bucket, now_s))


def _lines(name: str, limit: int, remaining: int, reset_s: float) -> str:
    prefix = f"anthropic-{name}"
    return f"{prefix}-limit: {limit}\r\n{prefix}-remaining: {remaining}\r\n{prefix}-reset: {rfc3339(int(reset_s))}\r\n"


def _full_at(bucket: Bucket, now_s: float) -> float:
    """When the bucket is full again if nobody takes from it."""
    return now_s + (bucket.capacity - bucket.level) / bucket.rate_per_s if bucket.rate_per_s > 0 else now_s
