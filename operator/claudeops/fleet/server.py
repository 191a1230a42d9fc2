"""The exchange over HTTPS: who speaks, reports in, assignments out by long poll, and the clock of the fleet's decisions."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from claudeops.fleet.fleet import Fleet
from claudeops.fleet.identity import Authenticate
from claudeops.proxyconfig import WorkloadKey


@dataclass(frozen=True, slots=True)
class ExchangeHooks:
    """What the controller puts in. ``authenticate``: from bearer token to identity. ``is_leader``: a non-leader answers 503.

    ``on_change``: called on the event loop with a workload's key or a quota's name when something changed that status shows at once.
    """

    authenticate: Authenticate
    is_leader: Callable[[], bool] = lambda: True
    on_change: Callable[[WorkloadKey | str], None] = lambda _: None


class ExchangeServer:
    """Serves ``POST /v1/exchange`` and runs the fleet's ticks while it is started.

    ``ssl_context`` may be replaced in place (``load_cert_chain``) to rotate the certificate. ``clock`` is the fleet's monotonic clock.
    """

    def __init__(
        self, fleet: Fleet, hooks: ExchangeHooks, *, ssl_context: ssl.SSLContext | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        raise NotImplementedError

    async def start(self, host: str, port: int) -> int:
        """Listens and starts ticking; returns the port (useful with 0)."""
        raise NotImplementedError

    async def stop(self, grace_s: float = 1.0) -> None:
        """Stops listening, answers the open long polls with what holds now, closes the rest after ``grace_s``."""

    def touch(self) -> None:
        """Call after ``set_*``, ``drop_*`` or ``observe``: pushes what they changed to the waiting proxies at once."""
