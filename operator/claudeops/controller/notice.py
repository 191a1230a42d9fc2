"""Which changes of a condition are worth an event. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from claudeops.controller.recorder import Notice

_WORTH: Final[Mapping[tuple[str, str], Literal["Normal", "Warning"]]] = {
    ("FallbackActive", "True"): "Warning",
    ("FallbackActive", "False"): "Normal",
    ("InjectionMissing", "True"): "Warning",
    ("TelemetryStale", "True"): "Warning",
    ("Throttled", "True"): "Warning",
    ("SLOMet", "False"): "Warning",
}
"""(condition, status it turned to) → type of the event."""
_REASONS: Final[Mapping[str, str]] = {"ReplicasContended": "CappedByQuota", "KeyOfOtherOrganization": "QuotaSatisfied"}
"""Reasons that are worth an event whatever the status was → their condition."""


def condition_notices(previous: Sequence[Mapping[str, str]], current: Iterable[Mapping[str, str]]) -> Iterator[Notice]:
    """An event for each change that somebody should hear of. First sights of the normal state are none."""
    known = {condition.get("type"): condition for condition in previous}
    for condition in current:
        before = known.get(condition["type"], {})
        if before.get("status") == condition["status"] and before.get("reason") == condition["reason"]:
            continue
        yield from _ready(before, condition) if condition["type"] == "Ready" else _other(before, condition)


def _other(before: Mapping[str, str], condition: Mapping[str, str]) -> Iterator[Notice]:
    kind, status, reason = condition["type"], condition["status"], condition["reason"]
    if _REASONS.get(reason) == kind:
        yield Notice(reason, condition["message"], "Warning")
    elif (kind, status) in _WORTH and before.get("status", "Unknown") != status and (before or status == "True"):
        yield Notice(reason, condition["message"], _WORTH[kind, status])


def _ready(before: Mapping[str, str], condition: Mapping[str, str]) -> Iterator[Notice]:
    if condition["status"] == "False" and condition["reason"] != "Progressing":
        yield Notice(condition["reason"], condition["message"], "Warning")
    elif condition["status"] == "True" and before.get("status") == "False" and before.get("reason") != "Progressing":
        yield Notice("Ready", condition["message"])
