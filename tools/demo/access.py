"""One cluster as the demonstration sees it: `kubectl` for what a person would type, and the API server's own proxy for live figures."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]


class DemoError(Exception):
    """A step did not happen. The message says which, and what was seen instead."""


class Access:
    """`kubectl` against one context, and HTTP through `kubectl proxy`, which works with every kind of credentials."""

    def __init__(self, kubectl: str, arguments: list[str]) -> None:
        self.command = [kubectl, *arguments]
        self._proxy: subprocess.Popen[str] | None = None
        self._base_url = ""

    def kubectl(self, *words: str, stdin: str | None = None, is_checked: bool = True) -> str:
        """Runs `kubectl` and returns what it printed.

        Raises :class:`DemoError` with its complaint.
        """
        done = subprocess.run([*self.command, *words], input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
        if is_checked and done.returncode:
            raise DemoError(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def install(self, *what: str, namespaces: list[str]) -> None:
        """Applies manifests; what ran already (a demonstration that was kept) is restarted, since its images may have changed."""
        kept = [name for name in namespaces if self.kubectl("-n", name, "get", "deployments", "-o", "name", is_checked=False).strip()]
        self.kubectl("apply", "--server-side", "--force-conflicts", *what)
        for name in kept:
            self.kubectl("-n", name, "rollout", "restart", "deployment")

    def shown(self, *words: str) -> str:
        """The line a person would type for the same."""
        return "kubectl " + " ".join(words)

    def request(self, path: str, *, method: str = "GET", body: Any = None, timeout_s: float = 5.0) -> Any:
        """JSON from a path of the API server.

        Raises :class:`OSError` when there is no answer and :class:`urllib.error.HTTPError` for a status of 400 and above.
        """
        data = None if body is None else json.dumps(body).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(self._url() + path, data=data, method=method, headers={"content-type": kind})
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def service(self, namespace: str, name: str, path: str, **options: Any) -> Any:
        """JSON from a Service's port 8080, through the API server."""
        return self.request(f"/api/v1/namespaces/{namespace}/services/{name}:8080/proxy{path}", **options)

    def close(self) -> None:
        """Ends `kubectl proxy`."""
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(5)
            if self._proxy.stdout is not None:
                self._proxy.stdout.close()
            self._proxy = None

    def _url(self) -> str:
        if self._proxy is None or self._proxy.poll() is not None:
            self._proxy = subprocess.Popen(
                [*self.command, "proxy", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert self._proxy.stdout is not None
            line = self._proxy.stdout.readline()
            match = re.search(r"127\.0\.0\.1:\d+", line)
            if match is None:
                raise DemoError(f"kubectl proxy did not start: {line.strip()}")
            self._base_url = f"http://{match.group()}"
        return self._base_url


def wait_until(what: str, check: Callable[[], Any], *, timeout_s: float, every_s: float = 0.25) -> Any:
    """Polls until ``check`` gives something true, and returns it. An :class:`OSError` counts as "not yet".

    Raises :class:`DemoError` after ``timeout_s``.
    """
    until = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < until:
        try:
            if last := check():
                return last
        except (OSError, urllib.error.HTTPError, KeyError) as error:
            last = error
        time.sleep(every_s)
    raise DemoError(f"{what}: not within {timeout_s:.0f} s (last seen: {last!r})")
