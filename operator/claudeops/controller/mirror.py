"""The injector's own picture of the workloads: listed, then watched; an unknown one is asked for once."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from claudeops.controller.cache import ObjectCache
from claudeops.controller.kind import WORKLOAD, Object, Ref
from claudeops.controller.kube import Kube
from claudeops.errors import ClusterError, NotFound

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0


class WorkloadMirror:
    """What it shows while the API server is away is what it saw last."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._cache = ObjectCache({})

    @property
    def is_filled(self) -> bool:
        """Whether the workloads were listed once."""
        return self._cache.is_listed(WORKLOAD)

    async def run(self) -> None:
        """Lists and watches for ever."""
        while True:
            try:
                await self._follow()
            except NotFound:
                logger.info("the watch is too old: reading the list anew")
            except ClusterError as error:
                logger.warning("cannot watch the workloads: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        items, version = await self._kube.list_all(WORKLOAD)
        self._cache.replace(WORKLOAD, items, version=int(version or 0))
        while True:
            async for event in self._kube.watch(WORKLOAD, version):
                item: Object = event["object"]
                version = item["metadata"].get("resourceVersion", version)
                if event["type"] == "DELETED":
                    self._cache.drop(WORKLOAD, item)
                elif event["type"] != "BOOKMARK":
                    self._cache.put(WORKLOAD, item)

    async def find(self, namespace: str, name: str) -> Object | None:
        """One workload; None when it does not exist. Raises :class:`~claudeops.errors.ClusterError` when that cannot be told."""
        ref = Ref(WORKLOAD, namespace, name)
        known = self._cache.get(ref)
        if known is not None:
            return known
        try:
            found = await self._kube.get(ref)
        except NotFound:
            return None
        self._cache.put(WORKLOAD, found)
        return found
