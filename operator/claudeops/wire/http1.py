"""HTTP/1.1 message heads. llhttp (httptools) decides what is valid; these functions only read what it accepted."""

from __future__ import annotations

import re
from http import HTTPStatus

HEAD_END = b"\r\n\r\n"
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer transfer-encoding upgrade host "
    b"content-length expect accept-encoding".split()
)
"""Request header lines that belong to one connection, and those that the sender of the next hop writes itself."""
LENGTH_DIGITS_MAX = 15
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {413: b"Content Too Large", 529: b"Overloaded"}
_LENGTH_NAMES = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")
LAST_CHUNK = b"0\r\n\r\n"
_HOP_LINE = re.compile(
    rb"\r\n(?:connection|keep-alive|transfer-encoding|trailer|upgrade|proxy-connection|proxy-authenticate)[ \t]*:[^\r\n]*", re.IGNORECASE
)
_USUAL_HOP_LINES = (
    b"\r\nTransfer-Encoding: chunked\r\n",
    b"\r\nConnection: keep-alive\r\n",
    b"\r\ntransfer-encoding: chunked\r\n",
    b"\r\nconnection: keep-alive\r\n",
)
_HOP_NAMES = (b"\r\nconnection:", b"\r\ntransfer-encoding:", b"\r\nkeep-alive:", b"\r\ntrailer:", b"\r\nupgrade:", b"\r\nproxy-")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length[ \t]*:[^\r\n]*", re.IGNORECASE)
_CONNECTION_LINE = re.compile(rb"\r\nconnection[ \t]*:([^\r\n]*)", re.IGNORECASE)


class RequestHead:
    """One parsed request head. Immutable after parsing, so equal byte blocks share one instance."""

    __slots__ = (
        "forward", "is_chunked", "is_http10", "keep_alive", "length", "method", "note", "path", "target", "values", "wants_continue",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, values: dict[bytes, bytes], forward: bytes) -> None:
        self.method = method
        self.target = target
        self.path = target.partition(b"?")[0]
        self.values = values
        """Lower-case name → value; of repeated names the last."""
        self.forward = forward
        """End-to-end header lines as they came, each with its line end."""
        self.is_http10 = False
        self.keep_alive = b"close" not in values.get(b"connection", b"").lower()
        self.is_chunked = b"transfer-encoding" in values
        self.wants_continue = b"expect" in values
        self.length = int(values.get(b"content-length", b"0") or b"0")
        self.note: object = None
        """A place for the application to keep what it derived from these headers."""


def parse_request_head(head: bytes, is_dropped: re.Pattern[bytes]) -> RequestHead:
    """Read a head that llhttp accepted; ``forward`` leaves out hop-by-hop lines and names that ``is_dropped`` matches in full.

    Raises ValueError for what llhttp lets pass and this reader does not: folded lines, spaces in the request line, absurd lengths.
    """
    lines = head.split(b"\r\n")
    method, target, version = lines[0].split(b" ")
    fields = [_field(line) for line in lines[1:]]
    values = {name: value for name, value, _ in fields}
    if len(values.get(b"content-length", b"")) > LENGTH_DIGITS_MAX:
        raise ValueError("an absurd content-length")
    nominated = {name.strip().lower() for name in values.get(b"connection", b"").split(b",")}
    keep = [
        line + b"\r\n" for name, _, line in fields if name not in HOP_BY_HOP and name not in nominated and not is_dropped.fullmatch(name)
    ]
    parsed = RequestHead(method, target, values, b"".join(keep))
    if version != b"HTTP/1.1":
        parsed.is_http10 = True
        parsed.keep_alive = False
    return parsed


def _field(line: bytes) -> tuple[bytes, bytes, bytes]:
    """(lower-case name, value, line)."""
    name, colon, value = line.partition(b":")
    lower = name.lower()
    if not colon or not lower or lower.strip(b" \t") != lower:
        raise ValueError("a header line without a plain name")
    return lower, value.strip(b" \t"), line


def memo_key(data: bytes, end: int) -> tuple[bytes, int] | None:
    """The head with its content-length digits cut out, and those digits; None where the head has no plain length line."""
    at = data.find(b"ength: ", 0, end) + 7
    if data[at - 18 : at] not in _LENGTH_NAMES or at < 18:
        return None
    stop = data.find(b"\r", at, end + 1)
    digits = data[at:stop]
    if not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
        return None
    return data[:at] + data[stop:end], int(digits)


def without_hop_lines(head: bytes, lowered: bytes) -> bytes:
    """A response head (no final blank line) without the lines that belong to one connection. ``lowered`` is head.lower()."""
    for name in _HOP_NAMES:
        if name in lowered:
            break
    else:
        return head
    for line in _USUAL_HOP_LINES:
        head = head.replace(line, b"\r\n")
    nominated = _CONNECTION_LINE.search(head)
    if nominated is not None:
        for name in nominated.group(1).split(b","):
            name = name.strip()
            if name and name.lower() not in (b"keep-alive", b"close", b"content-length"):
                head = re.sub(rb"(?i)\r\n" + re.escape(name) + rb"[ \t]*:[^\r\n]*", b"", head)
    return _HOP_LINE.sub(b"", head)


def without_length(head: bytes) -> bytes:
    """A head without its content-length line."""
    return _LENGTH_LINE.sub(b"", head)


def header(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """The value of one header line in a validated head, b"" if absent. ``lowered`` is head.lower(), ``name`` lower-case."""
    at = lowered.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    stop = head.find(b"\r\n", at)
    return (head[at:] if stop < 0 else head[at:stop]).strip(b" \t")


def json_answer(status: int, body: bytes, *, extra: bytes = b"", keep_alive: bool = True) -> bytes:
    """A whole JSON answer of our own. ``extra``: further header lines, each with its line end."""
    return b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
        status,
        REASONS.get(status, b"-"),
        extra,
        b"" if keep_alive else b"connection: close\r\n",
        len(body),
        body,
    )


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; never empty, since that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
