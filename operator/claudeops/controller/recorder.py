"""Kubernetes events without floods: equal ones become a series, each object has a budget, and nobody waits for the posting."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from claudeops.controller.kind import EVENT, Object, Ref
from claudeops.controller.kube import Kube
from claudeops.errors import ClusterError

logger = logging.getLogger(__name__)

REPEAT_WINDOW_S: Final = 600.0
SERIES_INTERVAL_S: Final = 60.0
BURST: Final = 25
REFILL_S: Final = 300.0
MAX_WAITING: Final = 1000
MAX_TRACKED: Final = 10_000
NOTE_LENGTH: Final = 1024


@dataclass(frozen=True)
class Notice:
    """What happened, for people. ``reason`` is UpperCamel, ``note`` a sentence."""

    reason: str
    note: str
    type: Literal["Normal", "Warning"] = "Normal"
    action: str = "Reconcile"


@dataclass
class _Series:
    """One event that was posted: how often it happened since, and when it was last written."""

    ref: Ref
    count: int
    last_seen_s: float
    written_s: float


@dataclass
class EventFilter:
    """Decides, without a clock of its own, what becomes of an event: posted, counted into a series, or dropped.

    Budgets as client-go's: 25 at once and one every 300 s per object.
    """

    _series: dict[tuple[str, str, str], _Series] = field(default_factory=dict)
    _budget: dict[str, tuple[float, float]] = field(default_factory=dict)

    def seen(self, key: tuple[str, str, str], now_s: float) -> _Series | None:
        """The running series of an event (uid, reason, note), counted up."""
        series = self._series.get(key)
        if series is None or now_s - series.last_seen_s > REPEAT_WINDOW_S:
            return None
        series.count += 1
        series.last_seen_s = now_s
        return series

    def may_post(self, uid: str, now_s: float) -> bool:
        """Takes one from the object's budget."""
        level, at_s = self._budget.get(uid, (float(BURST), now_s))
        level = min(float(BURST), level + (now_s - at_s) / REFILL_S)
        self._budget[uid] = (level - 1 if level >= 1 else level, now_s)
        return level >= 1

    def remember(self, key: tuple[str, str, str], ref: Ref, now_s: float) -> None:
        """Starts a series with an event that was posted."""
        if len(self._series) >= MAX_TRACKED:
            self._series = {k: s for k, s in self._series.items() if now_s - s.last_seen_s <= REPEAT_WINDOW_S}
            self._budget.clear()
        self._series[key] = _Series(ref, 1, now_s, now_s)


class EventRecorder:
    """Posts notices about objects as ``events.k8s.io/v1``."""

    def __init__(self, kube: Kube, *, instance: str, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._instance = instance
        self._now = now
        self._monotonic = monotonic
        self._filter = EventFilter()
        self._waiting: asyncio.Queue[tuple[Object, Notice]] = asyncio.Queue(MAX_WAITING)
        self._number = 0

    def record(self, regarding: Object, notice: Notice) -> None:
        """Queues a notice; drops it when a thousand wait already."""
        try:
            self._waiting.put_nowait((regarding, notice))
        except asyncio.QueueFull:
            logger.warning("event dropped: %s %s", notice.reason, notice.note)

    async def run(self) -> None:
        """Posts for ever. A cluster error costs that one event."""
        while True:
            regarding, notice = await self._waiting.get()
            try:
                await self._post(regarding, notice)
            except ClusterError as error:
                logger.warning("event not posted (%s %s): %s", notice.reason, notice.note, error)

    async def _post(self, regarding: Object, notice: Notice) -> None:
        uid = regarding["metadata"].get("uid", "")
        key, now_s = (uid, notice.reason, notice.note), self._monotonic()
        series = self._filter.seen(key, now_s)
        if series is not None:
            if now_s - series.written_s >= SERIES_INTERVAL_S:
                series.written_s = now_s
                body = {"series": {"count": series.count, "lastObservedTime": self._stamp()}}
                await self._kube.merge(series.ref, body, manager="claudeops")
            return
        if self._filter.may_post(uid, now_s):
            ref = self._new_ref(regarding["metadata"])
            await self._kube.create(EVENT, self._body(ref, regarding, notice), namespace=ref.namespace)
            self._filter.remember(key, ref, now_s)

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _new_ref(self, metadata: Object) -> Ref:
        # The name must be unique: the instance is of this process, the number counts in it.
        self._number += 1
        suffix = hashlib.sha256(f"{self._instance}/{self._number}".encode()).hexdigest()[:16]
        return Ref(EVENT, metadata.get("namespace") or "default", f"{metadata['name'][:200]}.{suffix}")

    def _body(self, ref: Ref, regarding: Object, notice: Notice) -> Object:
        metadata = regarding["metadata"]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "eventTime": self._stamp(),
            "reportingController": "claudeops.dev/controller",
            "reportingInstance": self._instance[:128],
            "action": notice.action,
            "reason": notice.reason,
            "type": notice.type,
            "note": notice.note[:NOTE_LENGTH],
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
        }
