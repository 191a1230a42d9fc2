"""The controller as one process: what starts after what, what runs until the end, and the way out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from claudeops.controller.certificate_store import CHECK_S, CertificateStore, publish_bundle
from claudeops.controller.edge import Edge, login_fields
from claudeops.controller.endpoint import ExchangeService
from claudeops.controller.figure import INTERVAL_S
from claudeops.controller.health import HealthServer, LoopLag
from claudeops.controller.identity import BoundPod, TokenAuthenticator
from claudeops.controller.kind import LEASE, POD, QUOTA, SECRET, WORKLOAD, Object, Ref
from claudeops.controller.kube import Kube, connect
from claudeops.controller.leader import LeaderElection
from claudeops.controller.metrics import ControllerMetrics, FleetCollector
from claudeops.controller.observer import Observer
from claudeops.controller.reconcile import Plane, push, reconcile
from claudeops.controller.recorder import EventRecorder
from claudeops.controller.scaler import Scaler
from claudeops.controller.snapshot import MANAGER, SELECTORS, WATCHED, new_cache
from claudeops.controller.workqueue import WorkQueue
from claudeops.controller.writer import StatusWriter
from claudeops.errors import ClaudeOpsError, ClusterError
from claudeops.exchange import TOKEN_AUDIENCE
from claudeops.fleet import ExchangeHooks, ExchangeServer, Fleet, FleetSettings
from claudeops.fleet.certificates import Authority
from claudeops.fleet.fault import contain
from claudeops.fleet.serving import ServingContext
from claudeops.proxyconfig import ControllerAddress, WorkloadKey

logger = logging.getLogger(__name__)

WORKERS: Final = 16
RETRY_S: Final = 2.0
BUNDLE_CHECK_S: Final = 60.0


@dataclass(frozen=True)
class ControllerOptions:
    """How to run. ``advertise`` is the address that leads to this process from the pods."""

    namespace: str
    advertise: str
    kubeconfig: Path | None = None
    exchange_host: str = "0.0.0.0"
    exchange_port: int = 8443
    health_host: str = "0.0.0.0"
    health_port: int = 8080
    injector_service: str = "claudeops-injector"
    webhook: str = "claudeops-injector"
    settings: FleetSettings = field(default_factory=FleetSettings)
    figures_interval_s: float = INTERVAL_S


async def run_controller(options: ControllerOptions) -> int:
    """Runs until SIGTERM or SIGINT (0), or until the Lease is lost or a part of the process ended (1)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    kube = await connect(options.kubeconfig)
    try:
        return await Controller(options, kube).run(stop)
    finally:
        await kube.close()


