"""Kopf, and nothing but Kopf: the watches. Every event is handed to the controller's own loop; no handler decides anything.

Kopf runs in a thread with a loop of its own: it cancels every task of its loop when it ends, and a busy moment of the exchange must not
starve its watches. With endless backoffs it lives through any outage of the API server; should it end all the same, it is started anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf

from claudeops.controller.kind import Kind, Object

logger = logging.getLogger(__name__)

Deliver = Callable[[Kind, str | None, Object], None]
"""Takes (kind, ``ADDED`` / ``MODIFIED`` / ``DELETED`` or None for an item of a list that Kopf read, object)."""
Login = Callable[[], Coroutine[Any, Any, Mapping[str, Any]]]
"""The fields of a ``kopf.ConnectionInfo``."""

RESTART_S: Final = 1.0
LOGIN_LIFE: Final = timedelta(minutes=5)


class EndlessBackoffs:
    """Waits between two attempts of a request: short ones first, never over 5 s, and never the last. A new iterator each time."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1, 2, 3), itertools.repeat(5))


def kopf_settings(selectors: Mapping[Kind, str]) -> kopf.OperatorSettings:
    """Kopf as a mere watcher: no peering, no posting, no scanning; silent streams are noticed, long lists come in pages."""
    settings = kopf.OperatorSettings()
    watching, networking = settings.watching, settings.networking
    watching.server_timeout, watching.client_timeout, watching.connect_timeout = 300, 330, 5
    watching.inactivity_timeout, watching.reconnect_backoff, watching.chunk_size = 90, 1, 500
    networking.request_timeout, networking.connect_timeout, networking.enforce_retry_after = 30, 5, True
    networking.error_backoffs = EndlessBackoffs()
    settings.posting.enabled = settings.posting.loggers = False
    settings.peering.standalone = settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    for kind, selector in selectors.items():
        watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return settings


class Edge:
    """Watches kinds through Kopf and delivers their events on the loop that :meth:`run` runs on."""

    def __init__(self, kinds: tuple[Kind, ...], selectors: Mapping[Kind, str], *, login: Login, deliver: Deliver) -> None:
        self._kinds = kinds
        self._selectors = selectors
        self._login = login
        self._deliver = deliver
        self._stop = threading.Event()

    async def run(self) -> None:
        """Runs until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                watching = asyncio.create_task(asyncio.to_thread(self._watch, loop))
                await asyncio.wait({watching})
                logger.error("Kopf ended and is started again: %s", watching.exception())
                await asyncio.sleep(RESTART_S)
        finally:
            self._stop.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        kopf.run(
            registry=self._registry(loop),
            settings=kopf_settings(self._selectors),
            clusterwide=True,
            standalone=True,
            stop_flag=self._stop,
        )

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def log_in(**_: Any) -> kopf.ConnectionInfo:
            fields = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._login(), loop))
            return kopf.ConnectionInfo(**fields, expiration=datetime.now(UTC) + LOGIN_LIFE)

        kopf.on.login(registry=registry, id="login")(log_in)
        for kind in self._kinds:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"watch-{kind.plural}")(self._handler(kind, loop))
        return registry

    def _handler(self, kind: Kind, loop: asyncio.AbstractEventLoop) -> Any:
        async def handle(event: Any, **_: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver, kind, event["type"], event["object"])

        return handle


async def login_fields(configuration: Any) -> Mapping[str, Any]:
    """What Kopf needs to log in as the client of :mod:`.kube` does."""
    header = await configuration.get_api_key_with_prefix("BearerToken")
    scheme, _, token = (header or "").rpartition(" ")
    return {
        "server": configuration.host,
        "ca_path": configuration.ssl_ca_cert,
        "insecure": not configuration.verify_ssl,
        "scheme": scheme.capitalize() or None,
        "token": token or None,
        "certificate_path": configuration.cert_file,
        "private_key_path": configuration.key_file,
    }
