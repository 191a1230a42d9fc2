"""Fuzz target: the client side's framing. Valid requests arrive as they were sent; others are refused; cutting changes nothing; and
whatever is accepted, llhttp reads the same way from the same bytes."""

from __future__ import annotations

from random import Random

import httptools
from tests.fuzz.choices import Choices
from tests.wire_harness import Seen, serve

from claudeops.wire.body import chunk

METHODS = [b"POST", b"GET", b"PUT", b"HEAD", b"OPTIONS"]
LINES = [
    b"x-a: b\r\n", b"Accept: */*\r\n", b"connection: keep-alive\r\n", b"Connection: x-hop\r\nx-hop: 1\r\n", b"x-api-key: k\r\n",
    b"x-empty:\r\n", b"X-Bytes: \xe9\x80\r\n", b"x-strength: 7\r\n", b"expect: 100-continue\r\n", b"X-A: c\r\n",
]  # fmt: skip
REFUSALS = {400, 413, 431, 501}
MAX_BODY_BYTES = 3_000


def check(data: bytes) -> None:
    """One connection."""
    choices = Choices(data)
    sent: list[tuple[bytes, bytes, bytes]] = []
    stream = b"".join(_request(choices, sent) for _ in range(choices.below(4) + 1))
    is_valid = not choices.chance(70)
    if not is_valid:
        stream = choices.mangle(stream)
    is_late = bool(choices.below(2))
    whole = serve([stream], is_late=is_late, max_body_bytes=MAX_BODY_BYTES)
    for _ in range(2):
        parts = serve(choices.cut(stream), is_late=is_late, max_body_bytes=MAX_BODY_BYTES)
        assert parts == whole, f"cut, it is {parts}; whole, {whole}"
    if max((len(body) for *_, body in whole.requests), default=0) <= MAX_BODY_BYTES and 413 not in whole.statuses:
        taken = serve(choices.cut(stream), is_late=is_late, slows=Random(choices.byte()))
        assert taken == whole, f"in parts, it is {taken}; whole, {whole}"
    got = [(method, target, body) for method, target, _, body in whole.requests]
    assert not is_valid or (got == sent and set(whole.statuses) <= {200}), f"{got} instead of {sent}: {whole.statuses}"
    _check_answers(whole)
    _check_forwarded(whole)
    if b"pgrade" not in stream:
        reference = _read_by_llhttp(stream)
        assert got == reference[: len(got)], f"{got}, and llhttp reads {reference}"


def _request(choices: Choices, sent: list[tuple[bytes, bytes, bytes]]) -> bytes:
    method, target = choices.one_of(METHODS), choices.one_of([b"/", b"/v1/messages", b"/v1/messages?beta=true", b"/x?y=%20"])
    body = choices.one_of([b"", b"{}", b"hello", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n\r\n", bytes(range(256)) * 8])
    lines = b"".join(choices.one_of(LINES) for _ in range(choices.below(4)))
    head = b"%b %b HTTP/1.1\r\nHost: x\r\n%b" % (method, target, lines)
    sent.append((method, target, body))
    if choices.below(2):
        return b"\r\n" * choices.below(3) + _in_chunks(choices, head, body)
    name = choices.one_of([b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
    length = b"" if not body and choices.below(2) else b"%b: %b%d\r\n" % (name, b"0" * choices.below(3), len(body))
    return b"%b%b\r\n%b" % (head, length, body)


def _in_chunks(choices: Choices, head: bytes, body: bytes) -> bytes:
    out, at = [head, b"Transfer-Encoding: Chunked\r\n\r\n"], 0
    while at < len(body):
        size = choices.below(300) + 1
        part = body[at : at + size]
        out.append(chunk(part) if choices.below(3) else b"%X;a=b;c\r\n%b\r\n" % (len(part), part))
        at += size
    out.append(b"000\r\n" if choices.below(2) else b"0;x\r\n")
    out.append(b"x-trailer: y\r\n" * choices.below(3) + b"\r\n")
    return b"".join(out)


def _check_answers(seen: Seen) -> None:
    refused = [status for status in seen.statuses if status != 200]
    assert set(refused) <= REFUSALS
    assert len(refused) <= 1 and (not refused or seen.statuses[-1] == refused[0])
    assert len(seen.statuses) == len(seen.requests) + len(refused)
    assert seen.is_closed or not refused


def _check_forwarded(seen: Seen) -> None:
    """The lines that go on hold no second framing and no second message."""
    for _, _, forward, _ in seen.requests:
        assert b"\r\n\r\n" not in forward and b"\n" not in forward.replace(b"\r\n", b"")
        names = {line.partition(b":")[0].lower() for line in forward.split(b"\r\n")}
        assert not names & {b"content-length", b"transfer-encoding", b"connection", b"host", b"expect"}
        assert len(_read_by_llhttp(b"POST / HTTP/1.1\r\nhost: y\r\n%bcontent-length: 0\r\n\r\n" % forward)) == 1


class _Reader:
    """What llhttp makes of a stream."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.found: list[tuple[bytes, bytes, bytes]] = []
        self.target = self.body = b""

    def on_message_begin(self) -> None:
        self.target = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method(), self.target, self.body))


def _read_by_llhttp(stream: bytes) -> list[tuple[bytes, bytes, bytes]]:
    reader = _Reader()
    try:
        reader.parser.feed_data(stream)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return reader.found
