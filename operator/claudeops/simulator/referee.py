"""The referee: what was really used of each limit, second by second, and the most recent requests as they came."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from claudeops.catalogue import RateLimits
from claudeops.simulator.limiter import GroupLimiter, Levels

TIMELINE_SECONDS = 600
LOGGED_REQUESTS = 200
MOST_NAMES = 500
"""Models, keys and clients that are counted by name; further ones are counted together as ``other``."""


class Second(msgspec.Struct):
    """What one group used in one second. ``at``: whole seconds since the epoch. Outside: other users of the organisation."""

    at: int
    requests: int = 0
    input_tokens: int = 0
    output_tokens: float = 0.0
    outside_requests: float = 0.0
    outside_input_tokens: float = 0.0
    outside_output_tokens: float = 0.0
    throttled: int = 0


class Totals(msgspec.Struct):
    """A group's use since the last reset. ``input_tokens`` is what the limit counts: uncached input and cache writes."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: float = 0.0
    cache_read_tokens: int = 0
    cache_written_tokens: int = 0
    outside_requests: float = 0.0
    outside_input_tokens: float = 0.0
    outside_output_tokens: float = 0.0
    unreported_requests: int = 0
    unreported_output_tokens: float = 0.0
    throttled: int = 0
    throttled_by: dict[str, int] = {}


class GroupStats(msgspec.Struct, frozen=True):
    """One group of one organisation. ``share_of_limit``: own use since the reset over what the limits allowed in that time.

    ``busiest_minute``: the most that was used in any 60 whole seconds of the timeline, own and outside together, each of requests,
    input and output by itself: what a limit that says "per minute" must not see exceeded by more than its burst.
    """

    organization: str
    group: str
    limits: RateLimits | None
    burst_s: float
    levels: Levels | None
    outside_share: float
    used: Totals
    share_of_limit: Levels | None
    busiest_minute: Levels
    in_flight: int
    timeline: list[Second]


class LoggedRequest(msgspec.Struct, frozen=True):
    """One request as it was received; of the key only the last four characters."""

    at: float
    method: str
    path: str
    model: str
    key: str
    client: str
    code: int
    stream: bool
    api_version: str
    user_agent: str
    sampling: dict[str, float | None]
    max_tokens: int | None
    effort: str | None
    thinking: str | None
    cache_control_count: int
    stainless: dict[str, str]
    header_names: list[str]
    error: str | None = None
    input_tokens: int = 0
    body_sha256: str = ""


class Stats(msgspec.Struct, frozen=True):
    """``GET /_sim/stats``."""

    since: float
    now: float
    uptime_s: float
    requests: int
    in_flight: int
    streams: int
    connections: int
    batches: int
    files: int
    spent_usd: dict[str, float]
    by_code: dict[str, int]
    by_fault: dict[str, int]
    by_model: dict[str, dict[str, int]]
    by_key: dict[str, dict[str, int]]
    by_client: dict[str, dict[str, int]]
    groups: list[GroupStats]

    def group(self, name: str, organization: str | None = None) -> GroupStats | None:
        """The figures of one group, of the first (or the named) organisation that used it."""
        wanted = (g for g in self.groups if g.group == name and organization in (None, g.organization))
        return next(wanted, None)


