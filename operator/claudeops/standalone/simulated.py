"""Simulators in place of the API: one for each quota, with that quota's limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from claudeops.api import ClaudeQuota
from claudeops.catalogue import load_catalogue
from claudeops.errors import UpstreamUnavailable
from claudeops.proxyconfig import Rates
from claudeops.standalone.child import Child, describe_end
from claudeops.standalone.proxy import Tell
from claudeops.translate import quota_terms

START_TIMEOUT_S: Final = 30.0
UNLIMITED: Final = 1_000_000_000
_TIERS: Final = ("Start", "Build", "Scale")
_URL: Final = re.compile(r"http://127\.0\.0\.1:(\d+)")


class LocalSimulator:
    """One simulator. Its limits are those that the quota had when it was started."""

    def __init__(self, name: str, folder: Path, quota: ClaudeQuota, tell: Tell) -> None:
        self._name = name
        self._port = 0
        self._limits = limit_flags(quota)
        self._tell = tell
        self._folder = folder
        self._child = Child(folder, self._command, on_line=self._hear, on_end=self._note_end)
        self._listening: asyncio.Event = asyncio.Event()

    async def start(self) -> str:
        """Its address. Raises :class:`~claudeops.errors.UpstreamUnavailable` when it does not come up."""
        self._folder.mkdir(mode=0o700)
        self._child.start()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._listening.wait()
        except TimeoutError:
            raise UpstreamUnavailable(f"the simulator of quota {self._name} did not start (its words are above)") from None
        self._tell("note", f"a simulator stands in for the API of quota {self._name}, with its limits, at {self.url}")
        return self.url

    @property
    def url(self) -> str:
        """Also after a restart."""
        return f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Ends it."""
        await self._child.stop(1.0)

    def kill(self) -> None:
        """Ends it at once."""
        self._child.kill()

    def _command(self) -> Sequence[str]:
        return ("simulate", "--port", str(self._port), *self._limits)

    def _hear(self, line: str) -> None:
        found = _URL.search(line)
        if found and not self._listening.is_set():
            self._port = int(found[1])
            self._listening.set()
        elif not found and line:
            self._tell("warning", f"simulator of quota {self._name}: {line}")

    def _note_end(self, code: int, again_s: float) -> None:
        self._tell("warning", f"the simulator of quota {self._name} {describe_end(code)}; it starts again in {again_s:g} s")


def limit_flags(quota: ClaudeQuota) -> tuple[str, ...]:
    """The flags that give a simulator the quota's limits. A dimension that the quota does not limit is as good as unlimited."""
    known = load_catalogue().groups
    flags = ["--tier", quota.spec.tier if quota.spec.tier in _TIERS else "none"]
    for group, rates in quota_terms(quota).limits.items():
        if group in known:
            flags += ["--limit", f"{group}={','.join(str(figure) for figure in _figures(rates))}"]
    return tuple(flags)


def _figures(rates: Rates) -> Iterable[int]:
    for rate in (rates.requests_per_minute, rates.input_tokens_per_minute, rates.output_tokens_per_minute):
        yield UNLIMITED if rate is None else max(1, int(rate))
