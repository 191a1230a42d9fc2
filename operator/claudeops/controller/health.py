"""``/healthz``, ``/readyz`` and ``/metrics`` of the control plane's processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

LAG_SAMPLE_S: Final = 1.0
MAX_LAG_S: Final = 20.0

Facts = Callable[[], Mapping[str, float | bool | str]]


class LoopLag:
    """How late the event loop runs its timers."""

    def __init__(self) -> None:
        self.lag_s = 0.0

    async def run(self) -> None:
        """Measures for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_SAMPLE_S
            await asyncio.sleep(LAG_SAMPLE_S)
            self.lag_s = loop.time() - due_s


class HealthServer:
    """Serves the three pages. ``is_ready`` and ``facts`` are asked anew for every page."""

    def __init__(self, registry: CollectorRegistry, *, is_ready: Callable[[], bool], facts: Facts, lag: LoopLag) -> None:
        self._registry = registry
        self._is_ready = is_ready
        self._facts = facts
        self._lag = lag
        self._runner: web.AppRunner | None = None

    def routes(self) -> list[web.RouteDef]:
        """The three pages, for a server that has others, too."""
        return [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]

    async def start(self, host: str, port: int) -> None:
        """Listens."""
        app = web.Application()
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        body = {"loopLagS": round(self._lag.lag_s, 3), **self._facts()}
        return web.json_response(body, status=200 if self._lag.lag_s < MAX_LAG_S else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        is_ready = self._is_ready()
        return web.json_response({"ready": is_ready, **self._facts()}, status=200 if is_ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
