"""Heads between HTTP/1.1, which the rest of the proxy speaks, and HTTP/2. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from claudeops.wire.http1 import REASONS

GOAWAY: Final = 7
FRAME_HEAD_BYTES: Final = 9
_CONNECTION_NAMES: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"))
_UNSAFE: Final = re.compile(rb"[\r\n\0]")
Headers = list[tuple[bytes, bytes]]


def request_headers(head: bytes, scheme: bytes) -> Headers:
    """From a request head as HTTP/1.1 writes it, blank line and all."""
    lines = head.split(b"\r\n")
    method, target, _ = lines[0].split(b" ")
    authority = b""
    fields: Headers = []
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"host":
            authority = value.strip(b" \t")
        elif name and name not in _CONNECTION_NAMES:
            fields.append((name, value.strip(b" \t")))
    return [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", target), *fields]


def answer_head(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Status, and the head as HTTP/1.1 writes it, without its blank line. Raises ValueError for what cannot stand in one."""
    status = 0
    lines: list[bytes] = [b""]
    for name, value in headers:
        if name == b":status":
            status = int(value)
        elif _UNSAFE.search(name) or _UNSAFE.search(value):
            raise ValueError("a header with a line end in it")
        elif name not in _CONNECTION_NAMES:
            lines.append(b"%b: %b" % (name, value))
    if not 200 <= status <= 599:
        raise ValueError(f"status {status}")
    lines[0] = b"HTTP/1.1 %d %b" % (status, REASONS.get(status, b"-"))
    return status, b"\r\n".join(lines)


def split_goaway(data: bytes, frame_max_bytes: int) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """Whole frames without GOAWAY, the rest that is no whole frame yet, and (last stream, error code) of each GOAWAY.

    They are taken out since h2 4.4 counts a connection as closed at the first one, while what runs may still end (RFC 9113 section 6.8).
    Raises ValueError for a frame larger than allowed.
    """
    at = start = 0
    kept: list[bytes] = []
    found: list[tuple[int, int]] = []
    while len(data) - at >= FRAME_HEAD_BYTES:
        size = int.from_bytes(data[at : at + 3], "big")
        if size > frame_max_bytes:
            raise ValueError("a frame larger than announced")
        end = at + FRAME_HEAD_BYTES + size
        if end > len(data):
            break
        if data[at + 3] == GOAWAY:
            if size < 8:
                raise ValueError("a GOAWAY frame without its numbers")
            body = at + FRAME_HEAD_BYTES
            kept.append(data[start:at])
            found.append((int.from_bytes(data[body : body + 4], "big") & 0x7FFF_FFFF, int.from_bytes(data[body + 4 : body + 8], "big")))
            start = end
        at = end
    kept.append(data[start:at])
    return (kept[0] if len(kept) == 1 else b"".join(kept)), data[at:], found
