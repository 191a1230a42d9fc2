"""`make demo` in small: it comes up by itself on a cluster of its own, and Ctrl-C leaves nothing behind."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.cluster.conftest import REPOSITORY, assert_gone
from tools.localcluster.box import find_init
from tools.localcluster.layout import Layout
from tools.localcluster.lifecycle import down

pytestmark = pytest.mark.cluster

NAME = "demo-test"
BEGUN = "pods run with a proxy"
UP_TIMEOUT_S, DOWN_TIMEOUT_S = 120.0, 60.0


def test_the_demonstration_runs_and_an_interrupt_takes_everything_down() -> None:
    if os.environ.get("CLAUDEOPS_TEST_KUBECONFIG"):
        pytest.skip("it brings a local cluster up")
    layout = Layout(NAME)
    environment = {**os.environ, "CLAUDEOPS_CLUSTER": NAME, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tools.demo", "--plain"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        try:
            said = Said(demo)
            said.wait_for(BEGUN)
            assert find_init(layout) is not None
            os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to the whole group
            assert demo.wait(DOWN_TIMEOUT_S) == 130, said
            assert_gone(layout)
        finally:
            demo.kill()
            down(layout)


class Said:
    """The lines that the demonstration prints, read as they come."""

    def __init__(self, demo: "subprocess.Popen[str]") -> None:
        self._demo = demo
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, text: str) -> None:
        """Until a line has the text. AssertionError with all that was said if it ends or takes too long before."""
        deadline_s = time.monotonic() + UP_TIMEOUT_S
        while not (self._seen and text in self._seen[-1]):
            try:
                line = self._lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no line with {text!r} in:\n{self}"
            self._seen.append(line)

    def _read(self) -> None:
        assert self._demo.stdout is not None
        for line in self._demo.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def __str__(self) -> str:
        return "".join(self._seen)
