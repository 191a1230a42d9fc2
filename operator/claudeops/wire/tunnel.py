"""A way through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), on the bare socket, before TLS with the upstream begins."""

from __future__ import annotations

import re
import socket
from asyncio import AbstractEventLoop
from base64 import b64encode
from typing import Final

from claudeops.wire.http1 import HEAD_END

MAX_HEAD_BYTES: Final = 16_384
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?\r\n")


async def open_tunnel(loop: AbstractEventLoop, sock: socket.socket, host: str, port: int, *, login: str = "") -> None:
    """Ask the proxy at the other end of ``sock`` for the upstream; afterwards the socket is the upstream's. ``login``: user:password.

    Raises OSError with the proxy's own words where it refuses.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await loop.sock_sendall(sock, f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n".encode() + _authorization(login) + b"\r\n")
    head = b""
    while HEAD_END not in head:
        part = await loop.sock_recv(sock, 4096)
        if not part:
            raise OSError(f"the proxy closed the connection instead of opening a tunnel to {authority}")
        head += part
        if len(head) > MAX_HEAD_BYTES:
            raise OSError("the proxy's answer to CONNECT has no end")
    check_answer(head, authority)


def _authorization(login: str) -> bytes:
    return b"proxy-authorization: Basic %b\r\n" % b64encode(login.encode()) if login else b""


def check_answer(head: bytes, authority: str) -> None:
    """Raises OSError unless ``head`` (with its blank line, and what came behind it) opens the tunnel."""
    status = _STATUS_LINE.match(head)
    if status is None:
        raise OSError("the proxy's answer to CONNECT is not HTTP/1.1")
    if not status[1].startswith(b"2"):
        words = b" ".join(part for part in status.groups() if part).decode("latin-1")
        hint = "; write user:password under the key proxy-credentials of the workload's Secret" if status[1] == b"407" else ""
        raise OSError(f"the proxy refused a tunnel to {authority}: {words}{hint}")
    if not head.endswith(HEAD_END):
        raise OSError("the proxy sent bytes into the tunnel before the upstream was asked anything")
