"""``/metrics``: made in parts between the requests, see :mod:`claudeops.sidecar.exposition`."""

from __future__ import annotations

import asyncio

from claudeops.sidecar.admin import Page
from claudeops.sidecar.exposition import content_type, render
from claudeops.sidecar.metrics import Measures


class MetricsPage:
    """Answers scrapes of one proxy."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    async def page(self, accept: str) -> Page:
        """In the form that the ``Accept`` header asks for."""
        runtime = self._measures.runtime
        now = runtime.clock()
        kind = content_type(accept)
        parts: list[bytes] = []
        for part in render(self._measures, kind, now=now, wall_offset_s=runtime.wall_clock() - now):
            parts.append(part)
            await asyncio.sleep(0)
        return Page(200, b"".join(parts), kind)
