"""What has been written to a client and is not with it yet, to tell one that reads slowly from one that reads nothing."""

from __future__ import annotations

import fcntl
import struct
import termios
from asyncio import Transport
from typing import Final

_INT: Final = struct.Struct("i")


def waiting_bytes(transport: Transport) -> int:
    """Bytes that wait here and in the kernel for the peer to make room; 0 where none wait here, since then nobody waits for the peer.

    The transport's own number is not enough: the kernel refills its buffer in steps of a third of it, megabytes on the loopback. What the
    peer's kernel has taken counts as read, and it makes room in steps of its own: around 100 KiB (measured on Linux 6, default buffers).
    """
    here = transport.get_write_buffer_size()
    if not here:
        return 0
    try:
        unacknowledged: int = _INT.unpack(fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(_INT.size)))[0]
    except OSError:  # a socket that has just been closed, or a system that does not tell
        return here
    return here + unacknowledged
