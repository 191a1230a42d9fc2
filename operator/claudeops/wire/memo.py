"""Request heads seen before: their bytes, but for the length, say all that the parser would find out again."""

from __future__ import annotations

from typing import Final

from claudeops.wire.http1 import HEAD_END, LENGTH_DIGITS_MAX, RequestHead

ENTRIES: Final = 1_024
HEAD_BYTES: Final = 8_192
"""Of a longer head nothing is remembered: a thousand of the longest would fill the pod."""
_LENGTH: Final = b"ength: "
_LENGTH_NAMES: Final[tuple[bytes, ...]] = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")


REPEAT_BYTES: Final = 2_048


class Repeat:
    """The head of a connection's last request: most clients send the same with every request, but for the length.

    It is found without looking for its end, at a sixth of the memo's cost.
    """

    __slots__ = ("after", "before", "digits", "head")

    def __init__(self, key: bytes, head: RequestHead, length: int) -> None:
        at = key.find(_LENGTH) + len(_LENGTH)
        self.before = key[:at]
        self.after = key[at:] + HEAD_END
        self.digits = len(b"%d" % length)
        self.head = head

    def body_at(self, data: bytes) -> int:
        """Where the body begins in a request with this head that is whole, and alone in `data`; 0 for everything else."""
        if not data.startswith(self.before):
            return 0
        at = len(self.before)
        body_at = at + self.digits + len(self.after)
        size_bytes = len(data) - body_at
        if size_bytes < 0 or data[at:body_at] != b"%d%b" % (size_bytes, self.after):
            return 0
        return body_at


def memo_key(data: bytes, end: int) -> tuple[bytes, int] | None:
    """The head with its content-length digits cut out, and those digits; None where the head has no plain length line."""
    at = data.find(_LENGTH, 0, end) + len(_LENGTH)
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
