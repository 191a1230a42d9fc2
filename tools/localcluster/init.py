"""The box's first process: mounts, network, then the servers, which it starts, restarts and reaps. All ends with it.

Runs as `python -m tools.localcluster.init SPEC` under `unshare`; everything it does is decided in the spec.
"""

import contextlib
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .initspec import BOUND_FOLDERS, SYSCTLS, InitSpec, Server, bound_source, read_spec

TICK_S = 0.1
RESTART_DELAY_S = 0.5
PROBE_TIMEOUT_S = 1.0


class Supervisor:
    """Keeps the wanted servers running: started in order, restarted when they die, left alone where NAME.stopped exists."""

    def __init__(self, spec: InitSpec) -> None:
        self._spec = spec
        self._box = Path(spec.box)
        self._control = self._box / "control"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._not_before_s: dict[str, float] = {}
        self._has_api_answered = False

    def tick(self) -> None:
        """Reap what ended and start what is missing."""
        self._reap()
        if not self._has_api_answered:
            self._has_api_answered = is_api_ready(self._spec)
        for server in self._spec.servers:
            if server.name not in self._running and self._may_start(server):
                self._start(server)

    def _may_start(self, server: Server) -> bool:
        if server.needs_api and not self._has_api_answered:
            return False
        is_stopped = (self._control / f"{server.name}.stopped").exists()
        return not is_stopped and time.monotonic() >= self._not_before_s.get(server.name, 0.0)

    def _start(self, server: Server) -> None:
        with (self._box / "log" / f"{server.name}.log").open("ab") as log:
            process = subprocess.Popen(server.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=server.inherited_fds)
        self._running[server.name] = process
        (self._control / f"{server.name}.pid").write_text(str(process.pid))
        say(f"{server.name}: started, pid {process.pid}")

    def _reap(self) -> None:
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                say(f"{name}: ended with code {process.returncode}")
                del self._running[name]
                (self._control / f"{name}.pid").unlink(missing_ok=True)
                self._not_before_s[name] = time.monotonic() + RESTART_DELAY_S
        _reap_orphans({process.pid for process in self._running.values()})


def _reap_orphans(ours: set[int]) -> None:
    """Children that were left to us (shims, containers' processes); our own are reaped by their Popen."""
    for word in Path("/proc/self/task/1/children").read_text().split():
        if int(word) not in ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(word), os.WNOHANG)


def is_api_ready(spec: InitSpec) -> bool:
    """Whether the API server answers /readyz with 200 now."""
    context = ssl.create_default_context(cafile=f"{spec.pki}/ca.crt")
    context.load_cert_chain(f"{spec.pki}/admin.crt", f"{spec.pki}/admin.key")
    try:
        with urllib.request.urlopen(f"{spec.api_url}/readyz", timeout=PROBE_TIMEOUT_S, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def prepare_mounts(box: Path, *, sysctls: Mapping[str, str]) -> None:
    """Put the box's own folders and settings over the machine's, for this mount namespace only."""
    run("mount", "--make-rshared", "/")
    for folder in BOUND_FOLDERS:
        source = bound_source(box, folder)
        source.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", str(source), folder)
    for folder in ("/run/netns", "/run/lock", "/var/lib/containerd", "/var/lib/cni", "/var/lib/kubelet"):
        Path(folder).mkdir(exist_ok=True)
    for key, value in sysctls.items():
        file = box / "fs" / f"sysctl-{key.replace('/', '.')}"
        file.write_text(f"{value}\n")
        if Path(f"/proc/sys/{key}").exists():
            run("mount", "--bind", str(file), f"/proc/sys/{key}")


def prepare_network(spec: InitSpec) -> None:
    """The bridge and the forwarding of this network namespace."""
    for words in spec.network:
        run(*words)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def run(*argv: str) -> None:
    """Run a small command; its failure ends the box."""
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def say(text: str) -> None:
    """One line into init.log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Never returns while the box lives."""
    spec = read_spec(Path(sys.argv[1]))
    prepare_mounts(Path(spec.box), sysctls=SYSCTLS)
    prepare_network(spec)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    supervisor = Supervisor(spec)
    while True:
        supervisor.tick()
        signal.sigtimedwait({signal.SIGCHLD}, TICK_S)


if __name__ == "__main__":
    main()
