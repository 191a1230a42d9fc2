"""The simulator as a thing that starts and stops: for the command line, and in-process for tests."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from claudeops.simulator.admin import DEFAULT_TIMELINE_S, PREFIX, Admin
from claudeops.simulator.app import Api
from claudeops.simulator.config import SimulatorConfig
from claudeops.simulator.fault import Fault, FaultScript
from claudeops.simulator.http import Connection, Request
from claudeops.simulator.pool import LimitsChange, Pools
from claudeops.simulator.promptcache import PromptCache
from claudeops.simulator.referee import LOGGED_REQUESTS, LoggedRequest, Referee, Stats
from claudeops.simulator.route import body_limit_bytes
from claudeops.simulator.world import World

TICK_S = 0.1
HELLO_PATH = "/api/hello"


class Simulator:
    """A Claude API on a socket. ``async with Simulator(SimulatorConfig(...)) as simulator: simulator.url``.

    Runs on the event loop that enters it (any asyncio loop). Leaving closes the listener and every connection.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server
        self._port: int
        self._api: Api
        self._admin: Admin
        self._world: World
        self._ticker: asyncio.TimerHandle

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        faults = FaultScript(self.config.seed)
        pools = Pools(self.config, faults, loop.time)
        self._world = World(self.config, faults, pools, PromptCache())
        referee = Referee(time.time())
        self._api = Api(self._world, referee)
        self._admin = Admin(self._world, referee, self._api, self._connections)
        self._admin.set_faults(list(self.config.faults))
        self._server = await loop.create_server(
            lambda: Connection(self._handle, self._connections, self._body_limit_bytes, compresses=self.config.compresses),
            self.config.host,
            self.config.port,
            ssl=tls_context(self.config),
            backlog=4096,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._ticker = loop.call_later(TICK_S, self._tick)

    async def stop(self) -> None:
        """Close the listener and every connection; running answers end where they are."""
        self._ticker.cancel()
        self._server.close()
        for connection in list(self._connections):
            connection.transport.abort()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port that it listens on; still known after it has stopped."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL for a client on this machine."""
        scheme = "https" if self.config.tls_certificate else "http"
        host = "127.0.0.1" if self.config.host in ("0.0.0.0", "") else self.config.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def stats(self, timeline_s: int = DEFAULT_TIMELINE_S) -> Stats:
        """What was really used: the same as ``GET /_sim/stats``."""
        return self._admin.stats(timeline_s)

    def requests(self, limit: int = LOGGED_REQUESTS, model: str | None = None, key: str | None = None) -> list[LoggedRequest]:
        """The newest requests as received, newest first: the same as ``GET /_sim/requests``."""
        return self._admin.requests(limit, model, key)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Put these faults in force instead of all others: the same as ``PUT /_sim/faults``."""
        self._admin.set_faults(list(faults))

    def set_limits(self, change: LimitsChange) -> None:
        """Put other limits in force: the same as ``PUT /_sim/limits``."""
        self._admin.set_limits(change)

    def set_transcripts(self, texts: Mapping[str, str]) -> None:
        """Keep these transcripts by name instead of all others: the same as ``PUT /_sim/transcripts``."""
        self._admin.set_transcripts(dict(texts))

    def revoke_tokens(self) -> None:
        """No access token that ``/v1/oauth/token`` has given out is valid any longer."""
        self._world.tokens.revoke()

    def reset(self) -> None:
        """Zero the figures: the same as ``POST /_sim/reset``."""
        self._admin.reset()

    def _handle(self, request: Request, connection: Connection) -> None:
        if request.path.startswith(PREFIX):
            self._admin.handle(request, connection)
        elif request.path == HELLO_PATH and request.method in ("GET", "HEAD"):
            connection.respond(200, b"content-type: text/plain\r\n", b"ok")
        else:
            self._api.handle(request, connection)

    def _body_limit_bytes(self, path: str) -> int:
        return min(body_limit_bytes(path), self.config.max_body_bytes)

    def _tick(self) -> None:
        self._world.pools.tick()
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)


def tls_context(config: SimulatorConfig) -> ssl.SSLContext | None:
    """TLS when a certificate is configured."""
    if config.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.tls_certificate, config.tls_key)
    return context
