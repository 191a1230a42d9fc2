"""When figures of a ``status`` are worth a write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from claudeops.controller.kind import Object

FIGURES: Final = frozenset({"grant", "observed", "slos", "connectionsPerProxy", "groups"})
"""Parts of a status that are written at most once in :data:`INTERVAL_S`; all others are written at once."""
INTERVAL_S: Final = 60.0
WRITES_PER_S: Final = 20.0


@dataclass
class WriteBudget:
    """At most :data:`WRITES_PER_S` writes of mere figures a second, over all objects."""

    level: float = WRITES_PER_S
    at_s: float = 0.0

    def take(self, now_s: float) -> bool:
        """Takes one write; False when there is none left now."""
        self.level = min(WRITES_PER_S, self.level + (now_s - self.at_s) * WRITES_PER_S)
        self.at_s = now_s
        if self.level < 1:
            return False
        self.level -= 1
        return True


def is_urgent_change(status: Object, written: Mapping[str, Any]) -> bool:
    """Whether something differs that is written at once: anything but figures, or the first figures of a kind."""
    for name in set(status) | set(written):
        if name in FIGURES:
            if bool(status.get(name)) != bool(written.get(name)) and name != "observed":
                return True
        elif (status.get(name) or None) != (written.get(name) or None):
            return True
    return False


def is_figure_change(status: Object, written: Mapping[str, Any]) -> bool:
    """Whether the figures differ, after rounding."""
    return any((status.get(name) or None) != (written.get(name) or None) for name in FIGURES)


def is_due(status: Object, written: Mapping[str, Any], *, age_s: float, interval_s: float) -> bool:
    """Whether the status is to be written now, ``age_s`` after its last write: what matters at once, mere figures once in the interval."""
    return is_urgent_change(status, written) or (age_s >= interval_s and is_figure_change(status, written))
