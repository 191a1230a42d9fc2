"""From this machine's loopback to an address inside the box: for the API server, and for any service or pod on request."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .box import REPOSITORY, enter, find_init
from .command import run
from .errors import LocalClusterError
from .initspec import Server
from .kubectl import find_kubectl
from .layout import API_PORT, Layout
from .progress import Progress

LOOPBACK = "127.0.0.1"
RELAY_MODULE = "tools.localcluster.relay"
BACKLOG = 1024


@dataclass(frozen=True)
class Target:
    """An address inside the box."""

    host: str
    port: int


def listen(port: int = 0) -> socket.socket:
    """A listening socket on the loopback; another port than the asked one if that is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError:
        listener.bind((LOOPBACK, 0))
    listener.listen(BACKLOG)
    return listener


def api_forwarder(listener: socket.socket) -> Server:
    """The supervised server that brings the API server's port out of the box."""
    fd = listener.fileno()
    return Server("forwarder", (sys.executable, "-m", RELAY_MODULE, str(fd), LOOPBACK, str(API_PORT)), inherited_fds=(fd,))


@contextlib.contextmanager
def forwarded(layout: Layout, target: Target, *, port: int = 0) -> Iterator[int]:
    """While in the block, the given port here (a free one if 0 or taken) leads to the target. Ends with the box, too."""
    with listen(port) as listener:
        init = find_init(layout)
        watched = [str(os.getpid()), *([str(init.pid)] if init else [])]
        argv = [sys.executable, "-m", RELAY_MODULE, str(listener.fileno()), target.host, str(target.port), *watched]
        process = subprocess.Popen(enter(layout, argv, namespaces="-n"), cwd=REPOSITORY, pass_fds=(listener.fileno(),))
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.terminate()
            process.wait()


def find_target(layout: Layout, *, namespace: str, name: str) -> Target:
    """`svc/NAME:PORT` or `pod/NAME:PORT` (a service's port may be given by name). Raises LocalClusterError."""
    kind, _, rest = name.partition("/")
    object_name, _, port = rest.partition(":")
    if kind not in {"svc", "service", "pod"} or not object_name or not port:
        raise LocalClusterError(f"{name!r} is neither svc/NAME:PORT nor pod/NAME:PORT")
    kubectl = find_kubectl(Progress(quiet=True))
    found = json.loads(run([kubectl, "--kubeconfig", layout.kubeconfig, "-n", namespace, "get", kind, object_name, "-o", "json"]))
    if kind == "pod":
        return Target(found["status"]["podIP"], int(port))
    ports = {str(key): entry["port"] for entry in found["spec"]["ports"] for key in (entry["port"], entry.get("name"))}
    if port not in ports:
        raise LocalClusterError(f"{name}: the service has no port {port}, but {', '.join(sorted(ports))}")
    return Target(found["spec"]["clusterIP"], ports[port])
