"""A cluster as the tests see it: kubectl, and a bounded wait."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tools.localcluster.forward import find_target, forwarded
from tools.localcluster.layout import Layout

Found = TypeVar("Found")
POLL_S = 0.1


class KubectlError(Exception):
    """kubectl refused; the text is what it said."""


@dataclass(frozen=True)
class Cluster:
    """A real cluster. `layout` is set where it is the local one."""

    kubectl_path: Path
    kubeconfig: Path
    context: str | None = None
    layout: Layout | None = None

    def command(self, *words: str) -> list[str]:
        """The argv of kubectl for this cluster."""
        context = [f"--context={self.context}"] if self.context else []
        return [str(self.kubectl_path), f"--kubeconfig={self.kubeconfig}", *context, *words]

    def kubectl(self, *words: str, stdin: str | None = None, timeout_s: float = 60.0) -> str:
        """Standard output of kubectl. Raises KubectlError with what it said if it fails."""
        done = subprocess.run(self.command(*words), input=stdin or "", capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def apply(self, text: str, *, namespace: str | None = None) -> str:
        """`kubectl apply` of YAML or JSON. Raises KubectlError."""
        return self.kubectl("apply", "-f", "-", *_in(namespace), stdin=text)

    def delete(self, *words: str, namespace: str | None = None) -> None:
        """Delete and wait until it is gone; what is not there is no error."""
        self.kubectl("delete", "--ignore-not-found", *_in(namespace), *words)

    def get_json(self, *words: str, namespace: str | None = None) -> Any:
        """`kubectl get WORDS -o json`, parsed. Raises KubectlError, also if the object is not there."""
        return json.loads(self.kubectl("get", *_in(namespace), *words, "-o", "json"))

    def wait_for(self, predicate: Callable[[], Found | None], timeout_s: float = 30.0, *, what: str = "the condition") -> Found:
        """The first true value of the predicate; a KubectlError in it counts as not yet. Raises AssertionError after the time."""
        deadline_s = time.monotonic() + timeout_s
        last: object = None
        while True:
            try:
                if value := predicate():
                    return value
                last = value
            except KubectlError as error:
                last = error
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{what}: not within {timeout_s} s; the last answer was {last!r}")
            time.sleep(POLL_S)

    @contextlib.contextmanager
    def namespace(self, name: str, *, labels: dict[str, str] | None = None) -> Iterator[str]:
        """A fresh namespace, deleted at the end."""
        self.delete("namespace", name)
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}))
        try:
            self.wait_for(lambda: self.get_json("serviceaccount", "default", namespace=name), what=f"the ServiceAccount of {name}")
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    @contextlib.contextmanager
    def reach(self, namespace: str, target: str) -> Iterator[str]:
        """While in the block, `host:port` on this machine leads to `svc/NAME:PORT` or `pod/NAME:PORT`."""
        if self.layout:
            with forwarded(self.layout, find_target(self.layout, namespace=namespace, name=target)) as port:
                yield f"127.0.0.1:{port}"
            return
        name, _, number = target.partition(":")
        with _port_forward(self.command("-n", namespace, "port-forward", name, f":{number}")) as port:
            yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _port_forward(argv: Sequence[str]) -> Iterator[int]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            if found is None:
                raise KubectlError("port-forward did not say its port")
            yield int(found[1])
        finally:
            process.terminate()


def _in(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []
