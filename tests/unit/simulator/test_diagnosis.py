"""Why a cached prompt was missed, and which thinking blocks may come back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.table import every

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.binding import binding_violation, sign
from claudeops.simulator.diagnosis import KEPT, DiagnosisBook, compare, diagnostics_problem, fingerprint
from claudeops.simulator.message import MessageRequest, decode_message

QUESTION = {"role": "user", "content": "hi"}
REPLY = {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}
BASE: dict[str, Any] = {"tools": [{"name": "look"}], "system": "rules", "messages": [QUESTION]}


def model(name: str = "claude-sonnet-5-5") -> Model:
    found = load_catalogue().model(name)
    assert found is not None
    return found


def request(**members: Any) -> MessageRequest:
    return decode_message(msgspec.json.encode({"model": "m", "max_tokens": 10, **BASE, **members}))


@every(
    ("members", "kind"),
    [
        ({}, None),
        ({"messages": [QUESTION, REPLY, QUESTION]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]}, None),
        ({"speed": "fast"}, "model_changed"),
        ({"system": "other"}, "system_changed"),
        ({"tools": [{"name": "leap"}], "system": "other"}, "tools_changed"),
        ({"messages": [{"role": "user", "content": "ho"}, REPLY, QUESTION]}, "messages_changed"),
        ({"thinking": {"type": "adaptive"}}, "unavailable"),
    ],
)
def test_the_first_difference_is_the_reason(members: dict[str, Any], kind: str | None) -> None:
    before, now = fingerprint(request(), model()), fingerprint(request(**members), model())
    reason = compare(before, now)
    assert (None if reason is None else reason["type"]) == kind
    if kind in ("model_changed", "tools_changed", "system_changed"):
        assert reason is not None and reason["cache_missed_input_tokens"] == before.total_tokens
    if kind == "messages_changed":
        assert reason is not None and 0 < reason["cache_missed_input_tokens"] < before.total_tokens
    assert "cache_missed_input_tokens" not in (reason or {}) or kind != "unavailable"


def test_another_model_is_a_reason() -> None:
    assert (compare(fingerprint(request(), model()), fingerprint(request(), model("claude-opus-5-5"))) or {})["type"] == "model_changed"


def test_only_requests_that_opted_in_can_be_named() -> None:
    book = DiagnosisBook()

    def diagnose(message_id: str, workspace: str = "w", **members: Any) -> dict[str, Any] | None:
        return book.diagnose(request(**members), model(), workspace, message_id)

    unknown = {"cache_miss_reason": {"type": "previous_message_not_found"}}
    assert diagnose("m0") is None
    assert diagnose("m1", diagnostics={"previous_message_id": "m0"}) == unknown
    assert diagnose("m2", diagnostics={"previous_message_id": None}) is None
    assert diagnose("m3", diagnostics={"previous_message_id": "m2"}) is None
    assert diagnose("m4", "other", diagnostics={"previous_message_id": "m2"}) == unknown
    changed = diagnose("m5", diagnostics={"previous_message_id": "m2"}, system="other")
    assert changed is not None and changed["cache_miss_reason"]["type"] == "system_changed"
    assert KEPT > 1000


@pytest.mark.parametrize("asked", [5, {"previous": "m"}, {"previous_message_id": 5}])
def test_what_is_no_diagnostics_is_refused(asked: Any) -> None:
    assert diagnostics_problem(request(diagnostics=asked)) is not None


def replay(signature: str | None, **members: Any) -> MessageRequest:
    thought = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "", "signature": signature}, {"type": "text", "text": "x"}],
    }
    return request(**{"messages": [QUESTION, thought, QUESTION], **members})


def test_a_thinking_block_comes_back_after_the_same_prompt_only() -> None:
    signature = sign(request(), model())
    assert signature is not None
    assert binding_violation(replay(signature), model()) is None
    cached = {"system": [{"type": "text", "text": "rules", "cache_control": {"type": "ephemeral"}}]}
    assert binding_violation(replay(signature, **cached), model()) is None
    changes: tuple[dict[str, Any], ...] = ({"system": "other"}, {"tools": [{"name": "leap"}]}, {"tools": []})
    for change in changes:
        assert binding_violation(replay(signature, **change), model()) is not None
    moved = replay(signature).messages
    edited = request(messages=[{"role": "user", "content": "ho"}, msgspec.to_builtins(moved[1]), QUESTION])
    assert (binding_violation(edited, model()) or "").startswith("messages.1.content.0: ")


def test_a_thinking_block_belongs_to_its_model() -> None:
    assert binding_violation(replay(sign(request(), model("claude-opus-5-5"))), model()) is not None
    assert binding_violation(replay(sign(request(), model())), model("claude-sonnet-4-6")) is None
    assert sign(request(), model("claude-sonnet-4-6")) is None


def test_foreign_signatures_are_taken_as_they_are() -> None:
    assert binding_violation(replay("EqQB=="), model()) is None
