"""Reading a batch in parts: the items that come out are those that a JSON parser sees, wherever the bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.json_values import values
from tests.unit.table import every

from claudeops.sidecar.batch_reader import DEPTH_MAX, BatchReader, NotABatch

TEXT = st.text(alphabet='ab"\\{}[],: é\n', max_size=8)
VALUES = values(st.none() | st.booleans() | st.integers() | TEXT, TEXT)
ITEMS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=4)
OTHERS = st.dictionaries(TEXT, VALUES, max_size=2)


def read(body: bytes, step: int = 1, **limits: int) -> list[Any]:
    reader = BatchReader(**limits)
    items = [json.loads(item) for at in range(0, len(body), step) for item in reader.feed(body[at : at + step])]
    reader.end()
    assert reader.count == len(items)
    return items


@given(ITEMS, OTHERS, OTHERS, st.sampled_from([None, 1]), st.integers(1, 40), st.booleans())
@settings(max_examples=30)
def test_the_items_are_those_of_a_json_parser_wherever_the_bytes_are_cut(
    items: list[Any], before: dict[str, Any], behind: dict[str, Any], indent: int | None, step: int, is_ascii: bool
) -> None:
    document = before | {"requests": items} | behind
    assert read(json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode(), step) == items


@given(ITEMS, st.integers(1, 40))
@settings(max_examples=30)
def test_a_batch_that_breaks_off_is_none(items: list[Any], step: int) -> None:
    body = json.dumps({"requests": items}).encode()
    with pytest.raises(NotABatch):
        read(body[: len(body) - 1 - step % len(body)], 3)


@every(
    "body",
    [
        b'{"requests":[{"a":1}]}{}',
        b'{"requests":[{"a":1}],}',
        b'{"requests":[{"a":1},]}',
        b'{"requests":[,{"a":1}]}',
        b'{"requests":[{"a":1}{"b":1}]}',
        b'{"requests":[[1]]}',
        b'{"requests":["{}"]}',
        b'{"requests":{"a":1}}',
        b'{"requests":null}',
        b'{"x":tru,"requests":[]}',
        b'{"x":[1}],"requests":[]}',
        b'{"x":,"requests":[]}',
        b'{x:1,"requests":[]}',
        b"{'x':1,\"requests\":[]}",
        b'\xef\xbb\xbf{"requests":[]}',
        '{"requests":[]}'.encode("utf-16"),
        b'[{"requests":[]}]',
        b'{"requests" [{}]}',
        b"",
        b'{"x":"' + b"a" * 70_000 + b'","requests":[]}',
        b'{"requests":[{"a":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}]}",
    ],
)
def test_what_is_not_exactly_a_batch_is_refused(body: bytes) -> None:
    for step in (1, 7, 100_000) if len(body) < 1_000 else (997, 100_000):
        with pytest.raises(NotABatch):
            read(body, step)


def test_requests_are_found_however_the_name_is_spelt_and_however_often() -> None:
    assert read(b'{"reque\\u0073ts":[{"a":1}],"x":{"requests":[{"b":2}]},"requests":[{"c":3}]}') == [{"a": 1}, {"c": 3}]


def test_an_item_may_be_large_but_not_endless() -> None:
    item = b'{"a":"' + b"x" * 990 + b'"}'
    assert len(read(b'{"requests":[%b,%b]}' % (item, item), 300, item_max_bytes=1000)) == 2
    with pytest.raises(NotABatch, match=r"requests\.1: larger"):
        read(b'{"requests":[{},{"a":"' + b"x" * 2000, 300, item_max_bytes=1000)


def test_of_the_items_gone_by_nothing_is_held() -> None:
    reader = BatchReader()
    reader.feed(b'{"requests":[{}')
    for _ in range(50):
        reader.feed(b',{"a":"' + b"x" * 5000)
        reader.feed(b'"}')
        assert len(reader.kept) == 0
