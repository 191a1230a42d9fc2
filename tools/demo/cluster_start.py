"""The local cluster comes up beside the opening: its words are held back until it is its turn to speak."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from tools.demo.access import ROOT, Access, DemoError
from tools.demo.screen import Screen

STOP_S = 3.0


class ClusterStart:
    """`tools.localcluster up`, begun when this is made."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.localcluster", "up"],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._lock = threading.Lock()
        self._held: list[str] | None = []
        self._reader = threading.Thread(target=self._read, name="cluster", daemon=True)
        self._reader.start()

    def finish(self, screen: Screen) -> Access:
        """Shows what it said and says, and waits for its end. Raises :class:`DemoError` when the cluster did not come up."""
        screen.step("A real one-node Kubernetes on this machine")
        with self._lock:
            held, self._held = self._held or [], None
            _print("".join(held))
        code = self._process.wait()
        self._reader.join()
        if code:
            raise DemoError("the local cluster did not come up (its words are above); `make demo CONTEXT=…` uses a cluster of your own")
        return local_access()

    def stop(self) -> None:
        """Ends it where it is, with all that it started: a build would go on for minutes. What a cluster left is `down`'s to remove."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._lock:
                    if self._held is None:
                        _print(line)
                    else:
                        self._held.append(line)


def local_access() -> Access:
    """The local cluster that is up."""
    command = [sys.executable, "-m", "tools.localcluster", "status"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    values = dict(line.split(": ", 1) for line in shown.splitlines() if ": " in line)
    return Access(values["kubectl"], ["--kubeconfig", values["kubeconfig"]])


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
