"""A workspace's own limits, which hold beside the organisation's, and the pool of a request that meets both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from claudeops.simulator.limiter import Bucket, Dimension, GroupLimiter, Refusal, retry_after_s
from claudeops.simulator.pool import Group
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.referee import GroupRecord

REQUESTS = "requests_per_minute"
INPUT = "input_tokens_per_minute"
"""Counts cache reads, unlike the organisation's usual limit: it can refuse mostly cached traffic."""
INPUT_CACHE_AWARE = "input_tokens_per_minute_cache_aware"
OUTPUT = "output_tokens_per_minute"
TOTAL = "tokens_per_minute"
KINDS = (REQUESTS, INPUT, INPUT_CACHE_AWARE, OUTPUT, TOTAL)
"""The kinds that the simulator enforces; it keeps and shows the others."""
_DIMENSIONS: dict[str, Dimension] = {REQUESTS: "requests", INPUT: "input", INPUT_CACHE_AWARE: "input", OUTPUT: "output", TOTAL: "input"}


class WorkspaceLimiter:
    """The buckets of one workspace for one group. Times are seconds on one monotonic clock."""

    def __init__(self, limits: Mapping[str, int], burst_s: float, now_s: float) -> None:
        self.burst_s = burst_s
        self.updated_s = now_s
        self.buckets: dict[str, Bucket] = {}
        self.resize(limits)

    def resize(self, limits: Mapping[str, int]) -> None:
        """Other limits from now on."""
        self.buckets = {kind: self._resized(self.buckets.get(kind), limit) for kind, limit in limits.items() if kind in KINDS}

    def _resized(self, bucket: Bucket | None, limit: int) -> Bucket:
        if bucket is None:
            return Bucket(limit, self.burst_s, 1.0)
        bucket.resize(limit, self.burst_s, 1.0)
        return bucket

    def advance(self, now_s: float) -> None:
        """Bring the buckets to this moment."""
        elapsed_s, self.updated_s = max(0.0, now_s - self.updated_s), now_s
        for bucket in self.buckets.values():
            bucket.advance(elapsed_s)

    def refusal(self, use: InputUse) -> Refusal | None:
        """Which limit refuses a request of this input; None when all let it pass. Debits nothing."""
        waits = [(self._wait_s(kind, bucket, use), kind) for kind, bucket in self.buckets.items()]
        worst_s, kind = max(waits, default=(0.0, REQUESTS))
        if worst_s <= 0:
            return None
        return Refusal(_DIMENSIONS[kind], self.buckets[kind].limit_per_minute, retry_after_s(worst_s))

    def debit(self, use: InputUse) -> None:
        """Take what a request of this input costs at its start."""
        for kind, bucket in self.buckets.items():
            bucket.level -= _cost(kind, use)

    def produce(self, tokens: float) -> None:
        """Output tokens were produced."""
        for kind in (OUTPUT, TOTAL):
            if kind in self.buckets:
                self.buckets[kind].level -= tokens

    def drain(self, per_s: float) -> None:
        """Running answers produce this much more from now on."""
        for kind in (OUTPUT, TOTAL):
            if kind in self.buckets:
                self.buckets[kind].drain_per_s = max(0.0, self.buckets[kind].drain_per_s + per_s)

    def scarcest_tokens(self) -> Bucket | None:
        """The token bucket that is the emptiest for its size; None when no token limit is set."""
        found = [bucket for kind, bucket in self.buckets.items() if kind != REQUESTS]
        return min(found, key=lambda bucket: bucket.level / bucket.capacity, default=None)

    def _wait_s(self, kind: str, bucket: Bucket, use: InputUse) -> float:
        if kind == OUTPUT:
            return 0.0 if bucket.level > 0 else max(1e-3, bucket.wait_s(0))
        return bucket.wait_s(_cost(kind, use))


def _cost(kind: str, use: InputUse) -> int:
    if kind == REQUESTS:
        return 1
    if kind == INPUT:
        return use.total
    return use.uncached + use.written if kind in (INPUT_CACHE_AWARE, TOTAL) else 0


class ScopedGroup:
    """An organisation's group as one workspace meets it: its own limits first, then the organisation's."""

    __slots__ = ("_clock", "group", "workspace")

    def __init__(self, group: Group, workspace: WorkspaceLimiter, clock: Callable[[], float]) -> None:
        self.group = group
        self.workspace = workspace
        self._clock = clock

    @property
    def limiter(self) -> GroupLimiter | None:
        """The organisation's limits."""
        return self.group.limiter

    @property
    def record(self) -> GroupRecord:
        """The organisation's record."""
        return self.group.record

    @property
    def updated_s(self) -> float:
        """When it was last brought up to date."""
        return self.group.updated_s

    def advance(self) -> None:
        """Refill the buckets up to now."""
        self.group.advance()
        self.workspace.advance(self._clock())

    def drain(self, per_s: float) -> None:
        """Running answers produce this much more (or, negative, less) from now on."""
        self.workspace.advance(self._clock())
        self.workspace.drain(per_s)
        self.group.drain(per_s)

    def produce(self, tokens: float) -> None:
        """Output tokens were produced at this moment (negative: a correction)."""
        self.workspace.advance(self._clock())
        self.workspace.produce(tokens)
        self.group.produce(tokens)

    def admit(self, use: InputUse, *, counts_reads: bool) -> Refusal | None:
        """Debit a request in both, or say which limit refuses it."""
        self.advance()
        refusal = self.workspace.refusal(use)
        if refusal is not None:
            self.group.refused(refusal)
            return refusal
        refusal = self.group.admit(use, counts_reads=counts_reads)
        if refusal is None:
            self.workspace.debit(use)
        return refusal


Pool = Group | ScopedGroup


class WorkspaceBook:
    """The limits that workspaces have of their own, by workspace id and group."""

    def __init__(self, limits: Mapping[str, Mapping[str, Mapping[str, int]]], burst_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._burst_s = burst_s
        self._limits = {workspace: {group: dict(values) for group, values in groups.items()} for workspace, groups in limits.items()}
        self._limiters: dict[tuple[str, str], WorkspaceLimiter] = {}

    def limits_of(self, workspace_id: str, group: str) -> dict[str, int]:
        """What is set for this workspace; empty when nothing is."""
        return dict(self._limits.get(workspace_id, {}).get(group, {}))

    def set(self, workspace_id: str, group: str, changes: Mapping[str, int | None]) -> None:
        """Set these kinds of limit, and clear those whose value is None."""
        kept = {**self.limits_of(workspace_id, group), **changes}
        limits = {kind: value for kind, value in kept.items() if value is not None}
        self._limits.setdefault(workspace_id, {})[group] = limits
        if (workspace_id, group) in self._limiters:
            self._limiters[workspace_id, group].resize(limits)

    def scoped(self, group: Group, workspace_id: str) -> Pool:
        """The group as this workspace meets it."""
        if not self._limits:
            return group
        name = group.record.group
        if not self._limits.get(workspace_id, {}).get(name):
            return group
        limiter = self._limiters.get((workspace_id, name))
        if limiter is None:
            limits = self.limits_of(workspace_id, name)
            limiter = self._limiters[workspace_id, name] = WorkspaceLimiter(limits, self._burst_s, self._clock())
        return ScopedGroup(group, limiter, self._clock)
