"""What one proxy may send to one model group: the lease, enforced."""

from __future__ import annotations

from typing import Final

from claudeops.policy.bucket import TokenBucket
from claudeops.policy.gate import StreamGate
from claudeops.policy.level import STALE_S, LevelGauge, Sample, governor_scale
from claudeops.policy.rates import Rates

BURST_S: Final = 1.0
REQUEST_BURST_MIN: Final = 0.5


class GroupLimiter:
    """Request bucket, input bucket and stream gate of one model group under one lease.

    All three are post-paid: at most one request goes past the lease at a time. Every admitted request ends in exactly
    one of `leave`, `leave_unheard`, `leave_whole` or `refund`. The limiter never sleeps: the caller brings the clock and waits.
    """

    __slots__ = ("gate", "gauges", "input", "lease", "limits", "paused_until", "requests", "scale", "scale_until", "scarcest")

    def __init__(self, lease: Rates, now: float) -> None:
        self.lease = lease
        self.limits: Rates | None = None
        self.requests = TokenBucket(lease.requests, max(REQUEST_BURST_MIN, lease.requests * BURST_S), now)
        self.input = TokenBucket(lease.input_tokens, lease.input_tokens * BURST_S, now)
        self.gate = StreamGate(lease.output_tokens, now)
        self.gauges = (LevelGauge(True), LevelGauge(), LevelGauge())
        self.scarcest = LevelGauge()
        """Of the most restrictive token limit in effect, whichever that is."""
        self.paused_until = 0.0
        self.scale = 1.0
        self.scale_until = 0.0

    def try_admit(self, input_tokens: float, now: float, is_streamed: bool = True) -> bool:
        """Take one request, its estimated uncached input and a stream's place; or nothing, and say False."""
        if now < self.paused_until:
            return False
        if self.scale < 1.0 and now >= self.scale_until:
            self._apply(now)
        requests, tokens, gate = self.requests, self.input, self.gate
        requests.refill(now)
        if requests.level < 0.0:
            return False
        tokens.refill(now)
        if tokens.level < 0.0 or not gate.is_open(now):
            return False
        if requests.full_at != requests.updated_at:
            requests.mark()
        requests.level -= 1.0
        if tokens.full_at != tokens.updated_at:
            tokens.mark()
        tokens.level -= input_tokens
        gate.enter(now, is_streamed)
        return True

    def wait_s(self, input_tokens: float, now: float) -> float:
        """Estimated seconds until `try_admit` could succeed if nobody else took; 0 if it would now.

        Post-paid: the size of the request itself does not lengthen its own wait.
        """
        self.requests.refill(now)
        self.input.refill(now)
        return max(0.0, self.paused_until - now, self.requests.wait_s(), self.input.wait_s(), self.gate.wait_s(now))

    def queue_wait_s(self, ahead: int, ahead_input_tokens: float, now: float) -> float:
        """Estimated wait of a request behind `ahead` others that want `ahead_input_tokens` together."""
        wait_s = self.wait_s(0.0, now)
        if ahead <= 0:
            return wait_s
        return wait_s + max(
            ahead / max(1e-9, self.requests.rate),
            ahead_input_tokens / max(1e-9, self.input.rate),
            ahead * self.gate.mean_output / max(1e-9, self.gate.rate),
        )

    def settle_input(self, estimated: float, actual: float, *, entered_at: float, now: float) -> None:
        """Correct the input debit at message_start: the API counted `actual` uncached tokens of what was admitted at `entered_at`."""
        bucket = self.input
        bucket.refill(now)
        bucket.credit(estimated - actual, entered_at)

    def produced(self, tokens: float, now: float) -> None:
        """A running stream produced output tokens."""
        self.gate.produced(tokens, now)

    def leave(self, now: float) -> None:
        """A streamed request ended."""
        self.gate.leave(now)

    def leave_unheard(self, now: float, *, entered_at: float) -> None:
        """A streamed request ended before it began to be answered: it was counted, but says nothing of how streams are."""
        self.gate.abandon(now, entered_at)

    def leave_whole(self, tokens: float, entered_at: float, now: float) -> None:
        """A request that was answered as one JSON document ended with `tokens` of output."""
        self.gate.leave_whole(tokens, entered_at, now)

    def refund(self, input_tokens: float, now: float, *, entered_at: float, is_streamed: bool = True) -> None:
        """The API did not count this request (429, no connection, cancelled before it was sent): undo its admission at `entered_at`."""
        self.requests.refill(now)
        self.requests.credit(1.0, entered_at)
        self.input.refill(now)
        self.input.credit(input_tokens, entered_at)
        self.gate.abandon(now, entered_at, is_streamed)

    def set_lease(self, lease: Rates, now: float, *, limits: Rates | None = None, full_s: Rates | None = None) -> None:
        """Change the lease. `limits`: the organisation's limits it was cut from; `full_s`: the fleet's measured bursts."""
        self.lease = lease
        if limits is not None:
            self.limits = limits
        if full_s is not None:
            for gauge, seconds in zip(self.gauges, full_s.as_tuple(), strict=True):
                gauge.learn_full(seconds)
        self._apply(now)

    def pause(self, until: float) -> None:
        """Admit nothing before `until` (a 429's retry-after, jittered upwards); never shortens a pause."""
        if until > self.paused_until:
            self.paused_until = until

    def see_level(self, dimension: int, sample: Sample, now: float) -> bool:
        """Take a header reading of REQUESTS, INPUT or OUTPUT. True if the limit is lower than the lease assumed: report."""
        gauge = self.gauges[dimension]
        if not gauge.see(sample, now):
            return False
        is_lower = self.limits is not None and sample.limit_per_s < 0.999 * self.limits.as_tuple()[dimension]
        scale = self._governor(now)
        if is_lower or scale != self.scale:
            self._apply(now)
        return is_lower

    def see_scarcest(self, sample: Sample, now: float) -> None:
        """Take a reading of `anthropic-ratelimit-tokens-*`: the most restrictive limit, or input and output together, which is never
        the emptier one. Which of them it is shows in its limit only: another limit is another bucket."""
        if sample.sent_at < self.scarcest.sent_at:
            return
        if sample.limit_per_s != self.scarcest.limit_per_s:
            self.scarcest = LevelGauge()
        if self.scarcest.see(sample, now) and self._governor(now) != self.scale:
            self._apply(now)

    def _governor(self, now: float) -> float:
        return governor_scale(min(self.scarcest.level(now), *[gauge.level(now) for gauge in self.gauges]))

    def _apply(self, now: float) -> None:
        """Set the three rates: lease x level governor x (seen limit / limit at assignment, where lower)."""
        self.scale = self._governor(now)
        self.scale_until = now + STALE_S
        rates = self.lease.scaled(self.scale).as_tuple()
        requests, tokens, output = (rate * self._limit_ratio(index) for index, rate in enumerate(rates))
        self.requests.set_rate(requests, max(REQUEST_BURST_MIN, requests * BURST_S), now)
        self.input.set_rate(tokens, tokens * BURST_S, now)
        self.gate.set_rate(output, now)

    def _limit_ratio(self, dimension: int) -> float:
        seen = self.gauges[dimension].limit_per_s
        if self.limits is None or seen <= 0.0:
            return 1.0
        assumed = self.limits.as_tuple()[dimension]
        return min(1.0, seen / assumed) if assumed > 0.0 else 1.0
