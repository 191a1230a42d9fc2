"""Message bodies in parts: where one ends on its way in, and how one is framed on its way out. No I/O."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Final

from claudeops.wire.http1 import LAST_CHUNK
from claudeops.wire.problem import BadRequest

JOIN_MAX_BYTES = 1_048_576
CHUNK_LINE_MAX_BYTES = 1_024
SPARE_MAX_BYTES = 65_536
"""What chunk extensions and trailers of one body may add up to: they are read and dropped."""
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CHUNK_LINE = re.compile(rb'([0-9A-Fa-f]{1,15})(?:;%b(?:=(?:%b|"[^"\\\x00-\x08\x0a-\x1f\x7f]*"))?)*' % (_TOKEN, _TOKEN))
_TRAILER_LINE = re.compile(rb"(?!(?i:content-length|transfer-encoding):)%b:[\t\x20-\x7e\x80-\xff]*" % _TOKEN)


_SIZE_LINES: Final[tuple[bytes, ...]] = tuple(b"%x\r\n" % size_bytes for size_bytes in range(1_024))
"""Of the usual chunks, which are one event of a stream: compiled, only what needs no ``%x`` is joined quickly."""


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; never empty, since that would end the body."""
    size_bytes = len(data)
    if 0 < size_bytes < len(_SIZE_LINES):
        return b"%b%b\r\n" % (_SIZE_LINES[size_bytes], data)
    return b"%x\r\n%b\r\n" % (size_bytes, data) if data else b""


class Framing:
    """Finds the end of one incoming body."""

    __slots__ = ()

    def feed(self, data: bytes, parts: list[bytes]) -> bytes | None:
        """Append the body bytes in ``data`` to ``parts``; returns what comes behind the body's end, None while it has not ended.

        Raises BadRequest where the bytes are no such body.
        """
        raise NotImplementedError


class LengthFraming(Framing):
    """A body of ``left`` bytes."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def feed(self, data: bytes, parts: list[bytes]) -> bytes | None:
        over = len(data) - self.left
        if over < 0:
            self.left = -over
            parts.append(data)
            return None
        if self.left:
            parts.append(data[: self.left] if over else data)
        self.left = 0
        return data[len(data) - over :] if over else b""


class ChunkedFraming(Framing):
    """A chunked body, read strictly: no bare line feeds, no white space around sizes. Extensions and trailers are dropped."""

    __slots__ = ("is_behind_data", "is_in_trailer", "left", "rest", "spare")

    def __init__(self) -> None:
        self.left = 0
        """Bytes that the chunk under way still has."""
        self.rest = b""
        """The beginning of a line."""
        self.spare = SPARE_MAX_BYTES
        self.is_behind_data = False
        self.is_in_trailer = False

    def feed(self, data: bytes, parts: list[bytes]) -> bytes | None:
        if self.rest:
            data, self.rest = self.rest + data, b""
        at = 0
        while True:
            if self.left:
                at = self._take_data(data, at, parts)
                if self.left:
                    return None
            end = data.find(b"\r\n", at)
            if end < 0:
                self._keep(data[at:])
                return None
            line = data[at:end]
            at = end + 2
            if self.is_behind_data:
                if line:
                    raise BadRequest("a chunk is longer than it said")
                self.is_behind_data = False
            elif not self.is_in_trailer:
                self._begin_chunk(line)
            elif line:
                self._drop_trailer(line)
            else:
                return data[at:]

    def _take_data(self, data: bytes, at: int, parts: list[bytes]) -> int:
        stop = min(len(data), at + self.left)
        if stop > at:
            parts.append(data if at == 0 and stop == len(data) else data[at:stop])
            self.left -= stop - at
        return stop

    def _keep(self, rest: bytes) -> None:
        """A line that has not ended yet."""
        begun = rest[:-1] if rest.endswith(b"\r") else rest
        if (self.is_behind_data and begun) or len(begun) > CHUNK_LINE_MAX_BYTES or b"\n" in begun:
            raise BadRequest("not a chunked body")
        self.rest = rest

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > CHUNK_LINE_MAX_BYTES:
            raise BadRequest("not a chunk size")
        digits = match.group(1)
        self._spend(len(line) - len(digits))
        self.left = int(digits, 16)
        if self.left:
            self.is_behind_data = True
        else:
            self.is_in_trailer = True

    def _drop_trailer(self, line: bytes) -> None:
        if len(line) > CHUNK_LINE_MAX_BYTES or _TRAILER_LINE.fullmatch(line) is None:
            raise BadRequest("not a trailer line")
        self._spend(len(line) + 2)

    def _spend(self, size_bytes: int) -> None:
        self.spare -= size_bytes
        if self.spare < 0:
            raise BadRequest("too many chunk extensions or trailers")


class Collector:
    """Makes one ``bytes`` of a body that comes in parts. A large one is copied once, as it arrives, and never held twice.

    ``length_bytes`` is what it will have in all, 0 where that is not known. The room for all of it is taken when an eighth has come: to
    grow into it might move it, which takes twice the room; to take it at once would let a client take it with a head alone.
    """

    __slots__ = ("have", "is_roomy", "large", "length_bytes", "parts")

    def __init__(self, length_bytes: int = 0) -> None:
        self.length_bytes = length_bytes
        self.have = 0
        self.large: BytesIO | None = None
        self.is_roomy = False
        self.parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """The next bytes."""
        self.have += len(part)
        if self.large is None:
            self.parts.append(part)
            if self.have > JOIN_MAX_BYTES:
                self.large = BytesIO()
                self.large.writelines(self.parts)
                self.parts = []
        else:
            self.large.write(part)
            if not self.is_roomy and self.have * 8 >= self.length_bytes:
                self._make_room(self.large)

    def take(self) -> bytes:
        """The whole body; the collector is empty afterwards."""
        large, self.large = self.large, None
        parts, self.parts = self.parts, []
        self.have = 0
        if large is not None:
            return large.getvalue()  # CPython hands out the buffer itself: no copy
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _make_room(self, large: BytesIO) -> None:
        self.is_roomy = True
        if self.have < self.length_bytes:
            large.seek(self.length_bytes - 1)
            large.write(b"\0")
            large.seek(self.have)


class Outgoing:
    """Frames a body that is sent in parts: by ``length_bytes`` where it is known, chunked where it is not (None)."""

    __slots__ = ("is_chunked", "is_ended", "is_held_up", "left")

    def __init__(self, length_bytes: int | None) -> None:
        self.is_chunked = length_bytes is None
        self.is_ended = False
        self.is_held_up = False
        """The socket it is written to is full."""
        self.left = 0 if length_bytes is None else length_bytes

    def head_end(self) -> bytes:
        """The framing line, and the end of the head."""
        return b"transfer-encoding: chunked\r\n\r\n" if self.is_chunked else b"content-length: %d\r\n\r\n" % self.left

    def frame(self, data: bytes) -> bytes:
        """The next bytes as they are to be written. Raises ValueError for more than was announced, and behind the end."""
        if self.is_ended or (not self.is_chunked and len(data) > self.left):
            raise ValueError("more body than was announced")
        if self.is_chunked:
            return chunk(data)
        self.left -= len(data)
        return data

    def end(self) -> bytes:
        """What ends the body. Raises ValueError if it is shorter than was announced."""
        if self.left or self.is_ended:
            raise ValueError("the body does not end here")
        self.is_ended = True
        return LAST_CHUNK if self.is_chunked else b""
