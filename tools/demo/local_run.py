"""`claudeops run` as a process of the demonstration, and requests as `curl` would send them."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tools.demo.access import DemoError

START_S = 60.0
STOP_S = 20.0


class LocalRun:
    """Started when it is made; what it prints is read as JSON documents."""

    def __init__(self, folder: pathlib.Path, *, proxies: int) -> None:
        words = ["run", "-f", str(folder), "--simulator", "--proxies", str(proxies), "--port", "0", "-o", "json", "--grace", "2"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "claudeops", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._news: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._words: list[str] = []
        self.urls: dict[str, list[str]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self.simulator = ""
        threading.Thread(target=self._read, name="claudeops run", daemon=True).start()

    def wait(self, what: str, check: Callable[[], bool], *, timeout_s: float = START_S) -> None:
        """Reads on until ``check`` holds. Raises :class:`DemoError` when it ends before, or takes too long."""
        until_s = time.monotonic() + timeout_s
        while not check():
            try:
                document = self._news.get(timeout=max(0.01, until_s - time.monotonic()))
            except queue.Empty:
                raise DemoError(f"{what}: not within {timeout_s:.0f} s; {self._last_words()}") from None
            if document is None:
                raise DemoError(f"{what}: claudeops run has ended; {self._last_words()}")
            self._take(document)

    def is_ready(self) -> bool:
        """Whether every proxy of every workload runs its config."""
        return bool(self.statuses) and all(
            status["conditions"][0]["status"] == "True" and status["proxies"]["converged"] == status["proxies"]["expected"]
            for status in self.statuses.values()
        )

    def stop(self) -> None:
        """Asks it to end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ends it, at once if it does not end in time."""
        self.stop()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _take(self, document: dict[str, Any]) -> None:
        if document["event"] == "status":
            self.statuses[document["workload"]] = document["status"]
            self.urls[document["workload"]] = document["urls"]
        elif "a simulator stands in" in document["message"]:
            self.simulator = document["message"].rpartition(" ")[2]

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._words.append(line.strip())
                if line.startswith("{"):
                    self._news.put(json.loads(line))
        self._news.put(None)

    def _last_words(self) -> str:
        return f"its last words: {self._words[-1]}" if self._words else "it said nothing"


def call(base_url: str, path: str, body: Any = None, *, method: str = "POST") -> tuple[int, Any]:
    """Status and document of one request on a connection of its own. Raises :class:`OSError` when there is no answer."""
    url = urlsplit(base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "sk-ant-sim-curl"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except http.client.HTTPException as error:
        raise OSError(f"{base_url}{path}: {error!r}") from error
    finally:
        connection.close()
