"""Cache diagnostics: why a request could not read all of the prompt that an earlier one had."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from claudeops.catalogue import Model
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.prompt import positions
from claudeops.simulator.reply import Problem, invalid

KEPT = 10_000
"""Requests that can be named as the previous one; older ones are forgotten."""


class Fingerprint(msgspec.Struct, frozen=True):
    """What is compared of a request. ``turns``: a hash of each message, and the prompt's tokens before it; ``total``: all of them."""

    model: str
    tools: bytes
    system: bytes
    settings: bytes
    turns: tuple[tuple[bytes, int], ...]
    total_tokens: int


def fingerprint(request: MessageRequest, model: Model) -> Fingerprint:
    """The fingerprint of one request."""
    found = positions(request, model, request.speed or "standard")
    at = len(request.tools or ()) + len(request.system_blocks())
    turns = []
    for turn in request.messages:
        turns.append((_digest([turn.role, _unmarked(turn.blocks())]), found[at - 1].tokens if at else 0))
        at = min(len(found), at + len(turn.blocks()))
    settings = [request.thinking, request.tool_choice, request.effort()]
    return Fingerprint(
        f"{model.id} {request.speed or 'standard'}",
        _digest(_unmarked(request.tools or [])),
        _digest(_unmarked(request.system_blocks())),
        _digest(settings),
        tuple(turns),
        found[-1].tokens if found else 0,
    )


def compare(before: Fingerprint, now: Fingerprint) -> dict[str, Any] | None:
    """The ``cache_miss_reason``; None when the earlier prompt is wholly the beginning of this one."""
    for kind, is_same, kept_tokens in (
        ("model_changed", before.model == now.model, 0),
        ("tools_changed", before.tools == now.tools, 0),
        ("system_changed", before.system == now.system, 0),
    ):
        if not is_same:
            return {"type": kind, "cache_missed_input_tokens": before.total_tokens - kept_tokens}
    for number, (turn, tokens) in enumerate(before.turns):
        if number >= len(now.turns) or now.turns[number][0] != turn:
            return {"type": "messages_changed", "cache_missed_input_tokens": before.total_tokens - tokens}
    return None if before.settings == now.settings else {"type": "unavailable"}


class DiagnosisBook:
    """The fingerprints of requests that asked for diagnostics, by workspace and the id of their answer."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Fingerprint] = OrderedDict()

    def diagnose(self, request: MessageRequest, model: Model, workspace_id: str, message_id: str) -> dict[str, Any] | None:
        """The answer's ``diagnostics``, and this request kept for the next one; None when nothing was asked or nothing is wrong."""
        if request.diagnostics is None:
            return None
        now = fingerprint(request, model)
        self._known[workspace_id, message_id] = now
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        previous = request.diagnostics.get("previous_message_id")
        if previous is None:
            return None
        before = self._known.get((workspace_id, previous))
        reason = {"type": "previous_message_not_found"} if before is None else compare(before, now)
        return None if reason is None else {"cache_miss_reason": reason}


def diagnostics_problem(request: CountRequest) -> Problem | None:
    """The 400 for ``diagnostics`` that are none."""
    if not isinstance(request, MessageRequest) or request.diagnostics is None:
        return None
    asked = request.diagnostics
    if not isinstance(asked, dict) or set(asked) - {"previous_message_id"}:
        return invalid(
            "diagnostics: Extra inputs are not permitted" if isinstance(asked, dict) else "diagnostics: Input should be a valid dictionary"
        )
    if not isinstance(asked.get("previous_message_id"), str | None):
        return invalid("diagnostics.previous_message_id: Input should be a valid string")
    return None


def _unmarked(blocks: list[Any]) -> list[Any]:
    return [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]


def _digest(document: Any) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(document), digest_size=12).digest()
