"""What the two sides of the proxy tell one request in transit.

Most requests are whole before they are sent. One whose body goes through in parts (see :mod:`claudeops.wire.server` and
:mod:`claudeops.wire.upload`) hears of them by ``request_part`` and ``request_end``, and sends them by ``send_part`` and ``send_end``.
"""

from __future__ import annotations

from claudeops.wire.usual_head import UsualHead

Part = bytes | memoryview
"""Of a body that is whole, but does not lie in one piece: nothing large is copied to join it."""


def size_bytes(parts: tuple[Part, ...]) -> int:
    """Of all of them."""
    total = 0
    for part in parts:
        total += len(part)
    return total


class Carrier:
    """An upstream connection, as its request sees it."""

    __slots__ = ()

    @property
    def is_held(self) -> bool:
        """Is the answer not being read, because the client is slow?"""
        return False

    def abandon(self) -> None:
        """Drop the request in flight; the upstream stops working on it. The transit hears nothing more."""
        raise NotImplementedError

    def slow(self, is_slow: bool) -> None:
        """Stop (True) or go on (False) reading the answer."""
        raise NotImplementedError

    def rest(self) -> None:
        """Read the answer again in a millisecond, where that spares reads; what comes meanwhile waits in the kernel."""

    def send_part(self, data: bytes) -> None:
        """The next bytes of a request body that is sent in parts. Raises ValueError for more than was announced."""
        raise NotImplementedError

    def send_end(self) -> None:
        """That body is whole. Raises ValueError if it is shorter than was announced."""
        raise NotImplementedError


class Recipient:
    """A client connection, as the transit that answers it sees it; or something that stands for one."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """Send bytes of the answer; nothing happens once the client has gone."""
        raise NotImplementedError

    def write_parts(self, *parts: bytes) -> None:
        """The same with one system call for several parts, never joined."""
        raise NotImplementedError

    def finish(self) -> None:
        """The answer is complete."""
        raise NotImplementedError

    def abort(self) -> None:
        """The answer will never be complete, and the client must see that."""
        raise NotImplementedError


class Transit:
    """One request between a client connection and an upstream connection. The edges call these; the sidecar implements them."""

    __slots__ = ("upstream", "usual")

    def __init__(self) -> None:
        self.upstream: Carrier | None = None
        """What carries it now; set by the upstream side, cleared by whoever sees the end first."""
        self.usual: UsualHead | None = None
        """What the head of its answer is like; set by the upstream side where it is like the last one's."""

    def drop_upstream(self) -> None:
        """Whatever the upstream would still say is not wanted: what carries the request, if anything does, is abandoned."""
        carrier, self.upstream = self.upstream, None
        if carrier is not None:
            carrier.abandon()

    def client_gone(self) -> None:
        """The client closed its connection before it had the whole answer."""
        raise NotImplementedError

    def client_slow(self, is_slow: bool) -> None:
        """The client's socket buffer is full (True) or has drained (False)."""
        raise NotImplementedError

    def request_part(self, data: bytes) -> None:
        """The next bytes of the client's body: only for who took the request by its head."""
        raise NotImplementedError

    def request_end(self) -> None:
        """The client's body is whole."""
        raise NotImplementedError

    def upstream_slow(self, is_slow: bool) -> None:
        """What carries a body in parts cannot take more of it for now (True), or can again (False); it takes it all the same."""
        raise NotImplementedError

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        """The head arrived (without its blank line), with the body bytes that came in the same read."""
        raise NotImplementedError

    def more(self, body: bytes, is_complete: bool) -> None:
        """Body bytes of one later read."""
        raise NotImplementedError

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        """The upstream connection could not be made (``is_unreachable``), broke or sent nonsense; nothing more will come."""
        raise NotImplementedError

    def check(self) -> None:
        """Called about once a second: is there still time?"""
        raise NotImplementedError
