"""The side channel of a stream: usage, errors and whole events, however the bytes are cut."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.sidecar.usage import TAIL_MAX_BYTES, EventReader, Usage


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()


START = event("message_start", message={"usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}})
STREAM = b"".join(
    [
        START,
        event("ping"),
        event("content_block_start", index=0),
        *(event("content_block_delta", index=0, delta={"text": "event: error\\n\\n"}) for _ in range(5)),
        event("unknown_event", x=1),
        event("content_block_stop", index=0),
        event("message_delta", usage={"output_tokens": 42}),
        event("message_stop"),
    ]
)


def read(parts: list[bytes]) -> tuple[EventReader, bytes]:
    reader = EventReader(Usage())
    out = b"".join(reader.feed(part) for part in parts) + reader.rest()
    return reader, out


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
@settings(max_examples=30)
def test_however_a_stream_is_cut_all_of_it_is_relayed_and_its_usage_is_known(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    reader, out = read([STREAM[a:b] for a, b in pairwise(edges)])
    assert out == STREAM
    assert (reader.usage.input, reader.usage.cache_read, reader.usage.output) == (7, 3, 42)
    assert reader.is_finished
    assert reader.has_content
    assert reader.error is None


@given(st.integers(1, len(STREAM) - 1))
@settings(max_examples=30)
def test_what_is_given_out_ends_between_two_events(cut: int) -> None:
    reader = EventReader(Usage())
    out = reader.feed(STREAM[:cut])
    assert out == b"" or out.endswith(b"\n\n")
    assert STREAM.startswith(out)


def test_only_message_start_and_pings_are_no_beginning() -> None:
    reader = EventReader(Usage())
    reader.feed(START + event("ping"))
    assert not reader.has_begun
    reader.feed(event("something_new"))
    assert reader.has_begun
    assert not reader.has_content


def test_an_error_event_is_read_wherever_it_comes() -> None:
    reader, _ = read([START, event("error", error={"type": "overloaded_error", "message": "Overloaded"})])
    assert reader.error is not None
    assert (reader.error.type, reader.error.message) == ("overloaded_error", "Overloaded")
    assert reader.is_finished
    reader, _ = read([b"event: error\ndata: nonsense\n\n"])
    assert reader.error is not None
    assert reader.error.type == "api_error"


@given(st.integers(1, 3 * TAIL_MAX_BYTES), st.integers(1, 200))
@settings(max_examples=15)
def test_a_large_event_is_given_out_as_it_comes_and_what_follows_is_read(size: int, rest: int) -> None:
    big = event("content_block_delta", delta={"text": "x" * 4 * TAIL_MAX_BYTES})
    whole = START + big + event("message_delta", usage={"output_tokens": 9}) + event("message_stop")
    step = max(1000, size)
    parts = [START, *(whole[at : at + step] for at in range(len(START), len(whole) - rest, step))]
    parts.append(whole[sum(map(len, parts)) :])
    reader, out = read(parts)
    assert out == whole
    assert reader.usage.output == 9
    assert reader.is_finished


def test_an_event_end_that_is_cut_in_two_is_found() -> None:
    big = b"event: content_block_delta\ndata: " + b"x" * (TAIL_MAX_BYTES + 1)
    reader, out = read([big, b"\n", b"\n" + event("message_stop")])
    assert out == big + b"\n\n" + event("message_stop")
    assert reader.is_finished
    assert not reader.is_inside


SPELLINGS = {
    "crlf": STREAM.replace(b"\n", b"\r\n"),
    "cr": STREAM.replace(b"\n", b"\r"),
    "no spaces": STREAM.replace(b"event: ", b"event:").replace(b"data: ", b"data:"),
    "byte order mark": b"\xef\xbb\xbf" + STREAM,
    "comments": b": here\n\n" + re.sub(rb"(?m)^event: ", b": still here\nevent: ", STREAM).replace(b"\n\n", b"\n\n:\n\n"),
    "fields": re.sub(rb"(?m)^event: ", b"id: 1\nretry: 5\nevent: ", STREAM),
    "data first": re.sub(rb"(?m)^(event: \w+\n)(data: .*\n)", rb"\2\1", STREAM).replace(b"\n\n", b"\n\n\n"),
    "lines": STREAM.replace(b', "', b',\ndata: "'),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(st.lists(st.integers(1, len(STREAM)), max_size=12))
@settings(max_examples=15)
def test_a_stream_that_is_spelled_in_another_way_is_relayed_as_it_comes_and_read(spelling: str, cuts: list[int]) -> None:
    stream = SPELLINGS[spelling]
    reader, out = read([stream[a:b] for a, b in pairwise([0, *sorted(set(cuts)), len(stream)])])
    assert out == stream
    assert (reader.usage.input, reader.usage.cache_read, reader.usage.output) == (7, 3, 42)
    assert reader.is_finished and reader.has_content and not reader.is_inside
    assert reader.error is None


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_a_comment_is_no_beginning_and_an_error_is_read_in_every_spelling(ends: bytes) -> None:
    reader = EventReader(Usage())
    reader.feed((b": one moment\n\n" + START + b": still\n\n").replace(b"\n", ends))
    assert not reader.has_begun
    reader.feed(event("error", error={"type": "overloaded_error", "message": "Overloaded"}).replace(b": ", b":").replace(b"\n", ends))
    assert reader.error is not None and reader.error.type == "overloaded_error"


def test_a_comment_between_two_events_is_no_beginning_either() -> None:
    reader = EventReader(Usage())
    reader.feed(START + b": one moment\n\n")
    assert not reader.has_begun


def test_absent_fields_of_usage_keep_their_first_value() -> None:
    start = {"input_tokens": 5, "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4}, "output_tokens": 1}
    parts = [event("message_start", message={"usage": start}), event("message_delta", usage={"output_tokens": 8})]
    reader, _ = read(parts)
    usage = reader.usage
    assert (usage.input, usage.write_5m, usage.write_1h, usage.output) == (5, 2, 4, 8)
    assert (usage.uncached, usage.total_input) == (11, 11)


def test_a_last_event_without_its_blank_line_ends_the_stream_all_the_same() -> None:
    for whole in (STREAM[:-1], STREAM[:-2], STREAM.replace(b"\n", b"\r\n")[:-2]):
        reader, out = read([whole])
        assert out == whole
        assert reader.is_finished
        assert reader.error is None


def test_half_an_event_is_no_end() -> None:
    reader, out = read([STREAM[: STREAM.rindex(b"}") - 4]])
    assert not reader.is_finished
    assert STREAM.startswith(out)
    assert out.endswith(b"\n\n")


def test_a_stream_with_crlf_that_breaks_off_is_known_to_be_inside_an_event() -> None:
    crlf = STREAM.replace(b"\n", b"\r\n")
    reader = EventReader(Usage())
    reader.feed(crlf[:100])
    assert reader.is_inside
    reader.feed(crlf[100 : crlf.index(b"event: content_block_stop")])
    assert not reader.is_inside
