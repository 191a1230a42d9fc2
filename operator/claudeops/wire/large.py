"""Reading from a client that sends large requests, with one copy of a body less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from claudeops.wire.http1 import HEAD_END, RequestHead
from claudeops.wire.memo import memo_key

if TYPE_CHECKING:
    from claudeops.wire.server import ServerConnection

LARGE_BYTES: Final = 65_536
READ_BYTES: Final = 262_144
HEAD_BYTES: Final = 4_096
NO_SCRATCH: Final = memoryview(b"")
"""What a listener has to read into before anything large has come."""


def expect_large(connection: ServerConnection) -> None:
    """A request of more than LARGE_BYTES has come in one read: more such will follow. Not for every connection: a read into a buffer of
    ours costs a little more than one into uvloop's, and only a large one is spared a copy."""
    context = connection.context
    if context.scratch is NO_SCRATCH:
        context.scratch = memoryview(bytearray(READ_BYTES))
    connection.transport.set_protocol(cast(Any, LargeReader(connection)))  # duck-typed, as its connection is


class LargeReader:
    """Takes a connection's place as its transport's protocol. The buffer is the listener's, and holds nothing between reads."""

    __slots__ = ("buffer", "connection")

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.buffer = connection.context.scratch

    def get_buffer(self, size_hint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, size_bytes: int) -> None:
        data = self.buffer[:size_bytes]
        if size_bytes <= LARGE_BYTES or not self._is_whole(data):
            self.connection.data_received(data.tobytes())

    def data_received(self, data: bytes) -> None:
        self.connection.data_received(data)

    def eof_received(self) -> bool:
        return self.connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self.connection.connection_lost(error)

    def pause_writing(self) -> None:
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.connection.resume_writing()

    def _is_whole(self, data: memoryview) -> bool:
        """One request, whole and alone, with a head seen before: it is under way then."""
        connection = self.connection
        if not connection.is_idle:
            return False
        begun = data[:HEAD_BYTES].tobytes()
        end = begun.find(HEAD_END)
        key = None if end < 0 else memo_key(begun, end)
        head: RequestHead | None = None if key is None else connection.context.memo.get(key[0])
        if key is None or head is None or not len(data) == end + 4 + key[1] <= connection.context.max_body_bytes:
            return False
        connection.head = head
        connection.accept(data[end + 4 :].tobytes(), b"")
        return True
