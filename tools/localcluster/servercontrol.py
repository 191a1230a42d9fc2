"""One server of a running cluster stopped and started again: for tests of what holds without it."""

import signal
from pathlib import Path

from .api import wait_until
from .box import enter, find_init
from .command import run
from .errors import LocalClusterError
from .layout import Layout

STOP_TIMEOUT_S = 10.0
START_TIMEOUT_S = 30.0


def running_servers(layout: Layout) -> dict[str, int]:
    """The pid inside the box of every supervised server that runs."""
    return {file.stem: int(file.read_text()) for file in layout.control.glob("*.pid")} if find_init(layout) else {}


def stop_server(layout: Layout, name: str, *, number: signal.Signals = signal.SIGKILL) -> None:
    """End a server at once and keep it from being started again. Raises LocalClusterError if it does not run."""
    running = running_servers(layout)
    if name not in running:
        raise LocalClusterError(f"no server {name} runs, but {', '.join(sorted(running)) or 'none'}")
    _mark(layout, name).touch()
    run(enter(layout, ["kill", f"-{int(number)}", str(running[name])]))
    wait_until(lambda: name not in running_servers(layout), timeout_s=STOP_TIMEOUT_S, what=f"the end of {name}")


def start_server(layout: Layout, name: str) -> None:
    """Let a stopped server start again; returns when its process is there, which is not yet ready."""
    if name not in {mark.stem for mark in layout.control.glob("*.stopped")}:
        raise LocalClusterError(f"{name} was not stopped")
    _mark(layout, name).unlink()
    wait_until(lambda: name in running_servers(layout), timeout_s=START_TIMEOUT_S, what=f"the start of {name}")


def _mark(layout: Layout, name: str) -> Path:
    return layout.control / f"{name}.stopped"
