"""`claudeops run` as a process, with what it says as JSON documents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "support-bot"
LIMIT_S = 90.0
Document = dict[str, Any]


class Run:
    """One process. Everything it prints is kept, in order."""

    def __init__(self, *words: str, folder: Path, environment: dict[str, str] | None = None) -> None:
        """``folder`` stands in for the user's runtime folder: nothing may stay in it."""
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "claudeops", "run", "-o", "json", *words],
            env={**kept, "XDG_RUNTIME_DIR": str(folder), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.documents: list[Document] = []
        self.complaint = ""
        self._news = threading.Condition()
        self._readers = [threading.Thread(target=reader, daemon=True) for reader in (self._read, self._read_complaint)]
        for thread in self._readers:
            thread.start()

    def wait_for(self, what: str, find: Callable[[Document], bool], *, since: int = 0) -> Document:
        """The first document from number ``since`` on that fits. AssertionError with everything that was said if there is none in time."""
        deadline_s = time.monotonic() + LIMIT_S
        with self._news:
            while True:
                found = next((document for document in self.documents[since:] if find(document)), None)
                if found is not None:
                    return found
                is_over = not self._readers[0].is_alive()
                assert not is_over and self._news.wait(deadline_s - time.monotonic()), f"{what}: not said in\n{self}"

    def wait_for_status(self, workload: str, check: Callable[[Document], bool], *, since: int = 0) -> Document:
        """The first status document of a workload that fits."""
        found = self.wait_for(
            f"status of {workload}",
            lambda document: document["event"] == "status" and document["workload"] == workload and check(document["status"]),
            since=since,
        )
        return found

    def wait_until_ready(self, *workloads: str) -> dict[str, list[str]]:
        """The addresses of the workloads' proxies."""
        return {workload: self.wait_for_status(workload, is_ready)["urls"] for workload in workloads}

    def wait_for_text(self, text: str, *, since: int = 0) -> Document:
        """The first message that holds the text."""
        return self.wait_for(text, lambda document: text in document.get("message", ""), since=since)

    @property
    def said(self) -> int:
        """How many documents there are so far: where to look from, for what comes after this moment."""
        return len(self.documents)

    @property
    def simulator(self) -> str:
        """Its address."""
        return str(self.wait_for_text("a simulator stands in")["message"]).rpartition(" ")[2]

    def children(self) -> list[int]:
        """Processes that it started."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in listed.split()]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT_S)
        for thread in self._readers:
            thread.join(LIMIT_S)
        return code

    def close(self) -> None:
        """Ends it the hard way if need be."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._readers:
            thread.join(LIMIT_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.documents.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _read_complaint(self) -> None:
        assert self.process.stderr is not None
        self.complaint = self.process.stderr.read()

    def __str__(self) -> str:
        said = [document.get("message") or f"{document.get('workload')} {document.get('status')}" for document in self.documents]
        return "\n".join([*said[-40:], self.complaint])


@contextmanager
def running(*words: str, folder: Path, environment: dict[str, str] | None = None) -> Iterator[Run]:
    """A run that is ended in any case."""
    run = Run(*words, folder=folder, environment=environment)
    try:
        yield run
    finally:
        run.close()


def is_ready(status: Document) -> bool:
    """Whether every proxy runs the current config."""
    return condition(status, "Ready")["status"] == "True" and status["proxies"]["converged"] == status["proxies"]["expected"]


def condition(status: Document, kind: str) -> Document:
    """One condition of a status."""
    return next(dict(entry) for entry in status["conditions"] if entry["type"] == kind)


def wait_until(what: str, check: Callable[[], bool]) -> None:
    """Polls."""
    deadline_s = time.monotonic() + LIMIT_S
    while not check():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
