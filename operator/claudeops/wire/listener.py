"""What all client connections of one listener share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from claudeops.wire.http1 import RequestHead
from claudeops.wire.large import NO_SCRATCH
from claudeops.wire.server import ServerConnection
from claudeops.wire.transit import Transit

PATIENCE_TICKS: Final = 120
NOTHING_DROPPED: Final = re.compile(rb"(?!)")


class ServerContext:
    """One listener, as its connections see it.

    ``handle(head, body, connection)`` gets every whole request and must end with ``connection.finish()`` or ``abort()``;
    ``refuse(status, message)`` makes the answer to a request that cannot be framed (a whole response, connection: close).
    ``handle_head(head, connection)`` returns who takes the body in parts, or None: ``handle`` will get it whole. It must decide by
    method and target alone, since what it leaves to ``handle`` is remembered with the head.
    ``dropped`` matches the names of headers that are read but not forwarded.
    ``patience_ticks``: how long a client may take nothing of an answer that waits for it; may be changed at any time.
    """

    __slots__ = (
        "connections", "dropped", "handle", "handle_head", "is_draining", "max_body_bytes", "memo", "patience_ticks", "refuse", "scratch",
        "tick",
    )  # fmt: skip

    def __init__(
        self,
        handle: Callable[[RequestHead, bytes, ServerConnection], None],
        refuse: Callable[[int, str], bytes],
        *,
        handle_head: Callable[[RequestHead, ServerConnection], Transit | None] | None = None,
        dropped: re.Pattern[bytes] = NOTHING_DROPPED,
        max_body_bytes: int = 65_536,
    ) -> None:
        self.handle = handle
        self.handle_head = handle_head
        self.refuse = refuse
        self.dropped = dropped
        self.max_body_bytes = max_body_bytes
        self.memo: dict[bytes, RequestHead] = {}
        self.scratch = NO_SCRATCH
        self.connections: set[ServerConnection] = set()
        self.is_draining = False
        self.patience_ticks = PATIENCE_TICKS
        self.tick = 0

    def new_connection(self) -> Any:  # a duck-typed asyncio.Protocol: uvloop looks its methods up by name
        """The protocol factory for ``loop.create_server``."""
        return ServerConnection(self)

    def sweep(self) -> None:
        """Once a second: close idle and slow connections, let requests check their time. No timer per request."""
        self.tick += 1
        for connection in list(self.connections):
            connection.check(self.tick)

    def drain(self) -> None:
        """Close idle connections now and the others after the answer they wait for."""
        self.is_draining = True
        for connection in list(self.connections):
            if connection.is_idle:
                connection.transport.close()

    def close(self) -> None:
        """Drop every connection."""
        for connection in list(self.connections):
            connection.transport.abort()
