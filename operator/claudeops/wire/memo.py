"""Request heads seen before: their bytes, but for the length, say all that the parser would find out again."""

from __future__ import annotations

from claudeops.wire.http1 import LENGTH_DIGITS_MAX, RequestHead

ENTRIES = 1_024
HEAD_BYTES = 8_192
"""Of a longer head nothing is remembered: a thousand of the longest would fill the pod."""
_LENGTH_NAMES = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")


def memo_key(data: bytes, end: int) -> tuple[bytes, int] | None:
    """The head with its content-length digits cut out, and those digits; None where the head has no plain length line."""
    at = data.find(b"ength: ", 0, end) + 7
    if at < 18 or data[at - 18 : at] not in _LENGTH_NAMES:  # in this order: compiled, bytes[8:6] is an error
        return None
    stop = data.find(b"\r", at, end + 1)
    digits = data[at:stop]
    if not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
        return None
    return data[:at] + data[stop:end], int(digits)


def remember(memo: dict[bytes, RequestHead], key: bytes, head: RequestHead) -> None:
    """Later heads with these bytes skip the parser."""
    if len(key) > HEAD_BYTES:
        return
    if len(memo) >= ENTRIES:
        memo.clear()
    memo[key] = head
