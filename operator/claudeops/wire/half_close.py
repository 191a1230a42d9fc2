"""A client that sends no more may wait for its answer, or be gone: the end of its stream looks the same."""

from __future__ import annotations

import socket
from asyncio import Transport

_TCP_INFO = getattr(socket, "TCP_INFO", None)
"""Linux only; elsewhere the next write finds it out."""
_TCP_CLOSE = 7
"""The state in the first byte of ``struct tcp_info`` (linux/tcp.h, net/tcp_states.h)."""


def is_reset(transport: Transport) -> bool:
    """Has the peer refused what was sent to it since it closed its side?"""
    if _TCP_INFO is None:
        return False
    state: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
    return state[0] == _TCP_CLOSE
