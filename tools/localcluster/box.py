"""The box: namespaces of this machine whose first process is `init`; found again by that process's command line."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .api import wait_until
from .cgroup import detect_cgroups
from .errors import LocalClusterError
from .layout import Layout
from .process import Identity, find_by_command_line

REPOSITORY = Path(__file__).parents[2]
INIT_MODULE = "tools.localcluster.init"
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")
GONE_TIMEOUT_S = 20.0


def start_box(layout: Layout, *, listener: socket.socket) -> None:
    """Start `init` in new namespaces; it inherits the listening socket, which stays in this network namespace."""
    argv = [*UNSHARE, sys.executable, "-m", INIT_MODULE, str(layout.init_spec)]
    with (layout.logs / "init.log").open("ab") as log:
        subprocess.Popen(
            argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(listener.fileno(),)
        )


def find_init(layout: Layout) -> Identity | None:
    """The box's first process, as seen from here, if the box is there."""
    for process in find_by_command_line(INIT_MODULE, str(layout.init_spec)):
        with contextlib.suppress(OSError):
            status = (Path("/proc") / str(process.pid) / "status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) > 1 and numbers[-1] == "1":
                return process
    return None


def enter(layout: Layout, argv: Sequence[str | Path], *, namespaces: str = "-m -n -p") -> list[str]:
    """The command that runs `argv` inside the box. Raises LocalClusterError if there is no box."""
    init = find_init(layout)
    if init is None:
        raise LocalClusterError(f"the cluster {layout.name} is not up: python -m tools.localcluster up")
    return ["nsenter", "-t", str(init.pid), *namespaces.split(), "--", *map(str, argv)]


def remove_box(layout: Layout) -> bool:
    """End the box and remove all it left, also after a kill at any moment. Whether there was anything."""
    processes = find_by_command_line(INIT_MODULE, str(layout.init_spec))
    for process in processes:
        process.send(signal.SIGKILL)
    for process in processes:
        if not process.wait_gone(GONE_TIMEOUT_S):
            raise LocalClusterError(f"process {process.pid} of the box does not end: look at /proc/{process.pid}/stack")
    was_there = bool(processes) or layout.box.exists()
    detect_cgroups().remove(layout.cgroup)
    layout.kubeconfig.unlink(missing_ok=True)
    wait_until(lambda: _is_removed(layout.box), timeout_s=GONE_TIMEOUT_S, what=f"the removal of {layout.box}")
    return was_there


def _is_removed(folder: Path) -> bool:
    # A helper that a killed run left may still be writing for a moment.
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    return not folder.exists()
