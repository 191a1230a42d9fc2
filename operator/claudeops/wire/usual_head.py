"""The head of an answer that is like the ones before it: what llhttp has said of those holds for it too.

An API answers with the same lines, of which only some values change: the request's id, the date, what is left of its limits, the length.
"""

from __future__ import annotations

from typing import Final

from claudeops.wire.http1 import LENGTH_DIGITS_MAX

HEAD_BYTES: Final = 8_192
_STATUS_LINE: Final = b"HTTP/1.1 200 "
_LENGTH: Final = b"content-length:"
_FRAMING: Final = frozenset((b"connection:", b"keep-alive:", b"proxy-connection:", b"trailer:", b"transfer-encoding:", b"upgrade:"))
"""Lines whose values say how the answer or its connection goes on: a head with one of them is never usual."""
_SPACE: Final = 0x20
_PLAIN: Final = bytes(range(_SPACE, 0x7F))


class UsualHead:
    """Knows a head again: the same bytes, but for some values, which must be printable ASCII, and the length, which must be true.

    What decides of the framing is thus what llhttp has taken before, or a number that is compared with what has come.
    """

    __slots__ = ("changing", "is_plain", "length_at", "lines", "names", "sizes", "texts")

    def __init__(self, lines: list[bytes], names: list[bytes], changing: set[int], *, length_at: int) -> None:
        self.lines = lines
        self.names = names
        self.changing = changing
        """The lines whose values have been seen to change, and that of the length."""
        self.texts: list[bytes] = []
        """What stands before, between and behind these values."""
        self.sizes: list[int] = []
        """Of these values, as they were last: most have always the same."""
        self.length_at = sorted(changing).index(length_at)
        """Among these values."""
        self.is_plain: bool | None = None
        """For the transit to note that it passes such heads on as they are; it depends on nothing but the names."""
        text = b""
        for index, line in enumerate(lines):
            if index in changing:
                self.texts.append(text + names[index])
                self.sizes.append(len(line) - len(names[index]))
                text = b"\r\n"
            else:
                text += line + b"\r\n"
        self.texts.append(text + b"\r\n")

    def head_of(self, data: bytes) -> bytes:
        """The head (without its blank line) of a whole answer, with nothing behind it; empty where `data` is anything else."""
        texts, sizes = self.texts, self.sizes
        if not data.startswith(texts[0]):
            return b""
        at = len(texts[0])
        values = []
        for index, size in enumerate(sizes):
            text = texts[index + 1]
            end = at + size
            if data[end : end + len(text)] != text:
                end = data.find(b"\r", at)
                if end < 0 or data[end : end + len(text)] != text:
                    return b""
                sizes[index] = end - at
            values.append(data[at:end])
            at = end + len(text)
        if values[self.length_at] != b"%d" % (len(data) - at) or b"".join(values).translate(None, _PLAIN):
            return b""
        return data[: at - 4]


def usual_head(head: bytes, last: UsualHead | None) -> UsualHead | None:
    """What the next answers will be held against: the head of a whole one, as llhttp has taken it, and what `last` knows of the values
    that change. None for a head of another kind."""
    if len(head) > HEAD_BYTES or not head.startswith(_STATUS_LINE):
        return None
    lines = head.split(b"\r\n")
    names = [lines[0], *(line[: line.find(b":") + 1] for line in lines[1:])]
    length_at = _length_at(names)
    if length_at < 0:
        return None
    names[length_at] += b" "
    if not _is_length(lines[length_at].removeprefix(names[length_at])):
        return None
    if last is None or last.names != names:
        return UsualHead(lines, names, {length_at}, length_at=length_at)
    usual = UsualHead(lines, names, last.changing | _changed(last.lines, lines), length_at=length_at)
    usual.is_plain = last.is_plain
    return usual


def _length_at(names: list[bytes]) -> int:
    """The place of the one line that says where the answer ends; -1 if others do, or a line is not a name and its value."""
    lowered = [name.lower() for name in names]
    if lowered.count(_LENGTH) != 1 or not _FRAMING.isdisjoint(lowered) or any(not name or name[0] <= _SPACE for name in names):
        return -1
    return lowered.index(_LENGTH)


def _is_length(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= LENGTH_DIGITS_MAX


def _changed(before: list[bytes], after: list[bytes]) -> set[int]:
    return {index for index, line in enumerate(after) if line != before[index]}
