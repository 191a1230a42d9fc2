"""A simulator on a thread of its own, for tests whose clients block or live in another process."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from claudeops.simulator import Simulator, SimulatorConfig


@contextmanager
def live_simulator(config: SimulatorConfig) -> Iterator[Simulator]:
    """The simulator, listening; its ``url`` may be used from any thread, everything else only through HTTP."""
    loop = uvloop.new_event_loop()
    simulator = Simulator(config)
    loop.run_until_complete(simulator.start())
    thread = threading.Thread(target=loop.run_forever, name="simulator")
    thread.start()
    try:
        yield simulator
    finally:
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def exchange(
    base_url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers in lower case, body. ``body``: bytes, or a JSON document."""
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()
