"""The life of the proxy's process: start, listeners, the loops beside the request path, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import uvloop

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import ProxyConfig
from claudeops.sidecar.admin import AdminServer, Page
from claudeops.sidecar.config import ConfigFile, ConfigHolder, TokenFile, watch
from claudeops.sidecar.credentials import Credentials, read_proxy_login
from claudeops.sidecar.exchange_client import ExchangeClient
from claudeops.sidecar.logs import start_logging
from claudeops.sidecar.metrics import Measures
from claudeops.sidecar.metrics_page import MetricsPage
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.report import ReportDesk
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.state import StatePage

SWEEP_S: Final = 1.0
DRAIN_POLL_S: Final = 0.05
RESTART_S: Final = 1.0
BACKLOG: Final = 1024
_LOG = logging.getLogger("claudeops.sidecar")
Address = tuple[str, int]


class Settings(NamedTuple):
    """What the command line says."""

    config_path: str
    key_path: str
    token_path: str
    instance: str
    listen: Address
    admin: Address
    state: Address
    grace_s: float = 590.0
    log_level: str = "info"
    identity_path: str = ""
    """Of the ServiceAccount token for federation."""
    proxy_login_path: str = ""
    """Of user:password for the proxy on the way to the API."""


class Sidecar:
    """All parts of one proxy, put together. ``start`` listens; ``run`` works until ``stop`` is called, then drains."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.runtime = Runtime(time.monotonic, wall_clock=time.time)
        self.holder = ConfigHolder(self._apply)
        self.pipeline = Pipeline(loop, self.runtime)
        self.pipeline.dialer.proxy_login = lambda: read_proxy_login(settings.proxy_login_path)
        self.config_file = ConfigFile(settings.config_path, self.holder)
        self.credentials = Credentials(self.runtime, key_path=settings.key_path, identity_path=settings.identity_path)
        desk = ReportDesk(self.runtime, settings.instance, time.monotonic(), open_connections=self._open_connections)
        self.exchange = ExchangeClient(self.runtime, self.holder, desk=desk, token=TokenFile(settings.token_path))
        self.runtime.on_urgent = self.exchange.hurry
        pipeline = self.pipeline
        metrics = MetricsPage(Measures(self.runtime, self.holder, pipeline.pool_counts, opened_counts=pipeline.dialer.counts))
        self._state = StatePage(self.runtime, self.holder, credentials=self.credentials, exchange=self.exchange)
        self.admin = AdminServer({"/healthz": self._healthz, "/readyz": self._readyz}, {"/metrics": metrics.page})
        self.state = AdminServer({"/state": self._state_page})
        self.ports: tuple[int, int, int] = (0, 0, 0)
        self._stopping = asyncio.Event()
        self._loop = loop
        self._api: asyncio.AbstractServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Reads the files once and listens. Raises InvalidResource if an address cannot be had."""
        self.credentials.poll()
        self.config_file.poll()
        settings = self.settings
        try:
            self._api = await self._loop.create_server(self.pipeline.new_connection, *settings.listen, backlog=BACKLOG)
            admin = await self.admin.start(*settings.admin)
            state = await self.state.start(*settings.state)
        except OSError as error:
            raise InvalidResource(f"cannot listen: {error.strerror or error}; free the address or choose another one") from error
        self.ports = (self._api.sockets[0].getsockname()[1], admin, state)
        _LOG.info("listening", extra={"api": self.ports[0], "admin": admin, "state": state, "instance": settings.instance})
        self._tasks = [
            self._loop.create_task(_keep_alive("watch", lambda: watch(self.config_file.poll, self.credentials.poll))),
            self._loop.create_task(_keep_alive("exchange", self.exchange.run)),
            self._loop.create_task(_keep_alive("sweep", self._sweep)),
        ]

    async def run(self) -> None:
        """Serves until ``stop``; then finishes what is parked or runs, for the grace period at most."""
        await self._stopping.wait()
        self.pipeline.start_drain()
        self.exchange.hurry("draining")
        _LOG.info("draining", extra={"inFlight": self.runtime.in_flight, "queued": self.runtime.queued})
        deadline = time.monotonic() + self.settings.grace_s
        while not self.pipeline.is_idle and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)
        await self.exchange.say_goodbye()
        _LOG.info("stopped", extra={"isIdle": self.pipeline.is_idle, "inFlight": self.runtime.in_flight})

    def stop(self) -> None:
        """Ask for the drain; more than once does no harm."""
        self._stopping.set()

    async def close(self) -> None:
        """Ends every task, connection and listener."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._api is not None:
            self._api.close()
        self.admin.stop()
        self.state.stop()
        self.pipeline.close()

    def _apply(self, config: ProxyConfig) -> None:
        self.runtime.apply_config(config, self.runtime.clock())
        self.credentials.follow(config)
        self._loop.call_soon(self._renew)

    def _open_connections(self) -> int:
        return sum(self.pipeline.pool_counts().values())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.pipeline.sweep()
            self._renew()

    def _renew(self) -> None:
        if self.pipeline.auxiliary is not None:
            self.credentials.sweep(self.pipeline.auxiliary.send)

    def _healthz(self) -> Page:
        return Page(200, b"ok\n")

    def _readyz(self) -> Page:
        if self.holder.current is None:
            return Page(503, f"no configuration yet: {self.holder.error or 'not read'}\n".encode())
        return Page(200, b"ok\n")

    def _state_page(self) -> Page:
        pipeline = self.pipeline
        process: dict[str, object] = {
            "clients": len(pipeline.server.connections),
            "backingOff": len(pipeline.recovery.backing_off),
            "auxiliaryInFlight": pipeline.admission.auxiliary_in_flight,
            "probes": len(pipeline.probes),
            "connectionsOpened": pipeline.dialer.counts(),
            "tasks": len(asyncio.all_tasks()),
        }
        return Page(200, self._state.text(self.runtime.clock(), pipeline.pool_counts, process), "application/json")


def run_sidecar(settings: Settings) -> int:
    """The whole life of the process. Exit code 0 after SIGTERM or SIGINT."""
    start_logging(settings.log_level)
    _allow_open_files()
    uvloop.run(_live(settings))
    return 0


def _allow_open_files() -> None:
    """Every connection is one: as many as the system lets this process have. The default is meant for programs that use select."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _live(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    sidecar = Sidecar(settings, loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sidecar.stop)
    try:
        await sidecar.start()
        gc.collect()
        gc.freeze()
        await sidecar.run()
    finally:
        await sidecar.close()


async def _keep_alive(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A bug in a loop beside the request path must not end the requests: it is logged, and the loop starts again."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  # the outermost loop: what is not foreseen must not cut running streams
            _LOG.exception("the %s loop failed and starts again", name)
        await asyncio.sleep(RESTART_S)
