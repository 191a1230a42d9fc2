"""What requests are authenticated with: the key in a file, or, where the configuration says so, a token got by federation."""

from __future__ import annotations

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import Federation, ProxyConfig
from claudeops.sidecar.config import KeyFile, TokenFile
from claudeops.sidecar.federation import Send, TokenSource
from claudeops.sidecar.runtime import Runtime

Json = dict[str, object]


def read_proxy_login(path: str) -> str:
    """user:password of the proxy on the way to the API; empty where the file is not there or holds nothing of that kind."""
    try:
        login = TokenFile(path).read() if path else ""
    except InvalidResource:
        return ""
    return login if ":" in login else ""


class Credentials:
    """Keeps ``runtime``'s credentials, by the file at ``key_path`` or with the ServiceAccount token at ``identity_path``."""

    def __init__(self, runtime: Runtime, *, key_path: str, identity_path: str) -> None:
        self._runtime = runtime
        self._key_path = key_path
        self._key = KeyFile(key_path, self._take_key)
        self._tokens = TokenSource(runtime, TokenFile(identity_path))
        self._federation: Federation | None = None
        runtime.on_refused = self._refused

    def follow(self, config: ProxyConfig) -> None:
        """A configuration is in force. A key read before is forgotten where federation replaces it, and the other way round."""
        if config.federation == self._federation:
            return
        self._federation = config.federation
        self._runtime.set_key(None)
        self._tokens.follow(config.federation)
        self._key = KeyFile(self._key_path, self._take_key)
        self.poll()

    def poll(self) -> None:
        """Look at the key file, four times a second."""
        if self._federation is None:
            self._key.poll()
            self._runtime.key_error = self._key.error

    def sweep(self, send: Send) -> None:
        """Once a second: ask for a token when it is time, by ``send``."""
        self._tokens.sweep(self._runtime.clock(), send)

    def describe(self, now: float) -> Json:
        """For ``/state``: never what it is, only whether there is one."""
        is_federated = self._federation is not None
        error = self._tokens.error if is_federated else self._key.error
        source = "Federation" if is_federated else "File"
        written: Json = {"isPresent": self._runtime.key is not None, "source": source, "error": error or None}
        if is_federated:
            written["expiresInS"] = round(self._tokens.expires_at - now, 3) if self._tokens.expires_at else None
        return written

    def _take_key(self, key: str) -> None:
        self._runtime.set_key(key.encode("ascii"))

    def _refused(self) -> None:
        self._tokens.refused(self._runtime.clock())
