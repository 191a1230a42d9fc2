"""The organisations' groups: each with its limits, its record and what its running answers drain from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from claudeops.catalogue import RateLimits, load_catalogue
from claudeops.catalogue.model import BatchLimits
from claudeops.errors import InvalidResource
from claudeops.simulator.config import Account, SimulatorConfig
from claudeops.simulator.fault import FaultScript
from claudeops.simulator.limiter import GroupLimiter, Refusal
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.referee import GroupRecord

Clock = Callable[[], float]
COUNT_TOKENS_GROUP = "count-tokens"
BATCH_GROUP = "batches"
FILES_GROUP = "files"
UNLIMITED = 10**12
RAMP_FLOOR_SHARE = 0.1
"""Of a minute's input and output limits: what may be used at any time, however little was used before. An assumption."""
FAST_PREFIX = "fast:"
PRIORITY_PREFIX = "priority:"
FAST_SHARE = 0.2
"""Of a group's ordinary limits: those of its fast mode, whose real numbers are not published. An assumption."""


def _batch_requests_per_minute(tier: str) -> int | None:
    limits = load_catalogue().batch_limits(tier)
    return None if limits is None else limits.requests_per_minute


_REQUEST_POOLS: dict[str, Callable[[str], int | None]] = {
    COUNT_TOKENS_GROUP: lambda tier: load_catalogue().count_tokens_limit(tier),
    BATCH_GROUP: _batch_requests_per_minute,
    FILES_GROUP: lambda tier: load_catalogue().files_limit,
}
"""Pools that limit nothing but requests, with their limit by tier."""


def is_pool(name: str) -> bool:
    """Whether limits can be set for this name: a group of models, its fast or priority pool, or an endpoint's own."""
    return name in _REQUEST_POOLS or name.removeprefix(FAST_PREFIX).removeprefix(PRIORITY_PREFIX) in load_catalogue().groups


def _has_priority(limits: Iterable[str]) -> bool:
    """Whether anybody has a priority commitment."""
    return any(name.startswith(PRIORITY_PREFIX) for name in limits)


def _share_of(limits: RateLimits | None, share: float) -> RateLimits | None:
    if limits is None:
        return None
    figures = (limits.requests_per_minute, limits.input_tokens_per_minute, limits.output_tokens_per_minute)
    return RateLimits(*(max(1, int(figure * share)) for figure in figures))


class Group:
    """One group of one organisation: limits (None: unlimited) and record, kept up to date together."""

    __slots__ = ("_clock", "drain_per_s", "limiter", "record", "updated_s")

    def __init__(self, limiter: GroupLimiter | None, record: GroupRecord, clock: Clock) -> None:
        self.limiter = limiter
        self.record = record
        self._clock = clock
        self.drain_per_s = 0.0
        self.updated_s = clock()

    def advance(self) -> None:
        """Refill the buckets up to now; book what was drained meanwhile by running answers and by others."""
        now_s = self._clock()
        elapsed_s, self.updated_s = now_s - self.updated_s, now_s
        wall_s = time.time()
        if self.drain_per_s > 0:
            self.record.produced(wall_s, self.drain_per_s * elapsed_s)
        if self.limiter is not None:
            self.limiter.advance(now_s)
            if self.limiter.outside_share > 0:
                self.record.taken_outside(wall_s, self.limiter, elapsed_s)

    def drain(self, per_s: float) -> None:
        """Running answers produce this much more (or, negative, less) from now on."""
        self.advance()
        self.drain_per_s = max(0.0, self.drain_per_s + per_s)
        if self.limiter is not None:
            self.limiter.output.drain_per_s = self.drain_per_s

    def produce(self, tokens: float) -> None:
        """Output tokens were produced at this moment (negative: a correction)."""
        self.advance()
        self.record.produced(time.time(), tokens)
        if self.limiter is not None:
            self.limiter.output.level -= tokens

    def admit(self, use: InputUse, *, counts_reads: bool) -> Refusal | None:
        """Debit a request and what its input costs, or say which limit refuses it."""
        self.advance()
        counted = use.uncached + use.written + (use.read if counts_reads else 0)
        refusal = None if self.limiter is None else self.limiter.admit(counted)
        if refusal is None:
            self.record.admitted(time.time(), counted, use.read, use.written)
        else:
            self.refused(refusal)
        return refusal

    def refused(self, refusal: Refusal) -> None:
        """Count a request that a limit refused."""
        self.record.throttled(time.time(), refusal.dimension)

    def is_too_steep(self, input_tokens: int, growth: float) -> bool:
        """Whether this request would take the last minute beyond ``growth`` times the minute before, or a small floor if that is more."""
        now_s = time.time()
        before = self.record.tokens_between(now_s - 120, now_s - 60)
        limits = None if self.limiter is None else self.limiter.limits
        floor = 0.0 if limits is None else RAMP_FLOOR_SHARE * (limits.input_tokens_per_minute + limits.output_tokens_per_minute)
        return self.record.tokens_between(now_s - 60, now_s + 1) + input_tokens > max(floor, growth * before)


class LimitsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /_sim/limits``: what is absent stays. Groups that are not named keep their limits."""

    limits: Mapping[str, RateLimits] = {}
    burst_s: float | None = None
    tier: str | None = None

    def __post_init__(self) -> None:
        unknown = next((name for name in self.limits if not is_pool(name)), None)
        if unknown is not None:
            raise InvalidResource(f"no model group is called {unknown!r}", path="limits")
        if self.tier is not None and self.tier.lower() not in load_catalogue().tiers:
            raise InvalidResource(f"there are the tiers {', '.join(load_catalogue().tiers)}", path="tier")
        if self.burst_s is not None and self.burst_s <= 0:
            raise InvalidResource("must be more than 0", path="burst_s")


class Pools:
    """All groups of all organisations, made when they are first used."""

    def __init__(self, config: SimulatorConfig, faults: FaultScript, clock: Clock) -> None:
        self._faults = faults
        self.clock = clock
        self._tier = config.tier
        self._limits = dict(config.limits)
        self._burst_s = config.burst_s
        self.has_priority = _has_priority(self._limits)
        self._groups: dict[tuple[str, str], Group] = {}

    @property
    def batch_limits(self) -> BatchLimits | None:
        """What the Message Batches API takes; None when it is unlimited."""
        return None if self._tier is None else load_catalogue().batch_limits(self._tier)

    def limits_of(self, group: str) -> RateLimits | None:
        """The limits in force for a group; None when it is unlimited."""
        if group in self._limits:
            return self._limits[group]
        if self._tier is None:
            return None
        if group.startswith(PRIORITY_PREFIX):
            return None
        if group.startswith(FAST_PREFIX):
            return _share_of(self.limits_of(group.removeprefix(FAST_PREFIX)), FAST_SHARE)
        if group in _REQUEST_POOLS:
            per_minute = _REQUEST_POOLS[group](self._tier)
            return None if per_minute is None else RateLimits(per_minute, UNLIMITED, UNLIMITED)
        return load_catalogue().tier_limits(self._tier, group)

    def group(self, account: Account, name: str) -> Group:
        """An organisation's group."""
        key = (account.organization, name)
        found = self._groups.get(key)
        if found is None:
            limits = self.limits_of(name)
            limiter = None if limits is None else GroupLimiter(limits, self._burst_s, self.clock())
            found = self._groups[key] = Group(limiter, GroupRecord(account.organization, name), self.clock)
            self._apply_outside(name, found)
        return found

    def all(self) -> Iterable[Group]:
        """Every group in use."""
        return self._groups.values()

    def change(self, change: LimitsChange) -> None:
        """Put other limits in force, at once."""
        self._tier = change.tier if change.tier is not None else self._tier
        self._burst_s = change.burst_s if change.burst_s is not None else self._burst_s
        self._limits.update(change.limits)
        self.has_priority = _has_priority(self._limits)
        for (_, name), group in self._groups.items():
            group.advance()
            limits = self.limits_of(name)
            if limits is None:
                group.limiter = None
            elif group.limiter is None:
                group.limiter = GroupLimiter(limits, self._burst_s, self.clock())
                group.limiter.output.drain_per_s = group.drain_per_s
            else:
                group.limiter.resize(limits, self._burst_s)

    def tick(self) -> None:
        """Book what is continuous: drains and other users' shares. Called several times a second."""
        for (_, name), group in self._groups.items():
            group.advance()
            self._apply_outside(name, group)

    def in_force(self) -> dict[str, object]:
        """What ``GET /_sim/limits`` shows."""
        names = [*load_catalogue().groups, *_REQUEST_POOLS]
        names += [name for name in self._limits if name not in names]
        limits = {name: found for name in names if (found := self.limits_of(name)) is not None}
        return {"tier": self._tier, "burst_s": self._burst_s, "limits": limits}

    def _apply_outside(self, name: str, group: Group) -> None:
        if group.limiter is None:
            return
        share = self._faults.outside_share(name, time.time())
        if share != group.limiter.outside_share:
            group.limiter.set_outside_share(share)
