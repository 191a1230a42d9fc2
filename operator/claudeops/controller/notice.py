"""Which changes of a condition are worth an event. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from claudeops.controller.recorder import Notice

_WORTH: Final[Mapping[tuple[str, str], str]] = {
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
        kind, status, reason = condition["type"], condition["status"], condition["reason"]
        if before.get("status") == status and before.get("reason") == reason:
            continue
        if kind == "Ready":
            yield from _ready(before, condition)
        elif _REASONS.get(reason) == kind:
            yield Notice(reason, condition["message"], "Warning")
        elif before.get("status", "Unknown") != status and (before or status == "True") and (kind, status) in _WORTH:
            yield Notice(reason, condition["message"], "Warning" if _WORTH[kind, status] == "Warning" else "Normal")


def _ready(before: Mapping[str, str], condition: Mapping[str, str]) -> Iterator[Notice]:
    if condition["status"] == "False" and condition["reason"] != "Progressing":
        yield Notice(condition["reason"], condition["message"], "Warning")
    elif condition["status"] == "True" and before.get("status") == "False" and before.get("reason") != "Progressing":
        yield Notice("Ready", condition["message"])
