"""HTTP/1.1 message heads. llhttp (httptools) decides what is valid; what could still be read in two ways is refused here."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import httptools

from claudeops.wire.problem import BadRequest

HEAD_END: Final = b"\r\n\r\n"
HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer transfer-encoding upgrade host "
    b"content-length expect accept-encoding".split()
)
"""Request header lines that belong to one connection, and those that the sender of the next hop writes itself."""
LENGTH_DIGITS_MAX: Final = 15
REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus} | {413: b"Content Too Large", 529: b"Overloaded"}
_ONCE: Final[tuple[bytes, ...]] = (b"host", b"content-length", b"transfer-encoding")
"""Lines whose repetition two readers may resolve in two ways."""
CLOSE_LINE: Final = b"connection: close\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_HOP_LINE: Final = re.compile(
    rb"\r\n(?:connection|keep-alive|transfer-encoding|trailer|upgrade|proxy-connection|proxy-authenticate)[ \t]*:[^\r\n]*", re.IGNORECASE
)
_USUAL_HOP_LINES: Final[tuple[bytes, ...]] = (
    b"\r\nTransfer-Encoding: chunked\r\n",
    b"\r\nConnection: keep-alive\r\n",
    b"\r\ntransfer-encoding: chunked\r\n",
    b"\r\nconnection: keep-alive\r\n",
)
_HOP_NAMES: Final[tuple[bytes, ...]] = (
    b"\r\nconnection:",
    b"\r\ntransfer-encoding:",
    b"\r\nkeep-alive:",
    b"\r\ntrailer:",
    b"\r\nupgrade:",
    b"\r\nproxy-",
)
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length[ \t]*:[^\r\n]*", re.IGNORECASE)
_CONNECTION_LINE: Final = re.compile(rb"\r\nconnection[ \t]*:([^\r\n]*)", re.IGNORECASE)


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


def read_request_head(raw: bytes, is_dropped: re.Pattern[bytes]) -> RequestHead:
    """Validate and read a whole head with its final blank line; see parse_request_head for ``is_dropped``. Raises BadRequest."""
    seen = _Seen()
    try:
        httptools.HttpRequestParser(seen).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer that nobody has to take: its lines belong to this connection and are not forwarded
    except httptools.HttpParserError as error:
        raise BadRequest(f"not valid HTTP/1.1: {error}") from error
    if not seen.is_whole:
        raise BadRequest("not valid HTTP/1.1: the head does not end where it should")
    return parse_request_head(raw[:-4], is_dropped)


class _Seen:
    """What llhttp tells of a head."""

    __slots__ = ("is_whole",)

    def __init__(self) -> None:
        self.is_whole = False

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self.is_whole = True


def parse_request_head(head: bytes, is_dropped: re.Pattern[bytes]) -> RequestHead:
    """Read a head that llhttp accepted; ``forward`` leaves out hop-by-hop lines and names that ``is_dropped`` matches in full.

    Raises BadRequest for what llhttp lets pass and this reader does not: bytes that some reader takes for a line end, folded lines,
    repeated framing lines, a target that names another host, absurd lengths, transfer codings other than chunked (501).
    """
    lines = _lines(head)
    method, target, version = _request_line(lines[0])
    fields = [_field(line) for line in lines[1:]]
    values = {name: value for name, value, _ in fields}
    if len(values) != len(fields):
        _merge_repeated(fields, values)
    is_http10 = version != b"HTTP/1.1"
    _check_framing(values, is_http10=is_http10)
    nominated = {name.strip().lower() for name in values.get(b"connection", b"").split(b",")}
    keep = [
        line + b"\r\n" for name, _, line in fields if name not in HOP_BY_HOP and name not in nominated and not is_dropped.fullmatch(name)
    ]
    parsed = RequestHead(method, target, values, b"".join(keep))
    if is_http10:
        parsed.is_http10 = True
        parsed.keep_alive = False
        parsed.wants_continue = False
    return parsed


def _lines(head: bytes) -> list[bytes]:
    lines = head.split(b"\r\n")
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise BadRequest("a control character in the head")
    return lines


def _request_line(line: bytes) -> list[bytes]:
    """Method, target, version."""
    words = line.split(b" ")
    if len(words) != 3:
        raise BadRequest("not a request line")
    if words[0] == b"CONNECT" or not words[1].startswith((b"/", b"*")):
        raise BadRequest("the target is not a path")
    return words


def _merge_repeated(fields: list[tuple[bytes, bytes, bytes]], values: dict[bytes, bytes]) -> None:
    names = [name for name, _, _ in fields]
    for name in _ONCE:
        if names.count(name) > 1:
            raise BadRequest(f"more than one {name.decode()} line")
    if b"connection" in values:
        values[b"connection"] = b",".join(value for name, value, _ in fields if name == b"connection")


def _check_framing(values: dict[bytes, bytes], *, is_http10: bool) -> None:
    if b"host" not in values and not is_http10:
        raise BadRequest("no host line")
    coding = values.get(b"transfer-encoding")
    length = values.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) <= LENGTH_DIGITS_MAX):
        raise BadRequest("the content-length is not a plain number, or absurd")
    if coding is None:
        return
    if length is not None or is_http10:
        raise BadRequest("a transfer-encoding where there may be none")
    if coding.lower() != b"chunked":
        raise BadRequest("no transfer-encoding but chunked is understood", 501)


def _field(line: bytes) -> tuple[bytes, bytes, bytes]:
    """(lower-case name, value, line)."""
    name, colon, value = line.partition(b":")
    lower = name.lower()
    if not colon or not lower or lower.strip(b" \t") != lower:
        raise BadRequest("a header line without a plain name")
    return lower, value.strip(b" \t"), line


def without_hop_lines(head: bytes, lowered: bytes) -> bytes:
    """A response head (no final blank line) without the lines that belong to one connection. ``lowered`` is head.lower()."""
    for name in _HOP_NAMES:
        if name in lowered:
            break
    else:
        return head
    for line in _USUAL_HOP_LINES:
        head = head.replace(line, b"\r\n")
    for nominated in _CONNECTION_LINE.findall(head):
        for name in nominated.split(b","):
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
        b"" if keep_alive else CLOSE_LINE,
        len(body),
        body,
    )
