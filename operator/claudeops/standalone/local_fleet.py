"""The exchange and every proxy of this machine: what is planned is run, and what runs is shown as status."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from claudeops.exchange import PATH, TOKEN_AUDIENCE
from claudeops.fleet import Denied, ExchangeHooks, ExchangeServer, Fleet, FleetSettings, Identity
from claudeops.fleet.certificates import issue_authority, issue_serving
from claudeops.fleet.serving import ServingContext
from claudeops.fleet.views import QuotaView, WorkloadView
from claudeops.fleet.workload_status import Problem, WorkloadFacts, workload_status
from claudeops.proxyconfig import ControllerAddress, ProxyConfig, WorkloadKey, encode_config
from claudeops.standalone.plan import Plan, PlannedWorkload
from claudeops.standalone.proxy import HOST, LocalProxy, Placement, Tell
from claudeops.translate import next_revision

SERVER_NAME: Final = "claudeops-exchange.localhost"
EPOCH: Final = 1


@dataclass(frozen=True)
class LocalOptions:
    """``first_port`` 0 lets the system choose every port. ``is_verbose``: what proxies log is told, whatever its level."""

    first_port: int = 4141
    proxies: int = 1
    grace_s: float = 30.0
    is_verbose: bool = False
    settings: FleetSettings = field(default_factory=FleetSettings)


@dataclass
class Site:
    """A workload that runs here."""

    planned: PlannedWorkload
    config: ProxyConfig
    proxies: list[LocalProxy]
    status: dict[str, Any] = field(default_factory=dict)
    view: WorkloadView = field(default_factory=WorkloadView)

    @property
    def name(self) -> str:
        """``namespace/name``."""
        key = self.planned.terms.workload
        return f"{key.namespace}/{key.name}"


class LocalFleet:
    """One event loop owns it. ``tell`` hears of everything that a person should know."""

    def __init__(self, folder: Path, options: LocalOptions, tell: Tell) -> None:
        self.sites: dict[WorkloadKey, Site] = {}
        self._folder = folder
        self._options = options
        self._tell = tell
        self._fleet = Fleet(options.settings, wall_offset_s=time.time() - time.monotonic())
        self._tls = ServingContext()
        self._exchange = ExchangeServer(self._fleet, ExchangeHooks(authenticate=self._authenticate), ssl_context=self._tls.context)
        self._address: ControllerAddress | None = None
        self._speakers: dict[str, LocalProxy] = {}
        self._quotas: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._numbers = 0

    async def start(self) -> None:
        """Opens the exchange, with an authority of its own that lives as long as this process."""
        now = datetime.now(UTC)
        authority = issue_authority(now)
        self._tls.load(issue_serving(authority, (SERVER_NAME,), now))
        self._fleet.begin(EPOCH, time.monotonic())
        port = await self._exchange.start(HOST, 0)
        self._address = ControllerAddress(
            url=f"https://{HOST}:{port}{PATH}", server_name=SERVER_NAME, ca_bundle=authority.certificate, audience=TOKEN_AUDIENCE
        )

    def apply(self, plan: Plan) -> None:
        """Brings what runs to what is planned. Proxies whose workload is gone finish what they have begun."""
        for name in self._quotas - plan.quotas.keys():
            self._fleet.drop_quota(name)
        for terms in plan.quotas.values():
            self._fleet.set_quota(terms)
        self._quotas = set(plan.quotas)
        for key in [key for key in self.sites if key not in plan.workloads]:
            self._dismiss(key)
        for key, planned in plan.workloads.items():
            self._settle(key, planned)
        self._exchange.touch()

    def refresh(self, problems: Mapping[WorkloadKey, str]) -> None:
        """Computes every site's status anew. ``problems``: why a workload runs what it was before."""
        now, stamp = time.monotonic(), datetime.now(UTC)
        for key, site in self.sites.items():
            site.view = self._fleet.workload_view(key, now)
            reason = problems.get(key)
            facts = WorkloadFacts(
                item=dict(site.planned.declared.item),
                workload=site.planned.declared.workload,
                view=site.view,
                problem=Problem("InvalidSpec", reason, is_permanent=True) if reason else None,
                warnings=site.planned.warnings,
                revision=site.config.revision,
                expected=len(site.proxies),
                previous=site.status,
            )
            site.status = workload_status(facts, stamp)

    def quota_views(self) -> dict[str, QuotaView]:
        """Of every quota, as it is now."""
        return {name: self._fleet.quota_view(name, time.monotonic()) for name in sorted(self._quotas)}

    async def stop(self) -> None:
        """Ends every proxy, within the grace period, and the exchange after the last one has said goodbye."""
        for key in list(self.sites):
            self._dismiss(key)
        while self._leaving:
            await asyncio.wait(self._leaving)
        await self._exchange.stop()

    def kill(self) -> None:
        """Ends every process at once; :meth:`stop` then has nothing to wait for."""
        for proxy in self._speakers.values():
            proxy.kill()

    @property
    def in_flight(self) -> int:
        """Requests at the API or waiting, by the last reports."""
        views = [self._fleet.workload_view(key, time.monotonic()).observed for key in self.sites]
        return sum(view.in_flight + view.queued for view in views)

    async def _authenticate(self, token: str) -> Identity | Denied:
        proxy = self._speakers.get(token)
        if proxy is None:
            return Denied("this token is of no proxy that was started here")
        return Identity(proxy.instance, proxy.key)

    def _settle(self, key: WorkloadKey, planned: PlannedWorkload) -> None:
        site = self.sites.get(key)
        draft = msgspec.structs.replace(planned.draft, controller=self._address)
        previous = None if site is None else encode_config(site.config).decode()
        config = msgspec.structs.replace(draft, revision=next_revision(previous, draft, int(time.time() * 1000)))
        if site is None:
            self._fleet.set_workload(planned.terms, config)
            site = self.sites[key] = Site(planned, config, [])
            for port in self._ports():
                site.proxies.append(self._launch(site, port))
        else:
            self._update(site, planned, config)
        self._fleet.set_workload(planned.terms, config)
        self._fleet.observe(key, expected=len(site.proxies), replicas=None)

    def _update(self, site: Site, planned: PlannedWorkload, config: ProxyConfig) -> None:
        for proxy in site.proxies:
            if config.revision != site.config.revision:
                proxy.write_config(config)
            if planned.api_key != site.planned.api_key:
                proxy.write_key(planned.api_key)
        site.planned, site.config = planned, config

    def _launch(self, site: Site, port: int) -> LocalProxy:
        self._numbers += 1
        folder = self._folder / f"{self._numbers}-{site.planned.terms.workload.name[:40]}"
        proxy = LocalProxy(Placement(site.planned.terms.workload, folder, port), self._tell, is_verbose=self._options.is_verbose)
        self._speakers[proxy.token] = proxy
        proxy.start(site.config, site.planned.api_key, grace_s=self._options.grace_s)
        return proxy

    def _ports(self) -> Iterator[int]:
        """The lowest ones that no proxy of ours has."""
        for _ in range(self._options.proxies):
            port = self._options.first_port
            taken = {proxy.port for proxy in self._speakers.values()}
            while port and port in taken:
                port += 1
            yield port

    def _dismiss(self, key: WorkloadKey) -> None:
        task = asyncio.create_task(self._say_farewell(key, self.sites.pop(key)), name=f"farewell {key.name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _say_farewell(self, key: WorkloadKey, site: Site) -> None:
        await asyncio.gather(*(proxy.stop() for proxy in site.proxies))
        for proxy in site.proxies:
            self._speakers.pop(proxy.token, None)
            shutil.rmtree(proxy.folder, ignore_errors=True)
        if key not in self.sites:
            self._fleet.drop_workload(key)
            self._exchange.touch()
