"""The head of an answer on its way to the client."""

from __future__ import annotations

import re

from claudeops.sidecar.call import Call
from claudeops.wire.http1 import without_hop_lines, without_length

EVENT_STREAM = b"text/event-stream"
_CHUNKED = b"\r\ntransfer-encoding:"
_LENGTH = b"\r\ncontent-length:"
_OURS = b"\r\nx-claudeops-"
_OUR_LINE = re.compile(rb"\r\nx-claudeops-[^\r\n]*", re.IGNORECASE)


def whole_head(call: Call, head: bytes, size_bytes: int) -> bytes:
    """Head of an answer whose body is all there: the API's lines without those of its connection, and ours."""
    lowered = head.lower()
    head = _clean(head, lowered)
    if _CHUNKED in lowered or _LENGTH not in lowered:
        return b"%b%bcontent-length: %d\r\n\r\n" % (without_length(head), answer_lines(call), size_bytes)
    return b"%b%b\r\n" % (head, answer_lines(call))


def open_head(call: Call, head: bytes) -> tuple[bytes, bool]:
    """Head of an answer that goes on, and whether its body must be chunked."""
    lowered = head.lower()
    head = _clean(head, lowered)
    if _LENGTH in lowered and _CHUNKED not in lowered:
        return b"%b%b\r\n" % (head, answer_lines(call)), False
    if call.head.is_http10:
        return b"%b%bconnection: close\r\n\r\n" % (head, answer_lines(call)), False
    return b"%b%btransfer-encoding: chunked\r\n\r\n" % (head, answer_lines(call)), True


def answer_lines(call: Call) -> bytes:
    """``x-claudeops-*``, beginning with the end of the line before."""
    model = call.model
    lines = b"\r\n%b%d\r\nx-claudeops-context-percent: %d\r\n" % (
        model.answer_heads[call.tier],
        int(call.queue_s * 1000.0),
        int(100.0 * call.estimated_total / model.context_tokens),
    )
    if call.adjusted:
        return b"%bx-claudeops-adjusted: %b\r\n" % (lines, ",".join(call.adjusted).encode())
    return lines


def _clean(head: bytes, lowered: bytes) -> bytes:
    head = without_hop_lines(head, lowered)
    if _OURS in lowered:
        head = _OUR_LINE.sub(b"", head)
    return b"HTTP/1.1" + head[8:] if head.startswith(b"HTTP/1.0") else head
