"""Writes ``status``: what matters at once, figures now and then, nothing that is there already."""

from __future__ import annotations

import time
from math import inf
from typing import Final

from claudeops.controller.cache import ObjectCache
from claudeops.controller.figure import WriteBudget, is_due, is_urgent_change
from claudeops.controller.kind import Object, Ref
from claudeops.controller.kube import Kube
from claudeops.controller.notice import condition_notices
from claudeops.controller.recorder import EventRecorder
from claudeops.errors import NotFound

STATUS_MANAGER: Final = "claudeops-status"


class StatusWriter:
    """The only writer of ``status``, and the only source of events about conditions. Figures of one object are written at most once in
    ``interval_s``."""

    def __init__(self, kube: Kube, cache: ObjectCache, recorder: EventRecorder, *, interval_s: float) -> None:
        self._kube = kube
        self._cache = cache
        self._recorder = recorder
        self._interval_s = interval_s
        self._written_s: dict[Ref, float] = {}
        self._budget = WriteBudget()

    async def write(self, ref: Ref, item: Object, status: Object) -> None:
        """Writes the status of ``item`` if that is worth it now."""
        written, now_s = item.get("status") or {}, time.monotonic()
        age_s = now_s - self._written_s.get(ref, -inf)
        if not is_due(status, written, age_s=age_s, interval_s=self._interval_s):
            return
        if not is_urgent_change(status, written) and not self._budget.take(now_s):
            return
        metadata = {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {})
        body = {"apiVersion": ref.kind.api_version, "kind": ref.kind.kind, "metadata": metadata, "status": status}
        self._written_s[ref] = now_s
        try:
            applied = await self._kube.apply(ref, body, manager=STATUS_MANAGER, subresource="status")
        except NotFound:
            return
        self._cache.put(ref.kind, applied)
        for notice in condition_notices(written.get("conditions") or (), status["conditions"]):
            self._recorder.record(item, notice)

    def forget(self, ref: Ref) -> None:
        """Drops what is remembered of a deleted object."""
        self._written_s.pop(ref, None)
