"""The names of model groups that proxies may speak of: whatever a pod says must not grow this process, its metrics or a status."""

from __future__ import annotations

from typing import Final

import msgspec

from claudeops.catalogue import load_catalogue
from claudeops.exchange import FAST_POOL, Report
from claudeops.translate.terms import DEFAULT_GROUP

STRANGE_MAX: Final = 32
"""Groups that the catalogue here does not have: those of a newer one, until this process is of its release too."""


class KnownGroups:
    """The catalogue's, and the first few others that were spoken of."""

    __slots__ = ("_names", "_room")

    def __init__(self) -> None:
        names = load_catalogue().groups
        self._names = {DEFAULT_GROUP, *names, *(name + FAST_POOL for name in names)}
        self._room = STRANGE_MAX

    def keep(self, report: Report) -> Report:
        """The report without groups that are too many."""
        refused = {name for name in (*report.groups, *(sample.group for sample in report.samples)) if not self._knows(name)}
        if not refused:
            return report
        return msgspec.structs.replace(
            report,
            groups={name: use for name, use in report.groups.items() if name not in refused},
            samples=[sample for sample in report.samples if sample.group not in refused],
        )

    def _knows(self, name: str) -> bool:
        if name in self._names:
            return True
        if self._room <= 0:
            return False
        self._room -= 1
        self._names.add(name)
        return True
