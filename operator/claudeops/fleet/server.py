"""The exchange over HTTPS: who speaks, reports in, assignments out by long poll, and the clock of the fleet's decisions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from claudeops.errors import InvalidResource
from claudeops.exchange import MAX_REPORT_BYTES, PATH, Report, decode_report, encode_message
from claudeops.fleet.fault import contain
from claudeops.fleet.fleet import Fleet
from claudeops.fleet.identity import Authenticate, Denied, Identity
from claudeops.proxyconfig import WorkloadKey

LOGGER = logging.getLogger("claudeops.fleet.exchange")
KEEP_ALIVE_S = 75.0
GRACE_S = 1.0
BACKLOG = 1024
LEAST_WAIT_S = 0.005


def _ignore(_: WorkloadKey | str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ExchangeHooks:
    """What the controller puts in. ``authenticate``: from bearer token to identity. ``is_leader``: a non-leader answers 503.

    ``on_change``: called on the event loop with a workload's key or a quota's name when something changed that status shows at once.
    """

    authenticate: Authenticate
    is_leader: Callable[[], bool] = lambda: True
    on_change: Callable[[WorkloadKey | str], None] = _ignore


class ExchangeServer:
    """Serves ``POST /v1/exchange`` and runs the fleet's ticks while it is started.

    ``ssl_context`` may be changed in place (``load_cert_chain``) to rotate the certificate. ``clock`` is the fleet's monotonic clock;
    ``wall_clock`` (unix seconds) may jump, and that one stands still while the machine sleeps: the fleet is told of it at every tick.
    """

    def __init__(
        self,
        fleet: Fleet,
        hooks: ExchangeHooks,
        *,
        ssl_context: ssl.SSLContext,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.fleet = fleet
        self._hooks = hooks
        self._ssl_context = ssl_context
        self._clock = clock
        self._wall_clock = wall_clock
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._kick = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._is_stopping = False

    async def start(self, host: str, port: int) -> int:
        """Listens and starts ticking; returns the port (useful with 0)."""
        application = web.Application(client_max_size=MAX_REPORT_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=KEEP_ALIVE_S, handle_signals=False, shutdown_timeout=GRACE_S
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=self._ssl_context, backlog=BACKLOG)
        await site.start()
        self._ticker = asyncio.create_task(self._tick_forever(), name="fleet-ticker")
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stops listening, answers the open long polls with what holds now, closes what is left after a second."""
        self._is_stopping = True
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        for instance in list(self._waiting):
            self._wake(instance)
        if self._runner is not None:
            await self._runner.cleanup()

    def touch(self) -> None:
        """Call after ``set_*``, ``drop_*`` or ``observe``: pushes what they changed to the waiting proxies at once."""
        self._publish()
        self._kick.set()

    # -- one request

    async def _handle(self, request: web.Request) -> web.Response:
        if request.path != PATH:
            return _refuse(404, f"no such path: the exchange is POST {PATH}")
        if request.method != "POST":
            return _refuse(405, f"the exchange is POST {PATH}")
        if self._is_stopping or not self._hooks.is_leader():
            return _refuse(503, "this replica does not lead: try again, the Service leads to the one that does")
        identity = await self._identify(request)
        if isinstance(identity, web.Response):
            return identity
        try:
            report = decode_report(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _refuse(413, f"a report has at most {MAX_REPORT_BYTES} bytes")
        except InvalidResource as error:
            return _refuse(400, str(error))
        if (report.instance, report.workload) != (identity.instance, identity.workload):
            return _refuse(403, _disagreement(identity, report))
        return await self._exchange(report)

    async def _identify(self, request: web.Request) -> Identity | web.Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return _refuse(401, "send the projected token as authorization: Bearer")
        verdict = await self._hooks.authenticate(token.strip())
        if isinstance(verdict, Denied):
            return _refuse(503 if verdict.is_retryable else 401, verdict.message)
        return verdict

    async def _exchange(self, report: Report) -> web.Response:
        now = self._clock()
        instance = report.instance
        is_new = self.fleet.accept(report, now)
        if not is_new and self.fleet.is_full:
            return _refuse(503, f"this controller already serves {self.fleet.settings.max_instances} proxies")
        self._wake(instance)
        if self.fleet.next_tick_at(now) <= now:
            self._decide(now)
        else:
            self._publish()
            self._kick.set()
        if is_new and not report.is_urgent and not self._is_stopping and not self.fleet.has_news(instance, now):
            await self._wait(instance)
        answer = encode_message(self.fleet.assignment_for(instance, self._clock()))
        return web.Response(body=answer, content_type="application/json")

    async def _wait(self, instance: str) -> None:
        """Until there is news for this proxy, it reports again, or the report interval is over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[instance] = waiter
        try:
            async with asyncio.timeout(self.fleet.settings.report_interval_s):
                await waiter
        except TimeoutError:
            pass
        finally:
            if self._waiting.get(instance) is waiter:
                del self._waiting[instance]

    def _wake(self, instance: str) -> None:
        waiter = self._waiting.pop(instance, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- decisions

    async def _tick_forever(self) -> None:
        while True:
            now = self._clock()
            wait_s = self.fleet.next_tick_at(now) - now
            if wait_s <= 0.0 and self._hooks.is_leader():
                self._decide(now)
                continue
            self._kick.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(LEAST_WAIT_S, wait_s) if wait_s > 0.0 else self.fleet.settings.tick_s):
                    await self._kick.wait()

    def _decide(self, now: float) -> None:
        """One tick. A defect in a decision must not end the exchange: the last decision stands, and the log says why."""
        self.fleet.wall_offset_s = self._wall_clock() - now
        with contain(LOGGER, "the fleet could not decide; the last decision stands"):
            self.fleet.tick(now)
        self._publish()

    def _publish(self) -> None:
        for instance in self.fleet.take_pushes():
            self._wake(instance)
        for changed in self.fleet.take_changes():
            self._hooks.on_change(changed)


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _disagreement(identity: Identity, report: Report) -> str:
    owner, said = identity.workload, report.workload
    return (
        f"the token is of pod {identity.instance} for workload {owner.namespace}/{owner.name}, but the report is of "
        f"{report.instance} for {said.namespace}/{said.name}: a pod may only report for the workload that its own label names"
    )
