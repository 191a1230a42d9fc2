"""A program that is run beside the proxies, pointed at one of them: a test suite in a CI job, say."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import WorkloadKey
from claudeops.translate.environment import PLACEHOLDER_KEY

TERMINATE_S: Final = 10.0
_AUTH_TOKEN: Final = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105  a name


class Program(NamedTuple):
    """Its words, and the workload (``name`` or ``namespace/name``) that it is; empty where there is only one."""

    words: tuple[str, ...]
    workload: str = ""


def choose_workload(program: Program, keys: Iterable[WorkloadKey]) -> WorkloadKey:
    """The workload that the program is. Raises :class:`~claudeops.errors.InvalidResource` unless there is exactly one."""
    names = {f"{key.namespace}/{key.name}": key for key in keys}
    wanted = program.workload
    found = [key for name, key in names.items() if not wanted or name == wanted or key.name == wanted]
    if len(found) == 1:
        return found[0]
    problem = f"no workload is called {wanted!r}" if not found else "there are several workloads"
    raise InvalidResource(f"{problem}: name the one that the command is, of {', '.join(names)}", path="--workload")


async def run_program(program: Program, url: str) -> int:
    """Its exit code, 128 and the signal's number where one ended it. Cancelled, it is asked to end, and killed when it does not.

    Raises :class:`~claudeops.errors.InvalidResource` when it cannot be started.
    """
    kept = {name: value for name, value in os.environ.items() if name != _AUTH_TOKEN}
    environment = {**kept, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": PLACEHOLDER_KEY}
    try:
        process = await asyncio.create_subprocess_exec(*program.words, env=environment)
    except OSError as error:
        raise InvalidResource(f"{program.words[0]} cannot be started: {error.strerror}", path="-- COMMAND") from error
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _end(process)
        raise
    return code if code >= 0 else 128 - code


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(TERMINATE_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
