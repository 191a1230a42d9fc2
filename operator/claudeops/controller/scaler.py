"""Reads scaling targets and writes their ``/scale``, as :mod:`.scaling` decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from claudeops.controller.kind import SCALABLE, Object, Ref
from claudeops.controller.kube import Kube
from claudeops.controller.recorder import EventRecorder, Notice
from claudeops.controller.scaling import ScaleHistory, Target, scale_patch, scale_to
from claudeops.errors import Conflict, NotFound
from claudeops.translate import ScalingTerms

MANAGER: Final = "claudeops"


class Scaler:
    """Remembers, per target, what was written and who wrote something else."""

    def __init__(self, kube: Kube, recorder: EventRecorder, *, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._recorder = recorder
        self._monotonic = monotonic
        self._histories: dict[Ref, ScaleHistory] = {}

    async def read(self, namespace: str, scaling: ScalingTerms) -> tuple[Ref, Target | None]:
        """The target as it is now; None when it does not exist. Raises :class:`~claudeops.errors.ClusterError`."""
        ref = Ref(SCALABLE[scaling.target_kind], namespace, scaling.target_name)
        try:
            target = Target.read(await self._kube.get(ref))
        except NotFound:
            return ref, None
        history = self._histories.get(ref, ScaleHistory())
        self._histories[ref] = history.observe(target, self._monotonic(), own_manager=MANAGER)
        return ref, target

    def rival(self, ref: Ref) -> str:
        """The manager that insists on another count, ``""`` when nobody does."""
        history = self._histories.get(ref, ScaleHistory())
        return history.rival if history.is_contended else ""

    async def write(self, ref: Ref, target: Target, desired: int | None, *, owner: Object) -> Target:
        """Brings the target to ``desired`` where that is due. A conflict is no error: the next look decides anew."""
        history = self._histories.get(ref, ScaleHistory())
        replicas = scale_to(target, desired, history)
        if replicas is None:
            return target
        try:
            written = await self._kube.merge(ref, scale_patch(target, replicas), manager=MANAGER, subresource="scale")
        except Conflict:
            return target
        self._histories[ref] = replace(history, written=replicas)
        note = f"{ref.kind.kind} {ref.name} scaled from {target.replicas} to {replicas}"
        self._recorder.record(owner, Notice("Scaled", note, action="Scale"))
        return replace(target, replicas=replicas, version=written["metadata"].get("resourceVersion", ""))
