"""The stream gate: output tokens are governed by the number of running streams, never reserved.

Source: reference quota-control, finding 1 and section 2. In-flight streams times the learned tokens a second and
stream must stay under the leased output rate; a mirror of the API's output bucket catches what that estimate misses.
"""

from __future__ import annotations

from math import exp, inf
from typing import Final

from claudeops.policy.bucket import TokenBucket

START_SLOT_RATE: Final = 53.0
"""Tokens a second and stream before anything was learned, time to first token included."""
START_MEAN_OUTPUT: Final = 480.0
MEMORY_S: Final = 60.0
FOLD_S: Final = 0.25
PRIOR_S: Final = 5.0
"""The estimate in force weighs at least as much as a gate that was full for this long."""


class StreamGate:
    """Admission by streams for one model group.

    Streams are learned from as they run (`produced`); an answer that comes whole is learned from when it is there
    (`leave_whole`), so that the seconds in which it says nothing do not look like slowness. Meanwhile the mirror bucket
    takes it to produce at the learned rate, as the API's bucket sees it, and is corrected at its end.
    """

    __slots__ = (
        "bucket",
        "finished",
        "folded_at",
        "in_flight",
        "mean_output",
        "output_sum",
        "rate",
        "slot_rate",
        "slot_s",
        "streams",
        "tokens",
        "unfolded_slot_s",
        "unfolded_tokens",
        "updated_at",
    )  # fmt: skip

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.in_flight = 0
        self.streams = 0
        self.slot_rate = START_SLOT_RATE
        self.mean_output = START_MEAN_OUTPUT
        self.tokens = 0.0
        self.slot_s = 0.0
        self.output_sum = START_MEAN_OUTPUT * 2.0
        self.finished = 2.0
        self.unfolded_tokens = 0.0
        self.unfolded_slot_s = 0.0
        self.updated_at = now
        self.folded_at = now
        self.bucket = TokenBucket(rate, self._burst(), now)
        self._weigh_prior()

    def set_rate(self, rate: float, now: float) -> None:
        """The leased output tokens a second, already scaled by the level governor."""
        self._advance(now)
        self._fold(now)
        self.rate = rate
        self.bucket.set_rate(rate, self._burst(), now)
        self._weigh_prior()

    def enter(self, now: float, is_streamed: bool = True) -> None:
        """A request was sent."""
        if now > self.updated_at:
            self._advance(now)
        self.in_flight += 1
        if is_streamed:
            self.streams += 1

    def produced(self, tokens: float, now: float) -> None:
        """A running stream produced output tokens."""
        self._advance(now)
        self.unfolded_tokens += tokens
        self.output_sum += tokens
        self.bucket.level -= tokens
        if now - self.folded_at >= FOLD_S:
            self._fold(now)

    def leave(self, now: float) -> None:
        """A streamed request ended, with whatever it produced."""
        self._advance(now)
        self.in_flight -= 1
        self.streams -= 1
        self._finish()

    def leave_whole(self, tokens: float, entered_at: float, now: float) -> None:
        """A request that was not streamed ended with `tokens` of output; it entered at `entered_at`."""
        self._advance(now)
        self.in_flight -= 1
        whole_s = now - entered_at if now > entered_at else 0.0
        self.unfolded_tokens += tokens
        self.unfolded_slot_s += whole_s
        self.output_sum += tokens
        self.bucket.level -= tokens - self.slot_rate * whole_s
        self._finish()
        if now - self.folded_at >= FOLD_S:
            self._fold(now)

    def abandon(self, now: float, entered_at: float, is_streamed: bool = True) -> None:
        """A request ended that the API never began, as far as one can see: refused, not connected, not answered. Its silence says
        nothing about the speed of streams."""
        self._advance(now)
        self.in_flight -= 1
        if is_streamed:
            self.streams -= 1
            entered_at = min(now, entered_at)
            self.unfolded_slot_s -= now - max(entered_at, self.folded_at)
            self.slot_s -= MEMORY_S * (1.0 - exp(min(0.0, entered_at - self.folded_at) / MEMORY_S))
            self._learn_rate()

    def is_open(self, now: float) -> bool:
        """May one more request start? One always may when none runs, unless the output lease is in debt."""
        self._advance(now)
        if self.bucket.level < 0.0:
            return False
        return self.in_flight == 0 or self.in_flight * self.slot_rate < self.rate

    def wait_s(self, now: float) -> float:
        """Estimated seconds until the gate opens: the debt's, or the mean time between two streams' ends."""
        self._advance(now)
        wait_s = self.bucket.wait_s()
        if self.in_flight and self.in_flight * self.slot_rate >= self.rate:
            wait_s = max(wait_s, self.mean_output / self.rate if self.rate > 0.0 else inf)
        return wait_s

    def _advance(self, now: float) -> None:
        elapsed_s = now - self.updated_at
        if elapsed_s > 0.0:
            streams = self.streams
            self.unfolded_slot_s += elapsed_s * streams
            self.updated_at = now
            self.bucket.refill(now)
            whole = self.in_flight - streams
            if whole:
                self.bucket.level -= elapsed_s * self.slot_rate * whole

    def _finish(self) -> None:
        self.finished = finished = self.finished * 0.98 + 1.0
        self.output_sum = output_sum = self.output_sum * 0.98
        self.mean_output = output_sum / finished if output_sum > finished else 1.0

    def _fold(self, now: float) -> None:
        keep = exp((self.folded_at - now) / MEMORY_S) if now > self.folded_at else 1.0
        self.tokens = self.tokens * keep + self.unfolded_tokens
        self.slot_s = self.slot_s * keep + self.unfolded_slot_s
        self.unfolded_tokens = 0.0
        self.unfolded_slot_s = 0.0
        self.folded_at = now
        self._learn_rate()

    def _learn_rate(self) -> None:
        if self.slot_s > 1e-3:
            self.slot_rate = max(1.0, self.tokens / self.slot_s)

    def _weigh_prior(self) -> None:
        """Top the memory up with the estimate in force, lest the silence before first tokens reads as slowness."""
        missing_s = PRIOR_S * max(1.0, self.rate / self.slot_rate) - self.slot_s
        if missing_s > 0.0:
            self.slot_s += missing_s
            self.tokens += missing_s * self.slot_rate

    def _burst(self) -> float:
        return max(self.rate, 2.0 * self.mean_output)