class Controller:
    """Wires the parts together."""

    def __init__(self, options: ControllerOptions, kube: Kube) -> None:
        identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._options = options
        self._kube = kube
        self._cache = new_cache()
        self._queue: WorkQueue[Ref] = WorkQueue(asyncio.get_running_loop().call_later)
        self._observer = Observer(kube, self._cache, self._enqueue, monotonic=time.monotonic)
        self._recorder = EventRecorder(kube, instance=identity, now=_now, monotonic=time.monotonic)
        lease = Ref(LEASE, options.namespace, "claudeops-controller")
        self._election = LeaderElection(kube, lease, identity=identity, now=_now, monotonic=time.monotonic)
        self._service = ExchangeService(options.namespace)
        secret = Ref(SECRET, options.namespace, "claudeops-certificates")
        injector = tuple(f"{options.injector_service}.{options.namespace}{suffix}" for suffix in (".svc", ".svc.cluster.local"))
        self._store = CertificateStore(kube, secret, {"exchange": self._service.names, "webhook": injector})
        self._authority: Authority | None = None
        self._tls = ServingContext()
        self._fleet = Fleet(options.settings, wall_offset_s=time.time() - time.monotonic())
        hooks = ExchangeHooks(
            authenticate=TokenAuthenticator(kube, self._find_pod, unix_time=time.time),
            is_leader=lambda: self._election.is_leader,
            on_change=self._on_fleet_change,
        )
        self._exchange = ExchangeServer(self._fleet, hooks, ssl_context=self._tls.context)
        self._pushes: set[asyncio.Task[None]] = set()
        self._metrics = ControllerMetrics()
        self._lag = LoopLag()
        self._plane = Plane(
            kube=kube,
            cache=self._cache,
            fleet=self._fleet,
            writer=StatusWriter(kube, self._cache, self._recorder, interval_s=options.figures_interval_s),
            scaler=Scaler(kube, self._recorder, monotonic=time.monotonic),
            namespace=options.namespace,
            address=self._address,
            touch=self._exchange.touch,
            resync_s=options.figures_interval_s,
        )

    async def run(self, stop: asyncio.Event) -> int:
        """See :func:`run_controller`."""
        health = HealthServer(self._metrics.registry, is_ready=self._is_ready, facts=self._health, lag=self._lag)
        self._register_metrics()
        await health.start(self._options.health_host, self._options.health_port)
        async with _tasks() as tasks:
            stopping = asyncio.create_task(_until(stop), name="signal")
            tasks.append(stopping)
            try:
                tasks += await self._watch()
                leading = asyncio.create_task(self._lead(tasks), name="leadership")
                tasks.append(leading)
                await self._wait(tasks)
            finally:
                await self._exchange.stop()
                await self._election.release()
                await health.stop()
            return 0 if stopping.done() else 1

    async def _watch(self) -> list[asyncio.Task[None]]:
        """A standby watches, too: its cache is warm when its turn comes."""
        edge = Edge(WATCHED, SELECTORS, login=lambda: login_fields(self._kube.configuration), deliver=self._observer.receive)
        await self._observer.list_first()
        return [
            asyncio.create_task(edge.run(), name="watches"),
            asyncio.create_task(self._observer.run(), name="lists"),
            asyncio.create_task(self._lag.run(), name="loop lag"),
            asyncio.create_task(self._recorder.run(), name="events"),
        ]

    async def _lead(self, tasks: list[asyncio.Task[None]]) -> None:
        """From standby to leader; ends when the Lease is lost."""
        epoch = await self._election.acquire()
        holding = asyncio.create_task(self._election.hold(), name="lease")
        tasks.append(holding)
        logger.info("leading in epoch %d", epoch)
        await self._retry(self._refresh_certificates)
        self._fleet.begin(epoch, time.monotonic())
        for kind in (QUOTA, WORKLOAD):
            for item in self._cache.items(kind):
                self._queue.add(Ref(kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]))
        await self._exchange.start(self._options.exchange_host, self._options.exchange_port)
        tasks += [asyncio.create_task(self._work(), name=f"worker {number}") for number in range(WORKERS)]
        tasks.append(asyncio.create_task(self._keep_certificates(), name="certificates"))
        await self._retry(self._publish_endpoint)
        await holding
        logger.error("the lease is lost: another process leads now")

    async def _wait(self, tasks: list[asyncio.Task[None]]) -> None:
        """Until the first task ends: none does before the process should. ``tasks`` may grow meanwhile."""
        while True:
            done, _ = await asyncio.wait(tasks, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                logger.info("ending: %s", task.get_name())
                if not task.cancelled() and task.exception() is not None:
                    logger.error("%s failed", task.get_name(), exc_info=task.exception())
            if done:
                return

    async def _work(self) -> None:
        while True:
            ref = await self._queue.take()
            again_s, is_failed = None, True
            with contain(logger, f"{ref}: a fault of ours"), self._metrics.reconciles.labels(ref.kind.kind).time():
                try:
                    again_s = await reconcile(self._plane, ref)
                    is_failed = False
                except ClaudeOpsError as error:
                    logger.warning("%s: %s", ref, error)
            if is_failed:
                self._metrics.errors.labels(ref.kind.kind).inc()
            self._queue.done(ref, is_failed=is_failed)
            if again_s is not None:
                self._queue.add_after(ref, again_s, replaces=True)

    def _enqueue(self, ref: Ref) -> None:
        """Queues what the observer saw change. Where its turn must wait for the end of another one, the proxies are told at once."""
        self._queue.add(ref)
        if self._queue.is_working(ref):
            task = asyncio.create_task(self._push(ref), name=f"push {ref}")
            self._pushes.add(task)
            task.add_done_callback(self._pushes.discard)

    async def _push(self, ref: Ref) -> None:
        with contextlib.suppress(ClusterError):  # said in the key's own turn
            await push(self._plane, ref)

    async def _refresh_certificates(self) -> None:
        self._authority = authority = await self._store.refresh(_now())
        if self._tls.load(authority.serving["exchange"]):
            logger.info("the exchange serves a certificate for %s", self._service.server_name)
        await publish_bundle(self._kube, self._options.webhook, authority.bundle)

    async def _keep_certificates(self) -> None:
        """Looks at the Secret twice a day, and at the webhook's caBundle and the EndpointSlice each minute, since somebody may delete them
        or apply them anew."""
        checked_s, bundle = time.monotonic(), self._authority.bundle if self._authority else ""
        while True:
            await asyncio.sleep(BUNDLE_CHECK_S)
            try:
                if time.monotonic() - checked_s >= CHECK_S:
                    await self._refresh_certificates()
                    checked_s = time.monotonic()
                elif self._authority is not None:
                    await publish_bundle(self._kube, self._options.webhook, self._authority.bundle)
                await self._publish_endpoint()
            except ClusterError as error:
                logger.warning("certificates not checked: %s", error)
            if self._authority is not None and self._authority.bundle != bundle:
                bundle = self._authority.bundle
                for key in self._workload_keys():
                    self._queue.add(Ref(WORKLOAD, key.namespace, key.name))

    async def _publish_endpoint(self) -> None:
        body = self._service.slice(self._options.advertise, self._options.exchange_port)
        await self._kube.apply(self._service.ref, body, manager=MANAGER)

    async def _retry(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await action()
                return
            except ClusterError as error:
                logger.warning("will be tried again: %s", error)
                await asyncio.sleep(RETRY_S)

    def _address(self) -> ControllerAddress:
        assert self._authority is not None
        bundle = self._authority.bundle
        return ControllerAddress(url=self._service.url, server_name=self._service.server_name, ca_bundle=bundle, audience=TOKEN_AUDIENCE)

    async def _find_pod(self, bound: BoundPod) -> Object:
        """From the cache, unless that still has an earlier pod of the name: a StatefulSet's come back under theirs."""
        ref = Ref(POD, bound.namespace, bound.name)
        known = self._cache.get(ref)
        return known if known is not None and known["metadata"].get("uid") == bound.uid else await self._kube.get(ref)

    def _on_fleet_change(self, changed: WorkloadKey | str) -> None:
        self._queue.add(Ref(QUOTA, "", changed) if isinstance(changed, str) else Ref(WORKLOAD, changed.namespace, changed.name))

    def _workload_keys(self) -> list[WorkloadKey]:
        found = [item["metadata"] for item in self._cache.items(WORKLOAD)]
        return [WorkloadKey(namespace=metadata["namespace"], name=metadata["name"]) for metadata in found]

    def _quota_names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self._cache.items(QUOTA)]

    def _is_ready(self) -> bool:
        is_serving = self._tls.is_loaded if self._election.is_leader else True
        return all(self._cache.is_listed(kind) for kind in WATCHED) and is_serving

    def _health(self) -> dict[str, float | bool | str]:
        return {"leader": self._election.is_leader, "lastWatchEventAgeS": round(self._event_age_s(), 1), "queue": len(self._queue)}

    def _event_age_s(self) -> float:
        return time.monotonic() - self._observer.last_event_s

    def _register_metrics(self) -> None:
        metrics = self._metrics
        metrics.last_event_age.set_function(self._event_age_s)
        metrics.loop_lag.set_function(lambda: self._lag.lag_s)
        metrics.is_leader.set_function(lambda: self._election.is_leader)
        metrics.queue_depth.set_function(lambda: len(self._queue))
        metrics.registry.register(FleetCollector(self._fleet, self._workload_keys, self._quota_names, time.monotonic))


@contextlib.asynccontextmanager
async def _tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    """A list of tasks that are all cancelled in the end."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _now() -> datetime:
    return datetime.now(UTC)
