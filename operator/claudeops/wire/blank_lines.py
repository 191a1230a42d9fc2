"""Blank lines before a request: some clients end the body before it with one, so RFC 9112 (section 2.2) has them ignored."""

from __future__ import annotations


def without_blank_lines(data: bytes) -> bytes:
    """What comes behind them."""
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    return data[start:] if start else data
