"""The fingerprint: equal only where the API's answer may be the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.json_values import values
from tests.unit.table import every

from claudeops.sidecar.fingerprint import fingerprint
from claudeops.wire.http1 import RequestHead, parse_request_head

LINES = {"host": "proxy", "content-type": "application/json", "anthropic-version": "2023-06-01"}
JSON = values(st.none() | st.booleans() | st.integers() | st.text(max_size=6), st.text(max_size=4))
BODIES = st.dictionaries(st.sampled_from(["model", "messages", "system", "tools", "stream", "é", "x"]), JSON, min_size=1, max_size=5)


def head(target: str = "/v1/messages", **lines: str) -> RequestHead:
    fields = LINES | {name.replace("_", "-"): value for name, value in lines.items()}
    text = f"POST {target} HTTP/1.1\r\n" + "\r\n".join(f"{name}: {value}" for name, value in fields.items())
    return parse_request_head(text.encode(), re.compile(rb"x-api-key|x-claudeops-.*"))


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def of(body: Any, **lines: str) -> bytes:
    return fingerprint(head(**lines), body if isinstance(body, bytes) else compact(body))


@given(BODIES, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_members_changes_nothing(body: dict[str, Any], dice: Any) -> None:
    names = list(body)
    dice.shuffle(names)
    assert of({name: body[name] for name in names}) == of(body)


@given(BODIES, BODIES)
@settings(max_examples=30)
def test_bodies_that_differ_in_anything_have_different_fingerprints(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (of(one) == of(other)) == (compact(dict(sorted(one.items()))) == compact(dict(sorted(other.items()))))


def ask(**members: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]} | members


MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        (ask(**MARK), ask()),
        (ask(system=[{"type": "text", "text": "s"} | MARK]), ask(system=[{"type": "text", "text": "s"}])),
        (ask(tools=[MARK | {"name": "t", "input_schema": {}}]), ask(tools=[{"name": "t", "input_schema": {}}])),
        (
            ask(
                messages=[{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "a"} | MARK]} | MARK]}]
            ),
            ask(messages=[{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "a"}]}]}]),
        ),
    ],
)
def test_cache_marks_change_nothing(marked: dict[str, Any], plain: dict[str, Any]) -> None:
    assert of(marked) == of(plain)


@every(
    ("one", "other"),
    [
        (ask(tools=[{"name": "t", "input_schema": {"properties": MARK}}]), ask(tools=[{"name": "t", "input_schema": {"properties": {}}}])),
        (ask(tools=[{"name": "t", "input_schema": {"a": 1, "b": 2}}]), ask(tools=[{"name": "t", "input_schema": {"b": 2, "a": 1}}])),
        (b'{"model":"m","model":"n"}', b'{"model":"n"}'),
        (b'{"model":"m","x":1.0}', b'{"model":"m","x":1}'),
        (b'{"mod\\u0065l":"m"}', b'{"model":"m"}'),
        (b'{"system":[{"text":"a","text":"b","cache_control":{}}]}', b'{"system":[{"text":"b"}]}'),
        (b"[1]", b"[2]"),
        (b'{"a":1}', b'raw{"a":1}'),
    ],
)
def test_what_may_change_the_answer_counts(one: Any, other: Any) -> None:
    assert of(one) != of(other)


@pytest.mark.parametrize(
    "lines",
    [
        {"anthropic_version": "2026-10-21"},
        {"anthropic_beta": "context-1m"},
        {"anthropic_workspace_id": "wrkspc_1"},
        {"x_something_new": "1"},
        {"idempotency_key": "1"},
        {"target": "/v1/messages?beta=true"},
    ],
)
def test_headers_and_query_count(lines: dict[str, str]) -> None:
    assert of(ask(), **lines) != of(ask())


@pytest.mark.parametrize(
    "name", ["user_agent", "traceparent", "x_stainless_retry_count", "x_claudeops_session", "x_api_key", "accept_encoding"]
)
def test_who_asks_and_how_often_does_not_count(name: str) -> None:
    assert of(ask(), **{name: "1"}) == of(ask(), **{name: "2"}) == of(ask())
