"""Content codings, undone piece by piece."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.sidecar.coding import Decoder, coding_of, head_coding, without_coding


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = st.sampled_from([(b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", raw_deflate)])


@given(PACKED, st.binary(max_size=300), st.integers(1, 40) | st.just(1))
@settings(max_examples=40)
def test_what_was_packed_comes_out_however_it_is_cut(packed: tuple[bytes, object], data: bytes, size: int) -> None:
    coding, pack = packed
    raw = pack(data)  # type: ignore[operator]
    decoder = Decoder(coding, limit_bytes=300)
    out = b"".join(decoder.feed(raw[at : at + size]) for at in range(0, len(raw), size))
    decoder.end()
    assert (out, decoder.failure) == (data, "")


@given(st.sampled_from([b"gzip", b"deflate"]), st.binary(max_size=60))
@settings(max_examples=40)
def test_nonsense_is_said_to_be_such_and_nothing_is_raised(coding: bytes, data: bytes) -> None:
    decoder = Decoder(coding, limit_bytes=1000)
    out = decoder.feed(data) + decoder.feed(data)
    decoder.end()
    assert len(out) <= 1000
    assert decoder.failure or decoder.inflate.eof


def test_a_bomb_is_never_unpacked_beyond_the_limit() -> None:
    decoder = Decoder(b"gzip", limit_bytes=1000)
    assert decoder.feed(gzip.compress(b" " * 10_000_000)) == b""
    assert (decoder.is_too_large, decoder.size_bytes) == (True, 1001)
    exact = Decoder(b"gzip", limit_bytes=1000)
    assert len(exact.feed(gzip.compress(b" " * 1000))) == 1000
    exact.end()
    assert exact.failure == ""


def test_an_answers_head_names_its_coding_and_loses_it() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: content-encoding: br\r\nContent-Encoding:  GZip \r\ncontent-length: 5\r\nB: 1"
    assert head_coding(head) == b"gzip"
    assert without_coding(head) == b"HTTP/1.1 200 OK\r\nA: content-encoding: br\r\nB: 1"
    assert head_coding(b"HTTP/1.1 200 OK\r\nA: 1") == b""
    assert (coding_of(b"Identity"), coding_of(b""), coding_of(b" BR ")) == (b"", b"", b"br")
