"""Edits of a body: what was not edited keeps its bytes."""

from __future__ import annotations

import json
import string

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.json_values import values

from claudeops.sidecar.edit import REMOVE, Edit, edited
from claudeops.sidecar.stage.cache import LONG, SHORT, with_mark
from claudeops.sidecar.stage.fit import without_thinking
from claudeops.sidecar.wireformat import Raw, decode_members, decode_request, encode

LARGE = "x" * 5000
JSON = values(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8), st.text(max_size=5)
)


def whole(body: bytes, edits: dict[str, Edit], *, is_read: bool = False) -> bytes:
    return b"".join(edited(body, edits, decode_request(body) if is_read else None))


@given(st.dictionaries(st.text(string.ascii_lowercase + "_", min_size=1, max_size=8), JSON, max_size=6))
@settings(max_examples=30)
def test_only_the_edited_member_differs(members: dict[str, object]) -> None:
    after = json.loads(whole(json.dumps(members).encode(), {"temperature": b"0.5"}))
    assert after == members | {"temperature": 0.5}
    assert list(after)[: len(members)] == list(members)


@given(st.text(alphabet='a"\\\\[{', max_size=12), st.lists(st.sampled_from(["head", "tail", "twin"]), unique=True))
@settings(max_examples=25)
def test_a_large_value_is_replaced_as_a_small_one_is(text: str, others: list[str]) -> None:
    system = text + LARGE
    members: dict[str, object] = {name: [text, {"system": text}] for name in others}
    body = json.dumps({"model": "m", **members, "system": system, "temperature": 1}).encode()
    edits: dict[str, Edit] = {"system": b'"new"', "temperature": REMOVE}
    assert whole(body, edits, is_read=True) == whole(body, edits)


@given(
    st.dictionaries(
        st.text(string.ascii_lowercase + "\u00e9\n", min_size=1, max_size=8), st.sampled_from([LARGE, "", 1, [LARGE]]), max_size=4
    )
)
@settings(max_examples=30)
def test_a_body_in_parts_is_what_it_would_be_in_one_piece(members: dict[str, object]) -> None:
    spaced = json.dumps({**members, "model": "m", "system": LARGE, "x": None, "max_tokens": 9}).encode()
    mark = with_mark(memoryview(decode_request(spaced).system), SHORT)
    assert mark is not None
    expected = encode(decode_members(spaced) | {"system": Raw(b"".join(mark)), "max_tokens": Raw(b"8")})
    parts = edited(spaced, {"system": mark, "max_tokens": b"8"}, decode_request(spaced))
    assert b"".join(parts) == expected
    assert all(isinstance(part, memoryview) == (len(part) > 4096) for part in parts), "no large value is copied"


def test_number_spelling_key_order_and_unknown_members_survive() -> None:
    body = b'{"b": 1e400, "a":1.50,"z":[ {"x" :  "\\u00e9"}],"temperature":9}'
    assert whole(body, {"temperature": REMOVE, "model": b'"m"'}) == b'{"b":1e400,"a":1.50,"z":[ {"x" :  "\\u00e9"}],"model":"m"}'


def test_a_dotted_name_edits_inside_a_member() -> None:
    body = b'{"output_config":{"effort":"max","format": 1e3},"thinking":{"type":"enabled"}}'
    edits: dict[str, Edit] = {"output_config.effort": b'"low"', "thinking.type": REMOVE, "tool_choice.type": b'"auto"', "speed.x": REMOVE}
    assert whole(body, edits) == b'{"output_config":{"effort":"low","format":1e3},"tool_choice":{"type":"auto"}}'


def marked(prefix: bytes, mark: bytes) -> bytes | None:
    parts = with_mark(memoryview(prefix), mark)
    return None if parts is None else b"".join(parts)


def test_a_mark_is_set_behind_the_prefix_without_touching_a_byte_before() -> None:
    assert marked(b'"be \\"kind\\""', SHORT) == (b'[{"type":"text","text":"be \\"kind\\"","cache_control":{"type":"ephemeral"}}]')
    assert marked(b'[ {"type":"text","text":"a"} , {"text" : "b"} ]', LONG) == (
        b'[ {"type":"text","text":"a"} , {"text" : "b","cache_control":{"type":"ephemeral","ttl":"1h"}}]'
    )


def test_a_marked_or_empty_last_block_gets_no_mark() -> None:
    for prefix in (b'[{"text":"a","cache_control":null}]', b'[{"type":"text","text":""}]', b"[]", b"{}", b"[1]", b'["a"]'):
        assert marked(prefix, SHORT) is None


def test_thinking_blocks_go_and_the_others_keep_their_bytes() -> None:
    content = Raw(b'[{"type": "thinking","thinking":"x"},{"type":"text" , "text":"\\u00e9"},{"type":"redacted_thinking","data":""}]')
    turn = {"role": Raw(b'"assistant"'), "content": content, "x": Raw(b"1e0")}
    assert (
        encode(without_thinking(turn, lambda block: False)) == b'{"role":"assistant","content":[{"type":"text","text":"\\u00e9"}],"x":1e0}'
    )
    assert without_thinking({"role": Raw(b'"assistant"'), "content": Raw(b'[{"type":"thinking"}]')}, lambda block: False) is None
    user = {"role": Raw(b'"user"'), "content": content}
    assert without_thinking(user, lambda block: False) is user
    assert without_thinking(turn, lambda block: True) is turn
