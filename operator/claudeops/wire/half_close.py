"""A client that sends no more may wait for its answer, or be gone: the end of its stream looks the same.

Who is gone refuses whatever is sent to it; who waits ignores an interim answer.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import Transport

from claudeops.wire.intake import CONTINUE

PROBE_S = 0.02
"""When a peer on the same host has long refused it; the sweep looks after those farther away."""
_TCP_INFO = getattr(socket, "TCP_INFO", None)
"""Linux only; elsewhere the next write finds it out."""
_TCP_CLOSE = 7
"""The state in the first byte of ``struct tcp_info`` (linux/tcp.h, net/tcp_states.h)."""


def probe(transport: Transport) -> None:
    """Send an interim answer, and end the connection soon if it was refused."""
    transport.write(CONTINUE)
    asyncio.get_running_loop().call_later(PROBE_S, abort_if_reset, transport)


def abort_if_reset(transport: Transport) -> None:
    """End the connection if the peer has refused what was sent to it."""
    if _TCP_INFO is None or transport.is_closing():
        return
    state: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
    if state[0] == _TCP_CLOSE:
        transport.abort()
