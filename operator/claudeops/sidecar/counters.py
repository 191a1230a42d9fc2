"""What the request path counts: plain ints, lists and dicts of one process. Text and deltas are made by those who read them.

Everything here only grows (a reader keeps its own last copy and subtracts), except the :class:`Window`, which a reader takes away.
"""

from __future__ import annotations

from typing import Final

from claudeops.policy.sketch import Sketch, place

SECONDS: Final[tuple[float, ...]] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FINE_SECONDS: Final[tuple[float, ...]] = (0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)
INTERVAL_SECONDS: Final[tuple[float, ...]] = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES: Final[tuple[float, ...]] = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
RATIOS: Final[tuple[float, ...]] = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5, 2.0)


Trace = tuple[float, bytes, float]
"""Value, head of the API's answer, the runtime's clock."""


class Histogram:
    """Counts per bucket (the last one is +Inf) and their sum."""

    __slots__ = ("bounds", "counts", "sum", "traces")

    def __init__(self, bounds: tuple[float, ...], *, is_traced: bool = False) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.traces: list[Trace | None] = [None] * (len(bounds) + 1) if is_traced else []
        """The newest answer of each bucket, where it is asked for."""

    def observe(self, value: float) -> None:
        bucket = place(self.bounds, value)
        counts = self.counts
        counts[bucket] = counts[bucket] + 1
        self.sum += value

    def trace(self, value: float, head: bytes, now: float) -> None:
        """Observe, and keep the head of the API's answer: its id is looked for only when somebody wants to see it."""
        bucket = place(self.bounds, value)
        counts = self.counts
        counts[bucket] = counts[bucket] + 1
        self.sum += value
        self.traces[bucket] = (value, head, now)


class ModelCounters:
    """The series of one (model, tier). What was used of the model is in its :class:`~claudeops.sidecar.ledger.Used`."""

    __slots__ = (
        "adjusted",
        "bound_histories",
        "context_used",
        "duration",
        "estimate_error",
        "first_token",
        "left_out",
        "output_estimate_error",
        "output_interval",
        "overhead",
        "queue_wait",
        "requests",
        "retries",
        "retry_after_s",
        "throttles",
        "throttles_above_level",
        "upstream",
        "warned",
    )

    def __init__(self) -> None:
        self.requests: dict[tuple[int, str], int] = {}
        """(status, reason) → answers given to the application; reason "" for what the API answered, 499 for clients that left."""
        self.upstream: dict[int, int] = {}
        """Status → answers of the API, one per attempt; 0 no connection, 504 timed out here, 529 also inside a 200 stream."""
        self.throttles: dict[str, int] = {}
        """Cause (RateLimited, RampLimited, SpendLimited) → 429s of the API."""
        self.throttles_above_level = 0
        self.retry_after_s = 0.0
        """Sum of what the 429s asked to wait, spend limits apart."""
        self.retries: dict[str, int] = {}
        """Cause (a status, or "connect") → attempts that were repeated."""
        self.adjusted: dict[str, int] = {}
        """Parameter → requests in which it was clamped or left out."""
        self.left_out: dict[str, int] = {}
        """Parameter → those of ``adjusted`` in which it was left out."""
        self.bound_histories = 0
        """Requests that hold thinking blocks which the model takes back only behind the turns it has seen: those are not edited."""
        self.warned: dict[str, int] = {}
        """Parameter → requests that passed although it is out of the profile's bounds (onViolation: Warn)."""
        self.duration = Histogram(SECONDS, is_traced=True)
        self.first_token = Histogram(SECONDS, is_traced=True)
        self.output_interval = Histogram(INTERVAL_SECONDS)
        self.queue_wait = Histogram(SECONDS)
        self.overhead = Histogram(FINE_SECONDS)
        self.estimate_error = Histogram(RATIOS)
        """Estimated over real input tokens."""
        self.output_estimate_error = Histogram(RATIOS)
        """Of streams: output tokens as their bytes suggest over real ones."""
        self.context_used = Histogram(SHARES)
        """Prompt tokens over the model's context window."""


class GroupCounters:
    """Demand and use of one model group. Amounts are sums of requests, uncached input tokens and output tokens."""

    __slots__ = (
        "admitted",
        "answers",
        "duration",
        "ended",
        "latency_sum_s",
        "offered_input",
        "offered_output",
        "offered_requests",
        "shed",
        "used_input",
        "used_output",
        "used_requests",
    )

    def __init__(self) -> None:
        self.offered_requests = 0
        self.offered_input = 0.0
        self.offered_output = 0.0
        """What the application asked for, queued and refused requests included; tokens by estimate."""
        self.used_requests = 0
        self.used_input = 0.0
        self.used_output = 0.0
        """What the API was charged for."""
        self.answers: dict[tuple[int, str], int] = {}
        """As ``ModelCounters.requests``, for pools that serve no model: batches and files."""
        self.duration = Histogram(SECONDS, is_traced=True)
        self.admitted = 0
        self.shed = 0
        self.ended = 0
        self.latency_sum_s = 0.0
        """From sending to the end of the answer, over ``ended`` answers."""


class Window:
    """Sketches since the last report; :meth:`~claudeops.sidecar.runtime.Runtime.take_window` hands it over and starts another."""

    __slots__ = ("first_token", "latency", "queue_wait")

    def __init__(self) -> None:
        self.latency = Sketch()
        self.first_token = Sketch()
        self.queue_wait = Sketch()
