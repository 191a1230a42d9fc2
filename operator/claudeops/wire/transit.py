"""What the two sides of the proxy tell one request in transit."""

from __future__ import annotations


class Carrier:
    """An upstream connection, as its request sees it."""

    __slots__ = ()

    def abandon(self) -> None:
        """Drop the request in flight; the upstream stops working on it. The transit hears nothing more."""
        raise NotImplementedError

    def slow(self, is_slow: bool) -> None:
        """Stop (True) or go on (False) reading the answer."""
        raise NotImplementedError


class Transit:
    """One request between a client connection and an upstream connection. The edges call these; the sidecar implements them."""

    __slots__ = ("upstream",)

    def __init__(self) -> None:
        self.upstream: Carrier | None = None
        """What carries it now; set by the upstream side, cleared by whoever sees the end first."""

    def client_gone(self) -> None:
        """The client closed its connection before it had the whole answer."""
        raise NotImplementedError

    def client_slow(self, is_slow: bool) -> None:
        """The client's socket buffer is full (True) or has drained (False)."""
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
