"""When the fleet leaves a model and comes back.

One unit per (quota, upstream, model), and one more per workload for breakers opened by 429s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from claudeops.fleet.proxy import Proxy
from claudeops.fleet.settings import FleetSettings
from claudeops.fleet.workload import Workload
from claudeops.policy.breaker import CONSECUTIVE_THROTTLES
from claudeops.policy.fleet_fallback import (
    CLOSED,
    HALF_OPEN,
    FallbackParameters,
    FallbackState,
    ProxyHealth,
    UnitObservation,
    observe_unit,
    probe_count,
    step_fallback,
)
from claudeops.proxyconfig import WorkloadKey

NEVER = -1.0e18
FRESH_S = 0.2
"""A report younger than this need not be asked for again."""


@dataclass(frozen=True, slots=True)
class UnitKey:
    """``workload`` is None for what the fleet decides together, and set for what one workload's 429s decide for it alone."""

    quota: str
    upstream: str
    model: str
    workload: WorkloadKey | None = None


@dataclass(slots=True)
class Unit:
    """One unit's state. ``cause`` is what opened the breakers; ``probers`` may probe now.
    ``counted`` is the sequence of each proxy's last report that was weighed."""

    state: FallbackState = field(default_factory=FallbackState)
    cause: str = ""
    probers: tuple[str, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)
    asked_at: float = NEVER
    open_proxies: int = 0

    @property
    def closed_at(self) -> float:
        """When the last flip ended; breakers opened before that are history."""
        has_flipped = self.state.flipped_at > NEVER
        return self.state.since if has_flipped and self.state.phase == CLOSED else NEVER


