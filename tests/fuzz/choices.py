"""Decisions read from bytes, so that one target serves hypothesis, atheris and a plain random driver alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Takes decisions off the front of ``data``; zeros when it is used up, so every choice ends somewhere simple."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """0..255."""
        at = self.at
        self.at += 1
        return self.data[at] if at < len(self.data) else 0

    def below(self, limit: int) -> int:
        """0..limit-1, for a limit of at most 65,536."""
        return self.byte() % limit if limit <= 256 else (self.byte() << 8 | self.byte()) % limit

    def one_of(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """True so often; never when the data is used up."""
        return self.byte() % 100 >= 100 - percent

    def raw(self, limit: int) -> bytes:
        """Up to so many bytes as they are."""
        size = self.below(limit)
        at, self.at = self.at, self.at + size
        return self.data[at : at + size]

    def cut(self, stream: bytes) -> list[bytes]:
        """The stream in pieces, as reads may bring it."""
        how = self.below(4)
        if how == 0:
            return [stream]
        if how == 1 and len(stream) <= 4_096:
            return [stream[at : at + 1] for at in range(len(stream))]
        pieces, at = [], 0
        for _ in range(self.below(12)):
            size = self.below(64 if how == 2 else 2_000) + 1
            pieces.append(stream[at : at + size])
            at += size
        pieces.append(stream[at:])
        return [piece for piece in pieces if piece]

    def mangle(self, stream: bytes) -> bytes:
        """A few bytes changed, inserted, left out or repeated."""
        for _ in range(self.below(3) + 1):
            at = self.below(max(1, min(len(stream), 65_536)))
            how = self.below(5)
            if how == 0:
                stream = stream[:at] + bytes([self.byte()]) + stream[at + 1 :]
            elif how == 1:
                stream = stream[:at] + self.one_of(TOKENS) + stream[at:]
            elif how == 2:
                stream = stream[:at] + stream[at + 1 + self.below(20) :]
            elif how == 3:
                stream = stream[:at] + stream[at : at + self.below(40)] + stream[at:]
            else:
                stream = stream[:at]
        return stream


TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b";", b",", b"\x00", b"\xff", b"0", b"1", b"-1", b"ffffffffffffffff", b"chunked",
    b"content-length: 3\r\n", b"Content-Length: 0\r\n", b"transfer-encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"host: y\r\n",
    b"connection: close\r\n", b"connection: x-a\r\n", b"expect: 100-continue\r\n", b"upgrade: h2c\r\nconnection: upgrade\r\n",
    b"HTTP/1.1", b"HTTP/1.0", b"GET / HTTP/1.1\r\nhost: z\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"event: ", b"data: ", b"\n\n", b"event: error\ndata: {}\n\n", b"event: message_stop\ndata: {}\n\n", b"{", b"}", b"[", b"]", b'"',
    b"\\",
    b"null", b"1e999", b"\\ud800", b'"model":', b'"stream":true,', b'"max_tokens":',
]  # fmt: skip
