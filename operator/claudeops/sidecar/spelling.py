"""The spellings of an event stream: the API writes ``event: name``, ``data: json`` and a blank line, each ended by a line feed.

What stands between it and here may write the same events in other ways, all of which a client's parser takes (WHATWG HTML, section 9.2.6):
CRLF or CR as line ends, no space behind the colon, a byte order mark, comments, further fields, data in several lines. Such a stream is
passed on as it is, and read in the API's spelling.
"""

from __future__ import annotations

import re
from typing import Final

TAIL_MAX_BYTES: Final = 65_536
FIRST_LINE_MAX_BYTES: Final = 256
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_USUAL_FIRST_LINE: Final = re.compile(rb"event: [^\r\n]*\n")
_USUAL_START: Final = b"event: "
_BEGUN_LINE: Final = re.compile(rb"event: [^\r\n]*")


def is_usual(data: bytes) -> bool | None:
    """Does a stream that begins with these bytes have the API's spelling? None: too few to tell."""
    if _USUAL_FIRST_LINE.match(data) is not None:
        return True
    if BYTE_ORDER_MARK.startswith(data) or _USUAL_START.startswith(data):
        return None
    return None if len(data) < FIRST_LINE_MAX_BYTES and _BEGUN_LINE.fullmatch(data) is not None else False


class Respelling:
    """Fed with the pieces of one stream from its beginning, gives its whole events in the API's spelling: without comments, and with
    nothing of an event but its name and data. Of an event of more than 64 KiB the end is kept, and what it was is lost."""

    __slots__ = ("has_begun", "is_behind_return", "tail")

    def __init__(self) -> None:
        self.tail = b""
        """What has come of the event under way, its lines ended by line feeds."""
        self.has_begun = False
        self.is_behind_return = False

    def feed(self, data: bytes) -> bytes:
        """The events that are whole now."""
        text = self.tail + self._lines(data)
        end = text.rfind(b"\n\n") + 2
        if end == 1:
            end = 0
        self.tail = text[end:][-TAIL_MAX_BYTES:].lstrip(b"\n") if end else text[-TAIL_MAX_BYTES:]
        return b"".join(map(_respelled, text[:end].split(b"\n\n")))

    def rest(self) -> bytes:
        """The stream is over: its last event, if only the blank line behind it is missing."""
        tail, self.tail = self.tail, b""
        return _respelled(tail) if tail.rstrip().endswith(b"}") else b""

    def _lines(self, data: bytes) -> bytes:
        """With line feeds as line ends; a CRLF may be cut in two."""
        if not self.has_begun and data:
            self.has_begun = True
            data = data.removeprefix(BYTE_ORDER_MARK)
        if self.is_behind_return and data:
            data = data.removeprefix(b"\n")
            self.is_behind_return = False
        if data.endswith(b"\r"):
            self.is_behind_return = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _respelled(event: bytes) -> bytes:
    """One event; nothing where there is no data, since a client's parser drops that too."""
    name = b""
    data: list[bytes] = []
    for line in event.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    return b"event: %b\ndata: %b\n\n" % (name, b" ".join(data)) if data else b""
