"""The head of an answer on its way to the client."""

from __future__ import annotations

import re
from typing import Final

from claudeops.sidecar.call import Call
from claudeops.sidecar.failure import Failure
from claudeops.wire.http1 import CLOSE_LINE, without_hop_lines, without_length

EVENT_STREAM: Final = b"text/event-stream"
_SPECIAL: Final = re.compile(
    rb"\n(?=[cCtTkKuUpPxX])"
    rb"(?i:(content-length(?=:)|transfer-encoding|connection|keep-alive|trailer|upgrade|proxy-connection|proxy-authenticate|x-claudeops-))"
)
"""Lines that may not simply be passed on, and some whose names only begin so; the length must be one. One search for all of them: most
heads have a length only. It begins with one plain byte and a look at the next, which makes it three times as fast."""
_BODILESS: Final[tuple[bytes, ...]] = (b"204", b"304")
"""Answers that have no body, and whose length is nobody's to add (RFC 9110 section 8.6). Interim ones do not come here."""
_LENGTH_ONLY: Final[tuple[list[bytes], ...]] = ([b"content-length"], [b"Content-Length"])
_CHUNKED_ONLY: Final[tuple[list[bytes], ...]] = ([b"transfer-encoding"], [b"Transfer-Encoding"])
_CHUNKED_LINES: Final[tuple[bytes, ...]] = (b"\r\ntransfer-encoding: chunked", b"\r\nTransfer-Encoding: chunked")
_RETRY_LINE: Final = re.compile(rb"\r\nx-should-retry:[^\r\n]*", re.IGNORECASE)
_OUR_LINE: Final = re.compile(rb"\r\nx-claudeops-[^\r\n]*", re.IGNORECASE)


def whole_head(call: Call, head: bytes, size_bytes: int) -> bytes:
    """Head of an answer whose body is all there: the API's lines without those of its connection, and ours."""
    usual = call.usual
    is_plain = None if usual is None else usual.is_plain
    if is_plain is None:
        is_plain = _SPECIAL.findall(head) in _LENGTH_ONLY and head.startswith(b"HTTP/1.1")
        if usual is not None:
            usual.is_plain = is_plain
    if is_plain:
        return b"%b%b\r\n" % (head, answer_lines(call))
    return b"%b%b%b\r\n" % (without_length(_clean(head)), answer_lines(call), _length_line(head, size_bytes))


def open_head(call: Call, head: bytes) -> tuple[bytes, bool]:
    """Head of an answer that goes on, and whether its body must be chunked.

    The length of a stream is not passed on: one that breaks off ends with an event of ours, and so with another length.
    """
    found = _SPECIAL.findall(head)
    special = {name.lower() for name in found}
    head = (_without_chunked(head) if found in _CHUNKED_ONLY else b"") or _clean(head)
    lines = answer_lines(call)
    if b"content-length" in special:
        if EVENT_STREAM not in head and b"transfer-encoding" not in special:
            return b"%b%b\r\n" % (head, lines), False
        head = without_length(head)
    if call.head.is_http10:
        return b"%b%b%b\r\n" % (head, lines, b"" if CLOSE_LINE in lines else CLOSE_LINE), False
    return b"%b%btransfer-encoding: chunked\r\n\r\n" % (head, lines), True


def passed_head(call: Call, head: bytes, *, size_bytes: int | None, is_last: bool) -> tuple[bytes, bool]:
    """Head of an answer that is passed on as it comes, whatever its status, and whether its body must be chunked.

    `size_bytes`: None where more is to come. `is_last`: the connection ends with it. Only ``x-claudeops-queue-ms`` is ours.
    """
    special = {name.lower() for name in _SPECIAL.findall(head)}
    has_length = b"content-length" in special and b"transfer-encoding" not in special
    is_chunked = not has_length and size_bytes is None and not call.head.is_http10
    lines = b"\r\nx-claudeops-queue-ms: %d\r\n" % (call.queue_s * 1000.0)
    if is_last:
        lines += CLOSE_LINE
    if is_chunked:
        lines += b"transfer-encoding: chunked\r\n"
    elif size_bytes is not None and not has_length:
        lines += _length_line(head, size_bytes)
    head = without_length(_clean(head)) if not has_length else _clean(head)
    return b"%b%b\r\n" % (head, lines), is_chunked


def failed_head(call: Call, failure: Failure) -> bytes:
    """Head of the API's own refusal. A spend limit tells the SDKs that no repetition changes it, whatever it told them before."""
    head = failure.head
    if failure.is_spend:
        head = _RETRY_LINE.sub(b"", head) + b"\r\nx-should-retry: false"
    return whole_head(call, head, len(failure.body))


def answer_lines(call: Call) -> bytes:
    """``x-claudeops-*``, beginning with the end of the line before. How full the context is stays unsaid where nobody has counted or
    estimated: of what is no message."""
    model = call.model
    adjusted = f"x-claudeops-adjusted: {','.join(call.adjusted)}\r\n".encode() if call.adjusted else b""
    prompt = float(call.usage.first_prompt) or call.estimated_total
    if not prompt:
        return b"\r\n%b%d\r\n%b" % (model.answer_heads[call.tier], int(call.queue_s * 1000.0), adjusted)
    return b"\r\n%b%d\r\nx-claudeops-context-percent: %d\r\n%b" % (
        model.answer_heads[call.tier],
        int(call.queue_s * 1000.0),
        int(100.0 * prompt / model.context_tokens),
        adjusted,
    )


def _length_line(head: bytes, size_bytes: int) -> bytes:
    return b"" if head[9:12] in _BODILESS else b"content-length: %d\r\n" % size_bytes


def _without_chunked(head: bytes) -> bytes:
    """A stream's head as most are, without the one line that may not be passed on; empty for any other head."""
    for line in _CHUNKED_LINES:
        at = head.find(line)
        rest = head[at + len(line) :]
        if at >= 0 and (not rest or rest.startswith(b"\r\n")) and head.startswith(b"HTTP/1.1"):
            return head[:at] + rest
    return b""


def _clean(head: bytes) -> bytes:
    head = _OUR_LINE.sub(b"", without_hop_lines(head, head.lower()))
    return b"HTTP/1.1" + head[8:] if head.startswith(b"HTTP/1.0") else head
