"""One run from beginning to end: read, start, follow the files, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from claudeops.errors import ClaudeOpsError, InvalidResource
from claudeops.proxyconfig import WorkloadKey
from claudeops.standalone.inventory import Inventory, take_inventory
from claudeops.standalone.local_fleet import LocalFleet, LocalOptions
from claudeops.standalone.manifest import Complaint
from claudeops.standalone.output import Output
from claudeops.standalone.plan import Plan, PlanRules, make_plan, quota_warnings, with_simulators
from claudeops.standalone.program import Program, choose_workload, run_program
from claudeops.standalone.proxy import HOST, is_free
from claudeops.standalone.simulated import LocalSimulator
from claudeops.standalone.source import ManifestFiles

POLL_S: Final = 0.25
SHOW_S: Final = 1.0
READY_POLL_S: Final = 0.05
INTERRUPTED: Final = 130
_MEMORY_FOLDERS: Final = ("/dev/shm",)


@dataclass(frozen=True)
class RunOptions:
    """What the command line says."""

    paths: tuple[Path, ...]
    rules: PlanRules
    local: LocalOptions = field(default_factory=LocalOptions)
    program: Program | None = None
    """Ends the run when it ends."""


class Session:
    """Everything of one run; :func:`run_session` is its life."""

    def __init__(self, options: RunOptions, output: Output, folder: Path) -> None:
        self._options = options
        self._output = output
        self._folder = folder
        self._files = ManifestFiles(options.paths)
        self._inventory: Inventory | None = None
        self._plan: Plan | None = None
        self._problems: Mapping[WorkloadKey, str] = {}
        self._said: tuple[str, ...] = ()
        self._simulators: dict[str, LocalSimulator] = {}
        self.fleet = LocalFleet(folder, options.local, output.tell)

    async def start(self) -> None:
        """Raises :class:`~claudeops.errors.InvalidResource` with every complaint, before anything runs."""
        plan, complaints = await self._read()
        if complaints:
            raise InvalidResource("\n".join(["these manifests cannot be used:", *(f"  {text}" for text in complaints)]))
        if not plan.workloads:
            raise InvalidResource(f"no ClaudeWorkload in {', '.join(map(str, self._options.paths))}: nothing to run")
        if self._options.program is not None:
            choose_workload(self._options.program, plan.workloads)
        ensure_free(self._options.local.first_port, len(plan.workloads) * self._options.local.proxies)
        self._say_what_is_ignored()
        await self.fleet.start()
        self.fleet.apply(plan)

    async def follow(self) -> None:
        """Applies every change of the files, for ever."""
        while True:
            await asyncio.sleep(POLL_S)
            if not self._files.has_changed():
                continue
            try:
                plan, complaints = await self._read()
            except (ClaudeOpsError, OSError) as error:
                self._output.tell("invalid", f"{error}: everything stands as it was")
                continue
            for text in complaints:
                self._output.tell("invalid", text)
            self.fleet.apply(plan)
            self._output.tell("reloaded", "the manifests were read again" + (": what is wrong stands as it was" if complaints else ""))

    async def show(self) -> None:
        """Refreshes what is shown, for ever."""
        while True:
            self.fleet.refresh(self._problems)
            self._output.show(list(self.fleet.sites.values()), self.fleet.quota_views())
            await asyncio.sleep(SHOW_S)

    async def work(self, program: Program) -> int:
        """Runs the program as soon as its proxies run their config; its exit code."""
        site = self.fleet.sites[choose_workload(program, self.fleet.sites)]
        while site.view.converged != len(site.proxies):
            await asyncio.sleep(READY_POLL_S)
            self.fleet.refresh(self._problems)
        return await run_program(program, site.proxies[0].url)

    async def stop(self) -> None:
        """Drains the proxies, then ends what they spoke to."""
        await self.fleet.stop()
        await asyncio.gather(*(simulator.stop() for simulator in self._simulators.values()))

    def kill(self) -> None:
        """Ends every process at once."""
        self.fleet.kill()
        for simulator in self._simulators.values():
            simulator.kill()

    async def _read(self) -> tuple[Plan, tuple[str, ...]]:
        reading = self._files.read()
        self._inventory = inventory = take_inventory(reading.documents, self._inventory)
        rules = self._options.rules
        if rules.is_simulated:
            inventory = with_simulators(inventory, await self._simulate(inventory))
        self._plan = plan = make_plan(inventory, rules, previous=self._plan)
        for text in quota_warnings(inventory):
            self._output.tell("warning", text)
        self._problems = plan.problems
        return plan, tuple(str(complaint) for complaint in (*reading.complaints, *plan.complaints))

    async def _simulate(self, inventory: Inventory) -> dict[str, str]:
        for name, quota in inventory.quotas.items():
            if name not in self._simulators:
                folder = self._folder / f"simulator-{len(self._simulators)}"
                self._simulators[name] = simulator = LocalSimulator(name, folder, quota, self._output.tell)
                await simulator.start()
        return {name: self._simulators[name].url for name in inventory.quotas}

    def _say_what_is_ignored(self) -> None:
        ignored = self._inventory.ignored if self._inventory else {}
        if ignored:
            kinds = ", ".join(f"{kind} ×{count}" if count > 1 else kind for kind, count in sorted(ignored.items()))
            self._output.tell("note", f"left to a cluster: {kinds}")


async def run_session(options: RunOptions, output: Output) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP, then drains; a second one ends everything at once. 0 after an orderly end.

    With a program, it runs until that one ends, and returns its exit code.

    Raises :class:`~claudeops.errors.ClaudeOpsError` when it cannot start.
    """
    ending = asyncio.Event()
    with runtime_folder() as folder:
        session = Session(options, output, folder)
        _on_signals(session, ending, output)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(ending.wait(), name="signal")]
        try:
            await session.start()
            tasks += [asyncio.create_task(session.follow()), asyncio.create_task(session.show())]
            if options.program is not None:
                tasks.append(asyncio.create_task(session.work(options.program), name="program"))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            results = {task.get_name(): task.result() for task in done}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await session.stop()
    return int(results.get("program", 0 if options.program is None else INTERRUPTED))


