"""What has been written to a client and not been read by it, to tell one that reads slowly from one that reads nothing."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from asyncio import Transport
from typing import Final

_INT: Final = struct.Struct("=i")
_NETLINK: Final = getattr(socket, "AF_NETLINK", None)
"""Linux only; elsewhere nobody tells."""
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_QUESTION: Final = struct.Struct("=IHHIIBBBBI2s2s16s16sIQ")
"""``struct nlmsghdr`` and ``struct inet_diag_req_v2`` (linux/netlink.h, linux/inet_diag.h); two cookies as one number."""
_ANSWER: Final = struct.Struct("=4xH66xI")
"""The kind of what the header announces, and ``idiag_rqueue`` of ``struct inet_diag_msg`` behind it."""
_ANSWER_MAX_BYTES: Final = 1024


def waiting_bytes(transport: Transport) -> int:
    """Bytes that wait here, in this kernel and, as far as it can be seen, in the peer's; 0 where none wait here, since then nobody
    waits for the peer.

    The transport's own number is not enough: the kernel refills its buffer in steps of a third of it, megabytes on the loopback. Nor is
    this kernel's: the peer's makes room in steps of up to a sixteenth of its buffer. So the peer's is asked where it is the same one
    (sock_diag(7), 40 µs); of a peer on another host those steps are all that can be seen.
    """
    here = transport.get_write_buffer_size()
    if not here:
        return 0
    try:
        connection: socket.socket = transport.get_extra_info("socket")
        sent: int = _INT.unpack(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))[0]
        ends = connection.getpeername()[:2], connection.getsockname()[:2]
    except OSError:  # it has just been closed
        return here
    return here + sent + _unread_bytes(connection.family, *ends)


def _unread_bytes(family: int, peer: tuple[str, int], own: tuple[str, int]) -> int:
    """What the peer's kernel has and the peer has not read; 0 if that kernel is not ours, or says nothing."""
    if _NETLINK is None:
        return 0
    (source, source_port), (destination, destination_port) = peer, own
    try:
        question = _QUESTION.pack(
            *(_QUESTION.size, _SOCK_DIAG_BY_FAMILY, 1, 0, 0),
            *(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF),
            *(source_port.to_bytes(2, "big"), destination_port.to_bytes(2, "big")),
            *(socket.inet_pton(family, source), socket.inet_pton(family, destination)),
            *(0, 0xFFFFFFFFFFFFFFFF),
        )
        with socket.socket(_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
            kernel.send(question)
            answer = kernel.recv(_ANSWER_MAX_BYTES, socket.MSG_DONTWAIT)
    except OSError:  # not for this process to know, or no such address
        return 0
    kind, unread = _ANSWER.unpack_from(answer) if len(answer) >= _ANSWER.size else (0, 0)
    return int(unread) if kind == _SOCK_DIAG_BY_FAMILY else 0
