"""The box's own control groups: one in every v1 hierarchy, or one in the v2 tree, whichever this machine has."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import LocalClusterError

ROOT = Path("/sys/fs/cgroup")
NEEDED = ("cpu", "memory", "cpuset", "pids")
SHARES_PER_CPU = 1024
"""A node's pods weigh this much a CPU against the machine's other work, as the kubelet of a node of its own would have it. Without it
all pods together weigh as much as one busy process outside."""
REMOVE_TIMEOUT_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True)
class CgroupTree:
    """How this machine arranges control groups: the version, and the folders in which the box gets one of its own."""

    version: int
    parents: tuple[Path, ...]

    def create(self, name: str) -> None:
        """Make the group `name` everywhere and give it what its children need. Raises LocalClusterError."""
        if self.version == 2:
            self._enable_controllers()
        for parent in self.parents:
            (parent / name).mkdir(exist_ok=True)
            if self.version == 1 and (parent / "cpuset.cpus").exists():
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (parent / name / file).write_text((parent / file).read_text())
            if self.version == 1 and (parent / "cpu.shares").exists():
                (parent / name / "cpu.shares").write_text(str(SHARES_PER_CPU * (os.cpu_count() or 1)))

    def remove(self, name: str) -> None:
        """Kill whatever is still in the group `name` or below it, and remove it. Raises LocalClusterError if it stays."""
        deadline_s = time.monotonic() + REMOVE_TIMEOUT_S
        while remaining := [parent / name for parent in self.parents if (parent / name).is_dir()]:
            for group in remaining:
                _remove_tree(group)
            if not any(group.is_dir() for group in remaining):
                return
            if time.monotonic() > deadline_s:
                raise LocalClusterError(f"could not remove the control groups {', '.join(map(str, remaining))}: see cgroup.procs in them")
            time.sleep(POLL_S)

    def _enable_controllers(self) -> None:
        (root,) = self.parents
        control = root / "cgroup.subtree_control"
        enabled = control.read_text().split()
        for controller in NEEDED:
            if controller not in enabled:
                try:
                    control.write_text(f"+{controller}")
                except OSError as error:
                    raise LocalClusterError(
                        f"cgroup v2: the {controller} controller cannot be handed to children of {root} ({error.strerror}). Inside a "
                        "container the processes of its root group must first move to a group below it; see cgroup.controllers there."
                    ) from error


def detect_cgroups(root: Path = ROOT) -> CgroupTree:
    """Find out the layout. Raises LocalClusterError where it is neither a complete v1 nor a v2 tree."""
    if (root / "cgroup.controllers").exists():
        available, tree = (root / "cgroup.controllers").read_text().split(), CgroupTree(2, (root,))
    elif root.is_dir():
        # cpu,cpuacct is often one hierarchy with links for each name: count every folder once.
        folders = {folder.resolve() for folder in root.iterdir() if (folder / "cgroup.procs").exists()}
        available, tree = [part for folder in folders for part in folder.name.split(",")], CgroupTree(1, tuple(sorted(folders)))
    else:
        raise LocalClusterError(f"no control groups at {root}: the kubelet cannot run here")
    if missing := [name for name in NEEDED if name not in available]:
        raise LocalClusterError(
            f"the control groups at {root} (version {tree.version} by their layout) lack {', '.join(missing)}, which the kubelet needs"
        )
    return tree


def _remove_tree(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            for pid in (Path(folder) / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.rmdir(folder)
