"""The request path from outside: what the process that runs it needs to know.

::

    runtime = Runtime(time.monotonic, wall_clock=time.time)
    runtime.apply_config(config, time.monotonic()); runtime.set_key(b"sk-...")
    pipeline = Pipeline(loop, runtime)
    await loop.create_server(pipeline.new_connection, "127.0.0.1", 4141)
    every second: pipeline.sweep()
    on SIGTERM: pipeline.start_drain(); until pipeline.is_idle or the grace period is over; pipeline.close()
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any

from claudeops.sidecar.runtime import Runtime


class Pipeline:
    """Owns listener state, upstream pools and the stage list of one :class:`Runtime`."""

    def __init__(self, loop: AbstractEventLoop, runtime: Runtime) -> None:
        self.loop = loop
        self.runtime = runtime

    def new_connection(self) -> Any:
        """The protocol factory of the API's listener (4141)."""
        raise NotImplementedError

    def sweep(self) -> None:
        """Once a second: time limits, lease phases, half-open probes. No timer per request."""
        raise NotImplementedError

    def start_drain(self) -> None:
        """Refuse new requests, close idle client connections, finish what is parked or runs."""
        raise NotImplementedError

    @property
    def is_idle(self) -> bool:
        """Nothing is parked, nothing runs."""
        raise NotImplementedError

    def pool_counts(self) -> dict[str, int]:
        """Upstream connections by state: ``idle``, ``busy``, ``opening``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections, idle or not."""
        raise NotImplementedError
