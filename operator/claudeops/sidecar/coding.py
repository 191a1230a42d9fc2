"""Content codings: request bodies that come compressed, and answers that come compressed although nobody asked for it.

Upstream always gets ``accept-encoding: identity``, whatever the client takes: usage and errors must be read as they pass, and an event
of ours may have to follow. A client that takes compressed answers takes plain ones: what has no ``content-encoding`` needs no decoding,
so that also one that sends ``identity;q=0`` is answered plainly, which RFC 9110 section 12.5.3 leaves open to a server.
"""

from __future__ import annotations

import re
import zlib

CODINGS = (b"gzip", b"x-gzip", b"deflate")
"""What can be undone here. Brotli and zstd would each be a further dependency, which no SDK's client makes use of."""
PACE_BYTES = 512
_GZIP_BITS = 31
_ZLIB_BITS = 15
_RAW_BITS = -15
_HEADER_BYTES = 2
_LINES = re.compile(rb"\r\n(?:content-encoding|content-length)[ \t]*:[^\r\n]*", re.IGNORECASE)
_VALUE = re.compile(rb"\r\ncontent-encoding[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)


class Decoder:
    """Undoes one of CODINGS, piece by piece. ``failure`` says why that cannot be done, once it cannot; nothing comes out from then on."""

    __slots__ = ("coding", "failure", "has_begun", "inflate", "is_too_large", "limit_bytes", "size_bytes", "start")

    def __init__(self, coding: bytes, *, limit_bytes: int = 0) -> None:
        """`limit_bytes`: of what comes out, in all; 0 is none."""
        self.coding = coding
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.failure = ""
        self.is_too_large = False
        self.has_begun = False
        self.start = b""
        self.inflate = zlib.decompressobj(_ZLIB_BITS if coding == b"deflate" else _GZIP_BITS)

    def feed(self, data: bytes) -> bytes:
        """The plain bytes of a piece. Never makes more than the limit and one byte."""
        if self.failure or self.inflate.eof:
            return b""
        try:
            out = self._inflate(data)
        except zlib.error as error:
            self.failure = f"the body is not valid {self.coding.decode()}: {error}"
            return b""
        self.size_bytes += len(out)
        if self.limit_bytes and self.size_bytes > self.limit_bytes:
            self.is_too_large = True
            self.failure = f"the body is more than {self.limit_bytes} bytes after decoding"
            return b""
        return out

    def end(self) -> None:
        """No more pieces come."""
        if not self.failure and not self.inflate.eof:
            self.failure = f"the body is not valid {self.coding.decode()}: it ends too early"

    def _inflate(self, data: bytes) -> bytes:
        size_bytes = self.limit_bytes - self.size_bytes + 1 if self.limit_bytes else 0
        if self.has_begun:
            return self.inflate.decompress(data, size_bytes)
        data = self.start = self.start + data
        if len(data) < _HEADER_BYTES:
            return b""  # nothing can be told yet
        self.has_begun = True
        try:
            return self.inflate.decompress(data, size_bytes)
        except zlib.error:
            if self.coding != b"deflate":
                raise
        self.inflate = zlib.decompressobj(_RAW_BITS)  # what many mean by deflate
        return self.inflate.decompress(data, size_bytes)


class PacedDecoder:
    """Decodes a body that comes in parts no faster than it is taken: a part of it may become a thousand times as large."""

    __slots__ = ("at", "decoder", "part", "parts")

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.parts: list[bytes] = []
        self.part = b""
        self.at = 0

    def add(self, part: bytes) -> None:
        """The next bytes of the body."""
        self.parts.append(part)

    def take(self) -> bytes:
        """Some plain bytes, at most about half a megabyte; none while there are no more."""
        while True:
            if self.at >= len(self.part):
                if not self.parts:
                    self.part, self.at = b"", 0
                    return b""
                self.part, self.at = self.parts.pop(0), 0
            piece = self.part[self.at : self.at + PACE_BYTES]
            self.at += PACE_BYTES
            plain = self.decoder.feed(piece)
            if plain or self.decoder.failure:
                return plain


def coding_of(value: bytes) -> bytes:
    """A ``content-encoding``'s value in lower case; empty for none, which ``identity`` is."""
    coding = value.strip(b" \t").lower()
    return b"" if coding == b"identity" else coding


def head_coding(head: bytes) -> bytes:
    """The coding that an answer's head names; empty for none."""
    found = _VALUE.search(head)
    return b"" if found is None else coding_of(found.group(1))


def without_coding(head: bytes) -> bytes:
    """The head of the answer once it is decoded: its length is another one."""
    return _LINES.sub(b"", head)
