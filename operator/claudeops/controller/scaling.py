"""Writing a target's ``/scale``: when, and when to stop because somebody else does too. Pure; the calls are the reconciler's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from claudeops.controller.kind import Object

CONTENTION_WINDOW_S: Final = 600.0
REVERTS_TOLERATED: Final = 1


@dataclass(frozen=True)
class Target:
    """A scaling target as read. ``manager`` last set ``spec.replicas``, ``""`` when that cannot be told."""

    replicas: int
    current: int
    version: str
    manager: str

    @classmethod
    def read(cls, item: Object) -> Target:
        """From a Deployment or StatefulSet."""
        spec, status, metadata = item.get("spec", {}), item.get("status", {}), item["metadata"]
        return cls(int(spec.get("replicas", 1)), int(status.get("replicas", 0)), metadata.get("resourceVersion", ""), _manager(metadata))


def _manager(metadata: Object) -> str:
    owners = [
        (entry.get("time", ""), entry.get("manager", ""))
        for entry in metadata.get("managedFields") or ()
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
    return max(owners)[1] if owners else ""


@dataclass(frozen=True)
class ScaleHistory:
    """What was written to one target: the last count, and when others put theirs in its place."""

    written: int | None = None
    reverts_s: tuple[float, ...] = ()
    rival: str = ""

    def observe(self, target: Target, now_s: float, *, own_manager: str) -> ScaleHistory:
        """The history after reading the target: somebody else's count in place of ours is a revert."""
        recent = tuple(at for at in self.reverts_s if now_s - at < CONTENTION_WINDOW_S)
        if self.written is None or target.replicas == self.written or target.manager == own_manager:
            return replace(self, reverts_s=recent)
        return ScaleHistory(None, (*recent, now_s), target.manager or "an unknown manager")

    @property
    def is_contended(self) -> bool:
        """Whether another manager changed the count back twice within ten minutes."""
        return len(self.reverts_s) > REVERTS_TOLERATED


def scale_to(target: Target, desired: int | None, history: ScaleHistory) -> int | None:
    """The count to write, or None: nothing is wanted, it is there already, or somebody else insists on another."""
    if desired is None or history.is_contended or target.replicas == desired:
        return None
    return desired


def scale_patch(target: Target, replicas: int) -> Object:
    """The merge patch for ``/scale``; the version makes it fail when somebody was faster, as an HPA's does."""
    return {"metadata": {"resourceVersion": target.version}, "spec": {"replicas": replicas}}
