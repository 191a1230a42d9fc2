"""An event loop on real sockets whose clock jumps to the next timer as soon as nobody has anything to do: an hour in a moment."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.EpollSelector):
    """Looks at the sockets without waiting; where they are silent, the clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout:
            self.now_s += timeout
        elif not events and timeout is None:
            raise RuntimeError("nothing will ever happen again")
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """``connecting`` is asked before every connection, by its port: how many seconds it takes, less than none if it is refused."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)
        self.connecting: Callable[[int], float] = lambda port: 0.0
        self.reads = 0
        self.errors: list[str] = []
        self.set_exception_handler(lambda loop, context: self.errors.append(repr(context)))

    def time(self) -> float:
        return self.selector.now_s

    def clock(self) -> float:
        """The same, and never the same twice: like a real clock."""
        self.reads += 1
        return self.selector.now_s + self.reads * 1e-9

    def timers(self) -> set[str]:
        """What will still be called, by module."""
        handles: list[Any] = self._scheduled  # type: ignore[attr-defined]
        return {str(getattr(handle._callback, "__module__", handle)) for handle in handles if not handle.cancelled()}

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        delay_s = self.connecting(address[1])
        if delay_s:
            await asyncio.sleep(abs(delay_s))
        if delay_s < 0.0:
            raise ConnectionRefusedError("refused by the test")
        await super().sock_connect(sock, address)


def run_virtually(test: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    """A test's coroutine on a loop of its own; nothing may have gone wrong behind its back."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        runner.run(test(loop))
        assert not loop.errors, loop.errors
