"""Keeps the cache true and turns what changed into keys: watch events as they come, full lists now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from claudeops.controller.cache import ObjectCache
from claudeops.controller.kind import NAMESPACE, PROFILE, QUOTA, WORKLOAD, Kind, Object, Ref, reference
from claudeops.controller.kube import Kube
from claudeops.controller.reconcile import keys_of
from claudeops.controller.snapshot import SELECTORS, WATCHED
from claudeops.errors import ClusterError

logger = logging.getLogger(__name__)

RELIST_S: Final = 300.0
RETRY_S: Final = 2.0


class Observer:
    """``enqueue`` takes the key of each object to reconcile."""

    def __init__(self, kube: Kube, cache: ObjectCache, enqueue: Callable[[Ref], None], *, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._cache = cache
        self._enqueue = enqueue
        self._monotonic = monotonic
        self._is_due = asyncio.Event()
        self.last_event_s = monotonic()
        """When the last watch event or list came."""

    def receive(self, kind: Kind, event: str | None, item: Object) -> None:
        """Takes one watch event. An item of a list that Kopf read itself means that its watch was broken: lists are read anew."""
        self.last_event_s = self._monotonic()
        if event is None and self._cache.is_listed(kind):
            self._is_due.set()
        ref = reference(kind, item)
        before = self._cache.get(ref)
        is_news = self._cache.drop(kind, item) if event == "DELETED" else self._cache.put(kind, item)
        if is_news and (event == "DELETED" or not is_same(kind, before, item)):
            self._enqueue_all(ref, item, before)

    def _enqueue_all(self, ref: Ref, item: Object, before: Object | None) -> None:
        keys = keys_of(self._cache, ref, item) + (keys_of(self._cache, ref, before) if before else [])
        for key in dict.fromkeys(keys):
            self._enqueue(key)

    async def list_once(self) -> None:
        """Reads every kind. Raises :class:`~claudeops.errors.ClusterError`."""
        for kind in WATCHED:
            items, version = await self._kube.list_all(kind, selector=SELECTORS.get(kind, ""))
            before = {reference(kind, item): item for item in self._cache.items(kind)} if kind in SELECTORS else {}
            for ref in self._cache.replace(kind, items, version=int(version or 0)):
                item = self._cache.get(ref) or before.get(ref) or {"metadata": {"name": ref.name, "namespace": ref.namespace}}
                self._enqueue_all(ref, item, None)
            self.last_event_s = self._monotonic()

    async def list_first(self) -> None:
        """Reads every kind, however long it takes: nothing is decided from half a cluster."""
        while True:
            try:
                return await self.list_once()
            except ClusterError as error:
                logger.warning("cannot read the cluster yet: %s", error)
                await asyncio.sleep(RETRY_S)

    async def run(self) -> None:
        """Reads everything anew every five minutes, and soon after a broken watch."""
        while True:
            try:
                async with asyncio.timeout(RELIST_S):
                    await self._is_due.wait()
                await asyncio.sleep(RETRY_S)
            except TimeoutError:
                pass
            self._is_due.clear()
            await self.list_first()


def is_same(kind: Kind, before: Object | None, item: Object) -> bool:
    """Whether nothing changed but what we write ourselves: ``status``, and figures of the server."""
    if before is None:
        return False
    have, want = before["metadata"], item["metadata"]
    if kind is NAMESPACE:
        return bool(have.get("labels") == want.get("labels"))
    if kind not in (WORKLOAD, QUOTA, PROFILE):
        return False
    parts = ("uid", "generation", "labels", "deletionTimestamp")
    return all(have.get(part) == want.get(part) for part in parts)
