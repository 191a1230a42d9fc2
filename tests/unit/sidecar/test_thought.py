"""Who wrote which thinking block: what is remembered, and for how long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claudeops.sidecar import thought
from claudeops.sidecar.thought import BLOCKS_MAX, ThoughtAuthors, ThoughtReader


def test_what_nobody_is_known_to_have_written_has_no_author() -> None:
    authors = ThoughtAuthors()
    assert not authors.has_any
    authors.learn("", "m")
    assert not authors.has_any
    assert authors.author("") is None
    assert authors.author("x") is None
    authors.learn("x", "m")
    assert authors.has_any
    assert authors.author("x") == "m"


def test_memory_is_bounded_and_what_is_asked_for_stays() -> None:
    authors = ThoughtAuthors()
    for number in range(2 * BLOCKS_MAX):
        authors.learn(str(number), "m")
        if number % 1000 == 0:
            assert authors.author("0") == "m", "a conversation that goes on keeps its blocks"
    assert len(authors.young) + len(authors.old) <= BLOCKS_MAX
    assert authors.author("1") is None
    assert authors.author(str(2 * BLOCKS_MAX - 1)) == "m"


EVENTS: list[dict[str, Any]] = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "signature", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": 'the "signature" \n'}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "a/b+c="}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "d"}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": '{"type":"signature_delta","signature":"no"}'}},
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_is_read_however_it_is_cut(line_end: bytes) -> None:
    raw = b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in EVENTS)
    raw = raw.replace(b"a/b", b"a\\/b").replace(b"\n", line_end)
    for size in (1, 7, 50, len(raw)):
        authors = ThoughtAuthors()
        reader = ThoughtReader(authors, "m")
        for at in range(0, len(raw), size):
            reader.feed(raw[at : at + size])
        assert len(authors.young) == 2
        assert [authors.author(mark) for mark in ("a/b+c=", "d", "no", "")] == ["m", "m", None, None]


def test_nonsense_teaches_nothing() -> None:
    authors = ThoughtAuthors()
    authors.learn_answer(b'{"content": "signature"}', "m")
    authors.learn_answer(b'signature {"redacted_thinking"', "m")
    authors.learn_answer(b'{"content":[{"type":"text","signature":"x"},{"type":"thinking","thinking":"no signature"}]}', "m")
    authors.learn_line(b'data: {"delta": signature}', "m")
    authors.learn_line(b"signature: x", "m")
    reader = ThoughtReader(authors, "m")
    reader.feed(b"data: " + b"x" * (thought.LINE_MAX_BYTES + 1))
    assert reader.rest == b""
    assert not authors.has_any
