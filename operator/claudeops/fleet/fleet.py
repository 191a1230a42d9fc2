"""The fleet: soft state from the proxies' reports, and every decision in time. No I/O; the caller brings the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from claudeops.exchange import Assignment, Report
from claudeops.fleet import decision_log
from claudeops.fleet.assign import compose, has_moved
from claudeops.fleet.flips import FlipBoard
from claudeops.fleet.known_groups import KnownGroups
from claudeops.fleet.proxy import Proxy
from claudeops.fleet.quota import Quota
from claudeops.fleet.settings import FleetSettings
from claudeops.fleet.sizing import size_workload
from claudeops.fleet.status import refresh_short, signature, view_quota, view_workload
from claudeops.fleet.views import QuotaView, WorkloadView
from claudeops.fleet.workload import Workload
from claudeops.policy.fleet_fallback import HALF_OPEN
from claudeops.proxyconfig import ProxyConfig, WorkloadKey
from claudeops.translate.terms import QuotaTerms, WorkloadTerms

NEVER = -1.0e18
LEARNING_INTERVALS = 1.2
"""Learning may end after this many report intervals, once every expected proxy spoke (reference quota-control, section 2)."""
RESEND_S = 1.0
"""An answer that was lost is given again at once, but not more often than this."""


class Fleet:
    """Shares quotas out to proxies, sizes pools, flips models. Synchronous; not thread-safe: one event loop owns it.

    ``now`` is seconds of one monotonic clock everywhere. ``wall_offset_s`` is what to add to get unix seconds (for SLO cells).
    All state is soft: it comes back from reports within one lease TTL after ``begin``.
    """

    def __init__(self, settings: FleetSettings | None = None, *, wall_offset_s: float = 0.0) -> None:
        self.settings = settings or FleetSettings()
        self.wall_offset_s = wall_offset_s
        self.epoch = 0
        self._quotas: dict[str, Quota] = {}
        self._workloads: dict[WorkloadKey, Workload] = {}
        self._proxies: dict[str, Proxy] = {}
        self._board = FlipBoard(self.settings)
        self._groups = KnownGroups()
        self._learning_from = NEVER
        self._is_learning = False
        self._ticked_at = NEVER
        self._is_urgent = False
        self._pushes: set[str] = set()
        self._changes: set[WorkloadKey | str] = set()

    # -- what the cluster says

    def begin(self, epoch: int, now: float) -> None:
        """This process leads from now on, in this epoch (the Lease's transitions); starts with learning mode."""
        self.epoch = epoch
        self._learning_from = now
        self._is_learning = True
        self._ticked_at = NEVER

    def set_quota(self, terms: QuotaTerms) -> None:
        """Adds or replaces a quota by name; what was learned of its limits is kept."""
        known = self._quotas.get(terms.name)
        if known is None:
            self._quotas[terms.name] = Quota(terms, self.settings)
        elif known.terms == terms:
            return
        else:
            known.adopt(terms)
        self._is_urgent = True

    def drop_quota(self, name: str) -> None:
        """Forgets a quota: workloads that refer to it get no leases any more."""
        if self._quotas.pop(name, None) is not None:
            self._is_urgent = True

    def set_workload(self, terms: WorkloadTerms, config: ProxyConfig) -> None:
        """Adds or replaces a workload and its desired config. Proxies that run an older revision are pushed at once.

        A quota name that was never set (``""``, say, for one that is not allowed) means: no leases, so the baseline.
        """
        workload = self._workloads.get(terms.workload)
        if workload is None:
            workload = self._workloads[terms.workload] = Workload(terms, config, self.settings)
            workload.proxies = {name: proxy for name, proxy in self._proxies.items() if proxy.workload == terms.workload}
        elif workload.terms == terms and workload.config == config:
            return
        else:
            workload.adopt(terms, config)
        self._pushes.update(workload.proxies)
        self._is_urgent = True

    def drop_workload(self, key: WorkloadKey) -> None:
        """Forgets a workload. Its proxies stay known, without leases, until they are silent."""
        workload = self._workloads.pop(key, None)
        if workload is None:
            return
        self._board.forget(key)
        for proxy in workload.proxies.values():
            proxy.grants, proxy.flips = {}, ()
        self._pushes.update(workload.proxies)

    def observe(self, key: WorkloadKey, *, expected: int, replicas: int | None) -> None:
        """What the cluster shows: proxies that should exist, and the scale target's present ``spec.replicas`` (None: unknown)."""
        workload = self._workloads.get(key)
        if workload is not None:
            workload.expected, workload.replicas = expected, replicas

    # -- what the proxies say

    def accept(self, report: Report, now: float) -> bool:
        """Takes one report in. False if it was ignored (an older or repeated one, or too many instances)."""
        report = self._groups.keep(report)
        proxy = self._admit(report, now)
        if proxy is None:
            return False
        before = {model: breaker.state for model, (breaker, _) in proxy.breakers.items()}
        window_s = max(self.settings.flip_window_s, self.settings.flip_recent_s)
        proxy.take(report, now, tau_s=self.settings.demand_tau_s, window_s=window_s)
        if report.epoch == self.epoch and report.version > proxy.version:
            proxy.version = report.version
        self._is_urgent = self._is_urgent or report.is_urgent
        workload = self._workloads.get(report.workload)
        if workload is not None:
            self._learn(workload, proxy, now, is_broken=_is_broken(report, before))
        if proxy.is_done():
            self._remove(proxy)
            self._is_urgent = True
        return True

    def _learn(self, workload: Workload, proxy: Proxy, now: float, *, is_broken: bool) -> None:
        """What the proxy's last report says of its workload and quota; a breaker that is or was open decides flips at once."""
        workload.take(proxy.last, now)
        quota = self._quotas.get(workload.terms.quota)
        if quota is not None:
            quota.take(proxy, workload, proxy.last, now)
            if is_broken or self._board.is_suspicious(quota.terms.name, now):
                self._step_flips(quota, now)

    @property
    def is_full(self) -> bool:
        """Are as many proxies known as may be?"""
        return len(self._proxies) >= self.settings.max_instances

    # -- decisions

    def tick(self, now: float) -> None:
        """Decides anew: every ``tick_s``, and at ``next_tick_at`` where that is earlier."""
        self._ticked_at = now
        self._is_urgent = False
        self._expire(now)
        self._is_learning = self._is_learning and not self._has_learned(now)
        by_quota: dict[str, list[Workload]] = {name: [] for name in self._quotas}
        for workload in self._workloads.values():
            if workload.terms.quota in by_quota:
                by_quota[workload.terms.quota].append(workload)
            else:
                _strip(workload)
        for name, workloads in by_quota.items():
            quota = self._quotas[name]
            self._step_flips(quota, now)
            quota.decide(workloads, now, is_learning=self._is_learning)
            decision_log.log_quota(quota, now, self.wall_offset_s)
        for workload in self._workloads.values():
            before = workload.desired_replicas
            size_workload(workload, now, self.settings)
            if workload.desired_replicas != before:
                decision_log.log_replicas(workload, now, self.wall_offset_s)
            self._note(workload, now)
        self._pushes.update(name for name, proxy in self._proxies.items() if has_moved(proxy))

    def next_tick_at(self, now: float) -> float:
        """When the next decision is due: after ``tick_s``, or within ``urgent_tick_s`` of the last one after an urgent report."""
        wait_s = self.settings.urgent_tick_s if self._is_urgent else self.settings.tick_s
        return max(now, self._ticked_at + wait_s)

    def assignment_for(self, instance: str, now: float) -> Assignment:
        """What this proxy is told now; the config is inside when the revision that it reported is older than the desired one.

        Giving it out counts as telling it: the proxy is taken to hold these leases from now on.
        """
        proxy = self._proxies.get(instance)
        if proxy is None:
            return Assignment(
                epoch=self.epoch, version=0, ttl_s=self.settings.lease_ttl_s, report_interval_s=self.settings.report_interval_s
            )
        workload = self._workloads.get(proxy.workload)
        quota = None if workload is None else self._quotas.get(workload.terms.quota)
        content = compose(proxy, quota, self.settings, epoch=self.epoch)
        if proxy.assignment != content:
            proxy.version += 1
            proxy.assignment = content
        proxy.delivered = dict(proxy.grants)
        proxy.told_flips, proxy.told_epoch, proxy.told_at = proxy.flips, self.epoch, now
        config = None
        if workload is not None and proxy.last.revision < workload.config.revision:
            config = workload.config
            proxy.told_revision = config.revision
        self._pushes.discard(instance)
        return msgspec.structs.replace(content, version=proxy.version, config=config)

    def has_news(self, instance: str, now: float) -> bool:
        """Should this proxy be answered at once? It is unknown or new to this leader, runs an older config that it was not sent yet,
        lost its last answer, or what it holds has changed."""
        proxy = self._proxies.get(instance)
        if proxy is None:
            return True
        workload = self._workloads.get(proxy.workload)
        if workload is not None and proxy.last.revision < workload.config.revision and proxy.told_revision != workload.config.revision:
            return True
        has_lost = proxy.last.version < proxy.version and now - proxy.told_at >= RESEND_S
        return proxy.told_epoch != self.epoch or has_lost or instance in self._pushes or has_moved(proxy)

    def take_pushes(self) -> frozenset[str]:
        """Instances whose long poll should end now: their assignment changed much, or they should report. Each is returned once."""
        pushes = frozenset(self._pushes | self._board.asked)
        self._pushes.clear()
        self._board.asked.clear()
        return pushes

    def take_changes(self) -> frozenset[WorkloadKey | str]:
        """Workloads, and quotas by name, of which something changed that status shows at once (conditions, tier, replicas,
        breakers, proxies connected). Each is returned once."""
        changes = frozenset(self._changes)
        self._changes.clear()
        return changes

    # -- what status shows

    def workload_view(self, key: WorkloadKey, now: float) -> WorkloadView:
        """The workload as it is now; an empty view of one that is not known."""
        workload = self._workloads.get(key)
        if workload is None:
            return WorkloadView()
        quota = self._quotas.get(workload.terms.quota)
        units = {} if quota is None else self._board.flipped(workload, quota.terms.name, quota.terms.upstream)
        view = view_workload(workload, quota, units, now=now, unix_s=now + self.wall_offset_s)
        return replace(view, is_learning=self._is_learning)

    def quota_view(self, name: str, now: float) -> QuotaView:
        """The quota as it is now; an empty view of one that is not known."""
        quota = self._quotas.get(name)
        if quota is None:
            return QuotaView()
        return view_quota(quota, [workload for workload in self._workloads.values() if workload.terms.quota == name], now)

    # -- parts

    def _admit(self, report: Report, now: float) -> Proxy | None:
        """The proxy that this report is of, made at its first one; None where the report is to be ignored."""
        proxy = self._proxies.get(report.instance)
        if proxy is None:
            return None if self.is_full else self._enrol(report, None, now)
        if proxy.workload != report.workload or _has_restarted(proxy, report):
            return self._enrol(report, proxy, now)
        return None if report.sequence <= proxy.last.sequence else proxy

    def _enrol(self, report: Report, old: Proxy | None, now: float) -> Proxy:
        if old is not None:
            self._remove(old)
        first = _older(report)
        proxy = Proxy(report.instance, report.workload, seen_at=now, last=first)
        proxy.version = 0 if old is None else old.version
        self._proxies[report.instance] = proxy
        workload = self._workloads.get(report.workload)
        if workload is not None:
            workload.proxies[report.instance] = proxy
            workload.gone.pop(report.instance, None)
        self._is_urgent = True
        return proxy

    def _remove(self, proxy: Proxy) -> None:
        del self._proxies[proxy.instance]
        workload = self._workloads.get(proxy.workload)
        if workload is not None:
            workload.proxies.pop(proxy.instance, None)
            if proxy.last.is_draining:
                workload.slos.retire(proxy.instance)

    def _expire(self, now: float) -> None:
        """A proxy silent for a TTL holds no lease any more. One that did not say that it drains is remembered as stale."""
        for proxy in [proxy for proxy in self._proxies.values() if now - proxy.seen_at >= self.settings.lease_ttl_s]:
            self._remove(proxy)
            workload = self._workloads.get(proxy.workload)
            if workload is not None and not proxy.last.is_draining:
                workload.gone[proxy.instance] = now
        for workload in self._workloads.values():
            for instance in [name for name, at in workload.gone.items() if now - at >= self.settings.stale_forget_s]:
                del workload.gone[instance]
                workload.slos.retire(instance)

    def _has_learned(self, now: float) -> bool:
        """After a TTL; or after 1.2 report intervals, if every proxy that should exist has spoken by then."""
        elapsed_s = now - self._learning_from
        if elapsed_s >= self.settings.learning_s:
            return True
        if elapsed_s < LEARNING_INTERVALS * self.settings.report_interval_s or not self._workloads:
            return False
        return all(workload.expected is not None and len(workload.proxies) >= workload.expected for workload in self._workloads.values())

    def _step_flips(self, quota: Quota, now: float) -> None:
        terms = quota.terms
        workloads = [workload for workload in self._workloads.values() if workload.terms.quota == terms.name]
        changed = self._board.step(terms.name, terms.upstream, workloads, now)
        for key, unit in changed:
            decision_log.log_flip(key, unit, now, self.wall_offset_s)
        if changed:
            self._is_urgent = True
        self._apply_flips(quota, workloads)

    def _apply_flips(self, quota: Quota, workloads: Iterable[Workload]) -> None:
        for workload in workloads:
            flipped = self._board.flipped(workload, quota.terms.name, quota.terms.upstream)
            workload.active_model = next((model for model in workload.tiers if model not in flipped), workload.tiers[-1])
            for proxy in workload.proxies.values():
                flips = tuple(
                    (model, all(unit.state.phase == HALF_OPEN for unit in units) and any(proxy.instance in unit.probers for unit in units))
                    for model, units in flipped.items()
                )
                proxy.flips = flips
                if flips != proxy.told_flips:
                    self._pushes.add(proxy.instance)

    def _note(self, workload: Workload, now: float) -> None:
        """Puts the workload and its quota among the changes when something changed that status shows at once."""
        quota = self._quotas.get(workload.terms.quota)
        refresh_short(workload, quota, now, self.settings.short_hold_s)
        seen = signature(workload, quota, now, unix_s=now + self.wall_offset_s)
        if seen != workload.signature:
            workload.signature = seen
            self._changes.add(workload.key)
            self._changes.add(workload.terms.quota)


def _strip(workload: Workload) -> None:
    """Without a quota there are neither leases nor flips."""
    workload.active_model = workload.tiers[0]
    for proxy in workload.proxies.values():
        proxy.grants, proxy.flips = {}, ()


def _is_broken(report: Report, before: Mapping[str, str]) -> bool:
    """Is a breaker not closed, or was it so until now?"""
    return any(breaker.state != "Closed" or before.get(breaker.model, "Closed") != "Closed" for breaker in report.breakers)


def _has_restarted(proxy: Proxy, report: Report) -> bool:
    """A sidecar that starts again in its pod counts its reports from the beginning and holds no assignment."""
    return report.sequence <= proxy.last.sequence and report.epoch == 0 and report.version == 0 and proxy.last.version > 0


def _older(report: Report) -> Report:
    """A stand-in for the report before the first one."""
    return Report(instance=report.instance, workload=report.workload, sequence=0, revision=0)
