"""Conditions in the words of ``metav1.Condition``: what is decided, and how it is merged with what was written before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Object: TypeAlias = dict[str, Any]
"""An object of Kubernetes, or a part of one, as decoded JSON."""
Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Condition:
    """One condition as decided now. ``message`` is a sentence that changes only when the matter does: it is written at once."""

    type: str
    status: Truth
    reason: str
    message: str


def truth(is_true: bool) -> Truth:
    """The word for a condition's status."""
    return "True" if is_true else "False"


def render_conditions(decided: Iterable[Condition], previous: Sequence[Mapping[str, str]], *, generation: int, now: str) -> list[Object]:
    """The list to write. ``lastTransitionTime`` moves only when the status does."""
    known = {condition.get("type"): condition for condition in previous}
    rendered: list[Object] = []
    for condition in decided:
        before = known.get(condition.type, {})
        since = before.get("lastTransitionTime", now) if before.get("status") == condition.status else now
        rendered.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": since,
                "reason": condition.reason,
                "message": condition.message[:32_768],
            }
        )
    return rendered
