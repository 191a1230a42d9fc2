"""One process of ours: started, listened to, started again when it ends by itself, ended in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

FIRST_BACKOFF_S: Final = 0.5
LAST_BACKOFF_S: Final = 8.0
SETTLED_S: Final = 30.0
"""A process that ran this long is started again at once, and its backoff begins anew."""
KILL_WAIT_S: Final = 5.0
MAX_LINE_BYTES: Final = 1024 * 1024
_FOREIGN: Final = ("ANTHROPIC_", "CLAUDEOPS_")


class Child:
    """``command`` is asked anew before every start. ``on_line`` gets what the process writes; ``on_end`` how it ended and the seconds
    until it is started again."""

    def __init__(
        self,
        folder: Path,
        command: Callable[[], Sequence[str]],
        *,
        on_line: Callable[[str], None],
        on_end: Callable[[int, float], None],
    ) -> None:
        self._folder = folder
        self._command = command
        self._on_line = on_line
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process; None between two."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    def start(self) -> None:
        """Starts it, and keeps it running from now on."""
        self._task = asyncio.create_task(self._keep(), name=f"child {self._folder.name}")

    async def stop(self, grace_s: float) -> None:
        """SIGTERM; SIGKILL when it has not ended within ``grace_s`` and a little more."""
        self._is_stopping = True
        self._signal(signal.SIGTERM)
        if self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=grace_s + KILL_WAIT_S)
        if not done:
            self.kill()
            await asyncio.wait([self._task], timeout=KILL_WAIT_S)
            self._task.cancel()

    def kill(self) -> None:
        """SIGKILL, without more ado."""
        self._is_stopping = True
        self._signal(signal.SIGKILL)

    async def _keep(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._is_stopping:
            began_s = time.monotonic()
            code = await self._run_once()
            if self._is_stopping:
                return
            is_settled = time.monotonic() - began_s >= SETTLED_S
            backoff_s = FIRST_BACKOFF_S if is_settled else backoff_s
            self._on_end(code, backoff_s)
            await self._pause(backoff_s)
            backoff_s = min(LAST_BACKOFF_S, 2 * backoff_s)

    async def _run_once(self) -> int:
        """A session of its own: Ctrl-C on the terminal reaches us only, and we say when it is to end."""
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "claudeops.standalone.entry", str(self._folder), *self._command()),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )
        if self._is_stopping:
            self._signal(signal.SIGTERM)
        assert process.stdout is not None
        while raw := await _read_line(process.stdout):
            self._on_line(raw.decode("utf-8", "replace").rstrip())
        return await process.wait()

    async def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < until_s:
            await asyncio.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    """The next line; empty at the end. One that is too long is left out."""
    while True:
        try:
            return await stream.readline()
        except ValueError:
            continue


def environment() -> dict[str, str]:
    """For a process of ours: no credentials and no settings of the user's shell."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    return kept | {"PYTHONUNBUFFERED": "1"}


def describe_end(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