class FlipBoard:
    """All units. The caller steps those of one quota with the workloads that use it."""

    def __init__(self, settings: FleetSettings) -> None:
        self.settings = settings
        self.units: dict[UnitKey, Unit] = {}
        self.asked: set[str] = set()
        """Proxies that should report at once, since their unit is about to decide."""
        self._parameters = FallbackParameters(
            open_share=settings.flip_open_percent / 100.0,
            error_share=settings.flip_error_percent / 100.0,
            minimum_requests=settings.flip_minimum_requests,
            hold_s=settings.flip_hold_s,
            probe_share=settings.flip_probe_percent / 100.0,
            clean_window_s=settings.flip_clean_window_s,
            clean_windows=settings.flip_clean_windows,
            flip_every_s=settings.flip_interval_s,
            down_share=settings.flip_down_percent / 100.0,
        )

    def step(self, quota: str, upstream: str, workloads: Sequence[Workload], now: float) -> list[tuple[UnitKey, Unit]]:
        """Steps every unit of the quota that has something to decide; returns those whose phase or probers changed."""
        changed = []
        for key in self._candidates(quota, upstream, workloads):
            unit = self.units.setdefault(key, Unit())
            members = [workload for workload in workloads if key.model in workload.groups and key.workload in (None, workload.key)]
            before = (unit.state.phase, unit.probers)
            self._step_unit(key, unit, members, now)
            if (unit.state.phase, unit.probers) != before:
                changed.append((key, unit))
        return changed

    def forget(self, workload: WorkloadKey) -> None:
        """Drops the units that are this workload's alone."""
        for key in [key for key in self.units if key.workload == workload]:
            del self.units[key]

    def is_suspicious(self, quota: str, now: float) -> bool:
        """Did a breaker of this quota open so lately that every report may decide a flip?"""
        return any(key.quota == quota and now - unit.asked_at <= self.settings.tick_s for key, unit in self.units.items())

    def active(self, workload: Workload, quota: str, upstream: str, model: str) -> list[Unit]:
        """The units that keep this workload off the model now."""
        found = (self.units.get(UnitKey(quota, upstream, model, owner)) for owner in (None, workload.key))
        return [unit for unit in found if unit is not None and unit.state.is_active]

    def flipped(self, workload: Workload, quota: str, upstream: str) -> dict[str, list[Unit]]:
        """Models that the workload must leave, with the units that say so. The last tier is never left: there is nothing behind it."""
        active = {model: self.active(workload, quota, upstream, model) for model in workload.tiers[:-1]}
        return {model: units for model, units in active.items() if units}

    def _candidates(self, quota: str, upstream: str, workloads: Iterable[Workload]) -> set[UnitKey]:
        """Units in another state than Closed, and those of models with an open breaker or errors."""
        keys = {key for key, unit in self.units.items() if key.quota == quota and key.upstream == upstream and unit.state.is_active}
        for workload in workloads:
            for proxy in workload.proxies.values():
                for model, owner in _troubles(workload, proxy):
                    keys.add(UnitKey(quota, upstream, model, owner))
        return keys

    def _step_unit(self, key: UnitKey, unit: Unit, members: Sequence[Workload], now: float) -> None:
        proxies = [proxy for workload in members for proxy in workload.proxies.values()]
        is_primary = {workload.key: workload.tiers[0] == key.model for workload in members}
        opened = {proxy.instance: at for proxy in proxies if (at := self._opened_at(key, unit, proxy)) is not None}
        healths = [self._health(key, proxy, is_primary[proxy.workload], now=now, opened=opened) for proxy in proxies]
        ok, failed = _probed(key, unit, proxies)
        unit.counted = {proxy.instance: proxy.last.sequence for proxy in proxies}
        seen = observe_unit(healths, error_share=self._parameters.error_share, probes_ok=ok, probes_failed=failed)
        unit.open_proxies = len(opened)
        self._advance(key, unit, seen, now=now, proxies=proxies)
        leaving = [proxy for workload in members if key.model in workload.tiers[:-1] for proxy in workload.proxies.values()]
        unit.probers = self._choose_probers(key, unit, leaving)
        self._inquire(unit, proxies, now, opened_at=max(opened.values(), default=NEVER))

    def _inquire(self, unit: Unit, proxies: Sequence[Proxy], now: float, *, opened_at: float) -> None:
        """Who knows what is decided next should say it at once: everybody when a breaker has just opened; while half-open the probers,
        or everybody until one is able to probe."""
        if unit.state.phase == HALF_OPEN:
            self._ask(unit, [proxy for proxy in proxies if not unit.probers or proxy.instance in unit.probers], now)
        elif not unit.state.is_active and opened_at >= now - self.settings.flip_recent_s:
            self._ask(unit, proxies, now)

    def _advance(self, key: UnitKey, unit: Unit, seen: UnitObservation, *, now: float, proxies: Sequence[Proxy]) -> None:
        was_active = unit.state.is_active
        unit.state = step_fallback(unit.state, seen, now, self._parameters)
        if unit.state.is_active and not was_active:
            unit.cause = self._cause(key, proxies)

    def _opened_at(self, key: UnitKey, unit: Unit, proxy: Proxy) -> float | None:
        """When the proxy's breaker opened, if it is open for a cause that counts in this unit."""
        breaker, since = proxy.breakers.get(key.model, (None, 0.0))
        if breaker is None or breaker.state != "Open" or since <= unit.closed_at:
            return None
        is_throttled = breaker.reason == CONSECUTIVE_THROTTLES
        return since if is_throttled == (key.workload is not None) else None

    def _health(self, key: UnitKey, proxy: Proxy, is_primary: bool, *, now: float, opened: Mapping[str, float]) -> ProxyHealth:
        """One proxy's weight and errors. Once a breaker is open anywhere, only the last seconds count: what happens, not what was."""
        is_open = proxy.instance in opened
        attempts, _ = proxy.tally(key.model, now - self.settings.flip_window_s)
        traffic = attempts
        if is_primary:
            traffic = max(proxy.recent_traffic(now - self.settings.flip_window_s), 1 if attempts or is_open else 0)
        since = now - (self.settings.flip_recent_s if opened else self.settings.flip_window_s)
        requests, errors = (0, 0) if key.workload is not None else proxy.tally(key.model, since)
        return ProxyHealth(traffic=float(traffic), requests=requests, errors=errors, is_open=is_open)

    def _choose_probers(self, key: UnitKey, unit: Unit, proxies: Sequence[Proxy]) -> tuple[str, ...]:
        """Keeps the present probers while they answer. A proxy whose own breaker is open cannot probe, and one that has nothing behind
        the model never left it: ``proxies`` are those that did."""
        if unit.state.phase != HALF_OPEN:
            return ()
        able = {
            proxy.instance: proxy
            for proxy in proxies
            if not proxy.last.is_draining and (key.model not in proxy.breakers or proxy.breakers[key.model][0].state != "Open")
        }
        count = probe_count(len(proxies), self._parameters)
        kept = [instance for instance in unit.probers if instance in able][:count]
        rest = sorted((name for name in able if name not in kept), key=lambda name: (-able[name].last.requests, name))
        return tuple(kept + rest[: count - len(kept)])

    def _ask(self, unit: Unit, proxies: Iterable[Proxy], now: float) -> None:
        """Once a second: who has not reported just now, should."""
        if now - unit.asked_at < self.settings.tick_s:
            return
        unit.asked_at = now
        self.asked.update(proxy.instance for proxy in proxies if now - proxy.seen_at > FRESH_S)

    @staticmethod
    def _cause(key: UnitKey, proxies: Iterable[Proxy]) -> str:
        reasons = [proxy.breakers[key.model][0].reason for proxy in proxies if key.model in proxy.breakers]
        return next((reason for reason in reasons if reason), "")


def _troubles(workload: Workload, proxy: Proxy) -> Iterator[tuple[str, WorkloadKey | None]]:
    """(model, owner of the unit) of what the proxy says went wrong with the workload's models."""
    for model, (breaker, _) in proxy.breakers.items():
        if breaker.state != "Closed" and model in workload.groups:
            yield model, workload.key if breaker.reason == CONSECUTIVE_THROTTLES else None
    for model, tallies in proxy.tallies.items():
        if model in workload.groups and any(tally.errors for tally in tallies):
            yield model, None


def _probed(key: UnitKey, unit: Unit, proxies: Iterable[Proxy]) -> tuple[int, int]:
    """Answers of the model since the last step of a half-open unit: who still sends to it is a probe."""
    if unit.state.phase != HALF_OPEN:
        return 0, 0
    tallies = [
        tally
        for proxy in proxies
        for tally in proxy.tallies.get(key.model, ())
        if tally.at >= unit.state.since and tally.sequence > unit.counted.get(proxy.instance, -1)
    ]
    failed = sum(tally.errors + (tally.throttles if key.workload is not None else 0) for tally in tallies)
    return sum(tally.successes for tally in tallies), failed