class GroupRecord:
    """The running record of one group."""

    def __init__(self, organization: str, group: str) -> None:
        self.organization = organization
        self.group = group
        self.in_flight = 0
        self.totals = Totals()
        self._ring: deque[Second] = deque(maxlen=TIMELINE_SECONDS)

    def second(self, now_s: float) -> Second:
        """The row of this second (since the epoch), made when it is new."""
        at = int(now_s)
        if not self._ring or self._ring[-1].at != at:
            self._ring.append(Second(at))
        return self._ring[-1]

    def admitted(self, now_s: float, input_tokens: int, cache_read_tokens: int, cache_written_tokens: int) -> None:
        """A request passed the limits."""
        row, totals = self.second(now_s), self.totals
        row.requests += 1
        row.input_tokens += input_tokens
        totals.requests += 1
        totals.input_tokens += input_tokens
        totals.cache_read_tokens += cache_read_tokens
        totals.cache_written_tokens += cache_written_tokens

    def produced(self, now_s: float, output_tokens: float) -> None:
        """Output was produced."""
        self.second(now_s).output_tokens += output_tokens
        self.totals.output_tokens += output_tokens

    def tokens_between(self, begin_s: float, end_s: float) -> float:
        """Input and output of the seconds from ``begin_s`` on and before ``end_s``."""
        return sum(row.input_tokens + row.output_tokens for row in self._ring if begin_s <= row.at < end_s)

    def unreported(self, output_tokens: float) -> None:
        """An answer ended before it said what it used: only the limits know of this output."""
        self.totals.unreported_requests += 1
        self.totals.unreported_output_tokens += output_tokens

    def throttled(self, now_s: float, dimension: str) -> None:
        """A request was refused by a limit."""
        self.second(now_s).throttled += 1
        self.totals.throttled += 1
        self.totals.throttled_by[dimension] = self.totals.throttled_by.get(dimension, 0) + 1

    def taken_outside(self, now_s: float, limiter: GroupLimiter, elapsed_s: float) -> None:
        """Others used their share for this long."""
        row, totals = self.second(now_s), self.totals
        amounts = [bucket.outside_per_s * elapsed_s for bucket in (limiter.requests, limiter.input, limiter.output)]
        row.outside_requests += amounts[0]
        row.outside_input_tokens += amounts[1]
        row.outside_output_tokens += amounts[2]
        totals.outside_requests += amounts[0]
        totals.outside_input_tokens += amounts[1]
        totals.outside_output_tokens += amounts[2]

    def reset(self) -> None:
        """Begin again; what is in flight stays."""
        self.totals = Totals()
        self._ring.clear()

    def view(self, limiter: GroupLimiter | None, since_s: float, now_s: float, *, seconds: int) -> GroupStats:
        """The group's figures with the last ``seconds`` of its timeline."""
        share = None if limiter is None else share_of_limit(self.totals, limiter.limits, now_s - since_s)
        return GroupStats(
            organization=self.organization,
            group=self.group,
            limits=None if limiter is None else limiter.limits,
            burst_s=0.0 if limiter is None else limiter.burst_s,
            levels=None if limiter is None else limiter.levels(),
            outside_share=0.0 if limiter is None else limiter.outside_share,
            used=msgspec.structs.replace(self.totals, throttled_by=dict(self.totals.throttled_by)),
            share_of_limit=share,
            busiest_minute=_busiest_minute(self._ring),
            in_flight=self.in_flight,
            timeline=[msgspec.structs.replace(row) for row in self._ring if row.at > now_s - seconds],
        )


def share_of_limit(totals: Totals, limits: RateLimits, elapsed_s: float) -> Levels:
    """Own use over what the limits allowed in this time."""
    minutes = max(elapsed_s, 1e-9) / 60

    def share(used: float, per_minute: int) -> float:
        return round(used / (per_minute * minutes), 4) if per_minute else 0.0

    return Levels(
        share(totals.requests, limits.requests_per_minute),
        share(totals.input_tokens, limits.input_tokens_per_minute),
        share(totals.output_tokens, limits.output_tokens_per_minute),
    )


def _busiest_minute(rows: Iterable[Second]) -> Levels:
    """The largest sums over 60 seconds; rows in order of time."""
    window: deque[tuple[int, tuple[float, float, float]]] = deque()
    sums, most = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for row in rows:
        while window and window[0][0] <= row.at - 60:
            _, gone = window.popleft()
            sums = [total - amount for total, amount in zip(sums, gone, strict=True)]
        used = (
            row.requests + row.outside_requests,
            row.input_tokens + row.outside_input_tokens,
            row.output_tokens + row.outside_output_tokens,
        )
        window.append((row.at, used))
        sums = [total + amount for total, amount in zip(sums, used, strict=True)]
        most = [max(pair) for pair in zip(most, sums, strict=True)]
    return Levels(*(round(value, 2) for value in most))


class Referee:
    """Counts answers and keeps the recent requests. Times are seconds since the epoch."""

    def __init__(self, now_s: float) -> None:
        self.started_s = now_s
        self.reset(now_s)

    def reset(self, now_s: float) -> None:
        """Begin again."""
        self.since_s = now_s
        self.requests = 0
        self.by_code: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.by_model: dict[str, Counter[str]] = {}
        self.by_key: dict[str, Counter[str]] = {}
        self.by_client: dict[str, Counter[str]] = {}
        self._log: deque[LoggedRequest] = deque(maxlen=LOGGED_REQUESTS)

    def answered(self, entry: LoggedRequest) -> None:
        """A request got its answer (a stream: its head); code 0 when the connection was broken on purpose."""
        code = str(entry.code)
        self.requests += 1
        self.by_code[code] += 1
        for table, name in ((self.by_model, entry.model), (self.by_key, entry.key), (self.by_client, entry.client)):
            known = name if name in table or len(table) < MOST_NAMES else "other"
            table.setdefault(known, Counter())[code] += 1
        self._log.append(entry)

    def recent(self, limit: int, model: str | None, key: str | None) -> list[LoggedRequest]:
        """The newest requests, newest first."""
        wanted = (e for e in reversed(self._log) if model in (None, e.model) and (key is None or key.endswith(e.key)))
        return [entry for entry, _ in zip(wanted, range(limit), strict=False)]

    def tables(self) -> dict[str, Any]:
        """The counters as plain dictionaries."""
        return {
            "by_code": dict(self.by_code),
            "by_fault": dict(self.by_fault),
            "by_model": {name: dict(counts) for name, counts in self.by_model.items()},
            "by_key": {name: dict(counts) for name, counts in self.by_key.items()},
            "by_client": {name: dict(counts) for name, counts in self.by_client.items()},
        }
