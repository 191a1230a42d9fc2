"""Processes by (pid, start time), so that a stored pid is never mistaken for a later process of the same number."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

STATE_FIELD, START_FIELD = 0, 19
POLL_S = 0.02


@dataclass(frozen=True)
class Identity:
    """One process, for ever."""

    pid: int
    start_ticks: int

    def is_alive(self) -> bool:
        """It exists and is no zombie."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[START_FIELD]) == self.start_ticks and fields[STATE_FIELD] != "Z"

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it is still the same process."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_gone(self, timeout_s: float) -> bool:
        """Whether it was gone within the time."""
        deadline_s = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        return not self.is_alive()


def identify(pid: int) -> Identity | None:
    """The process that has this pid now."""
    fields = _stat(pid)
    return Identity(pid, int(fields[START_FIELD])) if fields else None


def children_of(pid: int) -> list[int]:
    """The pids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def find_by_command_line(*words: str) -> list[Identity]:
    """All processes whose command line has every one of these words as an argument of its own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if all(word in arguments for word in words) and (one := identify(int(entry.name))):
                    found.append(one)
    return found


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
