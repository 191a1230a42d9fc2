"""The head of an answer that is like the ones before it: what llhttp has said of those holds for it too.

An API answers with the same lines, of which only some values change: the request's id, the date, what is left of its limits, the length.
"""

from __future__ import annotations

from typing import Final

from claudeops.wire.http1 import HEAD_END, LENGTH_DIGITS_MAX

HEAD_BYTES: Final = 8_192
_STATUS_LINE: Final = b"HTTP/1.1 200 "
_LENGTH: Final = b"content-length:"
_FRAMING: Final = frozenset((b"connection:", b"keep-alive:", b"proxy-connection:", b"trailer:", b"transfer-encoding:", b"upgrade:"))
"""Lines whose values say how the answer or its connection goes on: a head with one of them is never usual."""
_PLAIN: Final = bytes(range(0x20, 0x7F))


class UsualHead:
    """Knows a head again by its lines: the same names in the same order, values of printable ASCII, and the one length line true.

    What decides of the framing is thus what llhttp has taken before, but for a number that is compared with what has come.
    """

    __slots__ = ("end", "is_plain", "length_at", "lines", "names")

    def __init__(self, lines: list[bytes], names: list[bytes], length_at: int) -> None:
        self.end = len(b"\r\n".join(lines))
        self.lines = lines
        """Of the last such head."""
        self.names = names
        self.length_at = length_at
        self.is_plain: bool | None = None
        """For the transit to note that it passes such heads on as they are; it depends on nothing but the names."""

    def head_of(self, data: bytes) -> bytes:
        """The head (without its blank line) of a whole answer, with nothing behind it; empty where `data` is anything else."""
        end = self.end
        if data[end : end + 4] != HEAD_END:  # as it is where the values are as long as they were
            end = data.find(HEAD_END)
        head = data[:end]
        lines, known, names = head.split(b"\r\n"), self.lines, self.names
        if len(lines) != len(known):
            return b""
        has_changed = False
        for index, line in enumerate(lines):
            if line != known[index]:
                if not line.startswith(names[index]):
                    return b""
                has_changed = True
        at = self.length_at
        if lines[at] != b"%b%d" % (names[at], len(data) - end - 4):
            return b""
        if has_changed:
            if b"".join(lines).translate(None, _PLAIN):
                return b""
            self.end = end
            self.lines = lines
        return head


def usual_head(head: bytes) -> UsualHead | None:
    """What the next answers will be held against: the head of a whole one, as llhttp has taken it. None for a head of another kind."""
    if len(head) > HEAD_BYTES or not head.startswith(_STATUS_LINE):
        return None
    lines = head.split(b"\r\n")
    names = [lines[0], *(line[: line.find(b":") + 1] for line in lines[1:])]
    lowered = [name.lower() for name in names]
    if lowered.count(_LENGTH) != 1 or not _FRAMING.isdisjoint(lowered):
        return None
    length_at = lowered.index(_LENGTH)
    names[length_at] += b" "
    digits = lines[length_at].removeprefix(names[length_at])
    if not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
        return None
    return UsualHead(lines, names, length_at)
