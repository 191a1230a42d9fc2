"""``/metrics``: made in parts between the requests, see :mod:`claudeops.sidecar.exposition`."""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from claudeops.sidecar.admin import Page
from claudeops.sidecar.metrics import Measures

_WRITER = "claudeops.sidecar.exposition"


class MetricsPage:
    """Answers scrapes of one proxy."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._writer: Any = None

    async def page(self, accept: str) -> Page:
        """In the form that the ``Accept`` header asks for; 503 where ``prometheus-client`` is not installed."""
        try:
            writer = await self._load()
        except ImportError as error:
            return Page(503, f"there are no metrics without the package prometheus-client: {error}\n".encode())
        runtime = self._measures.runtime
        now = runtime.clock()
        kind = writer.content_type(accept)
        parts: list[bytes] = []
        for part in writer.render(self._measures, kind, now=now, wall_offset_s=runtime.wall_clock() - now):
            parts.append(part)
            await asyncio.sleep(0)
        return Page(200, b"".join(parts), kind)

    async def _load(self) -> Any:
        if self._writer is None:
            with ThreadPoolExecutor(1) as executor:
                self._writer = await asyncio.get_running_loop().run_in_executor(executor, importlib.import_module, _WRITER)
        return self._writer
