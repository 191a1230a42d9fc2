"""Compressed request bodies, as the API takes them: gzip and deflate."""

from __future__ import annotations

import zlib

from claudeops.simulator.http import Request
from claudeops.simulator.reply import TOO_LARGE, Problem, invalid

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def decode_body(request: Request, limit_bytes: int) -> Problem | None:
    """Replace a compressed body by what it holds; the Problem when it cannot be read or holds more than ``limit_bytes``."""
    encoding = request.headers.get(b"content-encoding")
    if encoding is None or encoding.lower() == b"identity":
        return None
    name = encoding.decode("latin-1").lower()
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        return invalid(f"content-encoding: '{name}' is not supported", error_code="request_body_encoding_unsupported")
    inflater = zlib.decompressobj(bits)
    try:
        body = inflater.decompress(request.body, limit_bytes + 1)
    except zlib.error:
        return invalid("the request body is not valid for its content-encoding", error_code="request_body_encoding_invalid")
    if len(body) > limit_bytes:
        return Problem(413, TOO_LARGE.type, TOO_LARGE.message, details={"error_code": "request_body_too_large_after_decoding"})
    if not inflater.eof:
        return invalid("the request body is not valid for its content-encoding", error_code="request_body_encoding_invalid")
    request.body = body
    return None
