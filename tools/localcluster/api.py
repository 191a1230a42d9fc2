"""The few questions that `up` and `status` ask the API server, through the same port as everybody else."""

import http.client
import json
import ssl
import time
from collections.abc import Callable
from typing import Any

from .errors import LocalClusterError
from .layout import NODE, Layout

POLL_S = 0.1
TIMEOUT_S = 5.0


class Api:
    """A reader with the administrator's certificate."""

    def __init__(self, layout: Layout, port: int) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=layout.pki / "ca.crt")
        self._tls.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")

    def get(self, path: str) -> Any | None:
        """The document at the path; None if it is not there or the server does not answer."""
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=TIMEOUT_S, context=self._tls)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if answer.status != 200:
            return None
        return json.loads(body) if body[:1] in b"{[" else body.decode()

    def is_ready(self) -> bool:
        """The API server says it is ready."""
        return self.get("/readyz") is not None

    def is_node_ready(self) -> bool:
        """The node can run pods."""
        node = self.get(f"/api/v1/nodes/{NODE}")
        return node is not None and any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))

    def accepts_pods(self) -> bool:
        """The default ServiceAccount is there, without which a pod is refused."""
        return self.get("/api/v1/namespaces/default/serviceaccounts/default") is not None


def wait_until(is_so: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Poll until true. Raises LocalClusterError naming `what` if it does not come true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise LocalClusterError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(POLL_S)