def check(options: RunOptions) -> tuple[Plan, tuple[Complaint, ...], tuple[str, ...]]:
    """What the files say, without starting anything: the plan, what keeps it from running, and what does not fit but may stay."""
    reading = ManifestFiles(options.paths).read()
    inventory = take_inventory(reading.documents)
    plan = make_plan(inventory, options.rules)
    notes = (planned.declared.document.complain(text) for planned in plan.workloads.values() for text in planned.warnings)
    return plan, (*reading.complaints, *plan.complaints), (*quota_warnings(inventory), *map(str, notes))


def ensure_free(first_port: int, count: int) -> None:
    """Raises :class:`~claudeops.errors.InvalidResource` that names the first port which cannot be had."""
    for port in range(first_port, first_port + count) if first_port else ():
        if not is_free(port):
            message = f"port {port} of {HOST} cannot be had, somebody else may have it: name another first port, or 0 for any that are free"
            raise InvalidResource(message, path="--port")


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """A folder for keys and tokens that only this user may enter, in memory where there is such a place. It goes in the end."""
    candidates = (os.environ.get("XDG_RUNTIME_DIR", ""), *_MEMORY_FOLDERS)
    parent = next((name for name in candidates if name and os.path.isdir(name) and os.access(name, os.W_OK | os.X_OK)), None)
    folder = Path(tempfile.mkdtemp(prefix="claudeops-run-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _on_signals(session: Session, ending: asyncio.Event, output: Output) -> None:
    def end() -> None:
        if ending.is_set():
            session.kill()
            return
        ending.set()
        running = session.fleet.in_flight
        output.tell("stopping", f"ending: {running} requests are running; once more ends them at once" if running else "ending")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)
