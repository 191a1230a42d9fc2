"""One proxy on this machine: its private files, its process, its addresses."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from claudeops.proxyconfig import ProxyConfig, WorkloadKey, encode_config
from claudeops.standalone.child import Child, describe_end

HOST: Final = "127.0.0.1"
Tell = Callable[[str, str], None]
"""Takes the kind of an event (``note``, ``warning``, ``listening``) and a sentence about it."""


class Placement(NamedTuple):
    """Whose proxy it is, where its files are, and its port: 0 lets the system choose one."""

    key: WorkloadKey
    folder: Path
    port: int


class LocalProxy:
    """A port that the system chose stays the proxy's for as long as it lives, restarts included."""

    def __init__(self, placement: Placement, tell: Tell, *, is_verbose: bool = False) -> None:
        self.key, self.folder, self.port = placement
        self.instance = f"{self.key.name[:40]}-{secrets.token_hex(8)}"
        self.token = secrets.token_urlsafe(32)
        self.admin_port = self.state_port = 0
        self.is_listening = self._has_listened = False
        self._grace_s = 0.0
        self._is_verbose = is_verbose
        self._last_words = ""
        self._tell = tell
        self._child = Child(self.folder, self._command, on_line=self._hear, on_end=self._note_end)

    @property
    def name(self) -> str:
        """As people are told of it: its workload, and which of several it is."""
        return f"{self.key.namespace}/{self.key.name}"

    @property
    def url(self) -> str:
        """What the application's ``ANTHROPIC_BASE_URL`` is set to."""
        return f"http://{HOST}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads."""
        return f"http://{HOST}:{self.admin_port}/metrics"

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._child.pid

    def start(self, config: ProxyConfig, api_key: bytes, *, grace_s: float) -> None:
        """Writes its files and starts it. ``grace_s``: what running requests are given when it is to end."""
        self._grace_s = grace_s
        self.folder.mkdir(mode=0o700)
        self.write_config(config)
        self.write_key(api_key)
        write_private(self.folder / "token", self.token.encode())
        self._child.start()

    def write_config(self, config: ProxyConfig) -> None:
        """A document that a restarted process begins with; a running one has it from the exchange, or from here in a moment."""
        write_private(self.folder / "proxy.json", encode_config(config))

    def write_key(self, api_key: bytes) -> None:
        """A key that is in use within a moment."""
        write_private(self.folder / "api-key", api_key)

    async def stop(self) -> None:
        """Lets running requests end, within their grace."""
        await self._child.stop(self._grace_s)
        self.is_listening = False

    def kill(self) -> None:
        """Ends it at once."""
        self._child.kill()

    def _command(self) -> Sequence[str]:
        files = {"config": "proxy.json", "key-file": "api-key", "token-file": "token"}
        pages = {"admin": self.admin_port, "state": self.state_port}
        ports = {"listen": self.port, **{flag: port if is_free(port) else 0 for flag, port in pages.items()}}
        words = ["sidecar", "--instance", self.instance, "--grace", f"{self._grace_s:g}"]
        for flag, name in files.items():
            words += [f"--{flag}", str(self.folder / name)]
        for flag, port in ports.items():
            words += [f"--{flag}", f"{HOST}:{port}"]
        return words

    def _hear(self, line: str) -> None:
        """Its log: where it listens is for us, and what is wrong for people."""
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict):
            self._last_words = line or self._last_words
            if self._is_verbose:
                self._tell("note", f"{self.name}: {line}")
        elif entry.get("message") == "listening" and "api" in entry:
            self.port, self.admin_port, self.state_port = entry["api"], entry["admin"], entry["state"]
            self.is_listening = True
            event, again = ("note", " again") if self._has_listened else ("listening", "")
            self._has_listened = True
            self._tell(event, f"{self.name} is served{again} at {self.url}")
        elif entry.get("level") not in ("debug", "info"):
            self._tell("warning", f"{self.name}: {_sentence(entry)}")
        elif self._is_verbose:
            self._tell("note", f"{self.name}: {_sentence(entry)}")

    def _note_end(self, code: int, again_s: float) -> None:
        self.is_listening = False
        words, self._last_words = f" ({self._last_words})" if self._last_words else "", ""
        self._tell("warning", f"{self.name}: its proxy {describe_end(code)}{words}; it starts again in {again_s:g} s")


def is_free(port: int) -> bool:
    """Whether this port of the loopback address can be had now; 0 always can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file as a whole; nobody but this user may read it."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)


def _sentence(entry: dict[str, Any]) -> str:
    reason = entry.get("reason") or entry.get("exception") or ""
    return f"{entry.get('message', '')}{f' ({reason})' if reason else ''}"
