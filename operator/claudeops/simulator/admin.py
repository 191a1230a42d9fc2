"""``/_sim``: the fault script, the limits, the referee. Not part of the Claude API, and open to whoever can connect."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from claudeops.errors import InvalidResource
from claudeops.simulator.app import Api
from claudeops.simulator.fault import Fault
from claudeops.simulator.http import Connection, Request
from claudeops.simulator.pool import LimitsChange
from claudeops.simulator.referee import LOGGED_REQUESTS, TIMELINE_SECONDS, LoggedRequest, Referee, Stats
from claudeops.simulator.reply import JSON_LINES
from claudeops.simulator.world import World

PREFIX = "/_sim/"
DEFAULT_TIMELINE_S = 60


class Admin:
    """Answers every path under ``/_sim/``."""

    def __init__(self, world: World, referee: Referee, api: Api, connections: set[Connection]) -> None:
        self._world = world
        self._referee = referee
        self._api = api
        self._connections = connections
        self.routes: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "healthz"): lambda request: {"status": "ok"},
            ("GET", "stats"): lambda request: self.stats(whole(request, "seconds", DEFAULT_TIMELINE_S)),
            ("GET", "requests"): self._requests,
            ("GET", "faults"): lambda request: self._faults(),
            ("PUT", "faults"): lambda request: self._put_faults(request),
            ("DELETE", "faults"): lambda request: self.set_faults([]),
            ("GET", "limits"): lambda request: self._world.pools.in_force(),
            ("PUT", "limits"): lambda request: self.set_limits(msgspec.json.decode(request.body, type=LimitsChange)),
            ("GET", "transcripts"): lambda request: self._world.library.names(),
            ("PUT", "transcripts"): lambda request: self.set_transcripts(msgspec.json.decode(request.body, type=dict[str, str])),
            ("POST", "reset"): lambda request: self.reset(),
        }

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request: 200 with a document, 400 with the reason, or 404."""
        route = self.routes.get((request.method, request.path.removeprefix(PREFIX)))
        status, document = 200, None
        if route is None:
            status, document = 404, {"error": f"no such thing: {request.method} {request.path}"}
        else:
            try:
                document = route(request)
            except (msgspec.DecodeError, InvalidResource) as error:
                status, document = 400, {"error": str(error)}
        connection.respond(status, JSON_LINES, msgspec.json.encode(document) + b"\n")

    def stats(self, timeline_s: int = DEFAULT_TIMELINE_S) -> Stats:
        """The referee's figures of this moment."""
        self._world.pools.tick()
        now_s, since_s = time.time(), self._referee.since_s
        groups = [group.record.view(group.limiter, since_s, now_s, seconds=timeline_s) for group in self._world.pools.all()]
        return Stats(
            since=since_s,
            now=now_s,
            uptime_s=now_s - self._referee.started_s,
            requests=self._referee.requests,
            in_flight=self._api.in_flight,
            streams=self._api.streams,
            connections=len(self._connections),
            batches=len(self._api.batches),
            files=len(self._api.files),
            spent_usd=self._world.spend.spent_usd(),
            groups=groups,
            **self._referee.tables(),
        )

    def requests(self, limit: int = LOGGED_REQUESTS, model: str | None = None, key: str | None = None) -> list[LoggedRequest]:
        """The newest requests, newest first; ``key``: the whole key or its last four characters."""
        return self._referee.recent(limit, model, key)

    def set_faults(self, faults: list[Fault]) -> list[dict[str, Any]]:
        """Put these faults in force instead of all others."""
        self._world.faults.replace(faults, time.time())
        self._world.pools.tick()
        return self._faults()

    def set_limits(self, change: LimitsChange) -> dict[str, object]:
        """Put other limits in force."""
        self._world.pools.change(change)
        return self._world.pools.in_force()

    def set_transcripts(self, texts: dict[str, str]) -> list[str]:
        """Keep these transcripts, server-sent events by name, instead of all others."""
        self._world.library.replace(texts)
        return self._world.library.names()

    def reset(self) -> dict[str, str]:
        """Zero the referee's figures; forget cached prompts, batches, files and what was spent. Buckets and faults stay as they are."""
        self._world.pools.tick()
        self._referee.reset(time.time())
        self._world.cache.clear()
        self._api.batches.clear()
        self._api.files.clear()
        self._world.spend.reset()
        for group in self._world.pools.all():
            group.record.reset()
        return {"status": "ok"}

    def _requests(self, request: Request) -> list[LoggedRequest]:
        limit = whole(request, "limit", LOGGED_REQUESTS)
        return self.requests(limit, request.parameter("model") or None, request.parameter("key") or None)

    def _put_faults(self, request: Request) -> list[dict[str, Any]]:
        return self.set_faults(msgspec.json.decode(request.body, type=list[Fault]))

    def _faults(self) -> list[dict[str, Any]]:
        """The faults in force; a key filter shows its last four characters only."""
        shown = []
        for active in self._world.faults.active(time.time()):
            fault = active.fault
            if fault.key is not None:
                fault = msgspec.structs.replace(fault, key=fault.key[-4:])
            shown.append({"fault": fault, "ends_at": active.ends_at, "hits": active.hits})
        return shown


def whole(request: Request, name: str, default: int) -> int:
    """A query parameter as a whole number from 0 to the length of the timeline."""
    text = request.parameter(name, str(default))
    if not text.isdigit():
        raise InvalidResource("must be a whole number", path=name)
    return min(int(text), TIMELINE_SECONDS)
