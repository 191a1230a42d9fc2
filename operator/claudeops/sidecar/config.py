"""Which configuration, key and token are in force: files that change under us, documents that come by the exchange, last good wins.

A ConfigMap or Secret volume changes by a swap of its ``..data`` symlink. A file is therefore watched by a ``stat`` through the link,
four times a second: two system calls of a few microseconds, no watch to lose and no event to miss.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable
from typing import Final, Literal

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import ProxyConfig, content_hash, decode_config

POLL_S: Final = 0.25
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_SECRET_BYTES: Final = 16 * 1024
Source = Literal["file", "exchange"]
_LOG = logging.getLogger("claudeops.sidecar.config")


class ConfigHolder:
    """The one configuration in force. ``apply`` puts a document to work and may refuse it with InvalidResource."""

    def __init__(self, apply: Callable[[ProxyConfig], None]) -> None:
        self._apply = apply
        self.current: ProxyConfig | None = None
        self.current_hash = ""
        self.source = ""
        self.error = ""
        """Why the newest document of the source ``error_source`` is not in force; empty when it is, or when it is merely older."""
        self.error_source = ""
        self.errors = 0

    @property
    def revision(self) -> int:
        """Of the document in force; 0 before there is one."""
        return self.current.revision if self.current else 0

    def offer_bytes(self, raw: bytes, source: Source) -> bool:
        """Like :meth:`offer`, for a document that is still to be read."""
        try:
            config = decode_config(raw)
        except InvalidResource as error:
            return self.refuse(str(error), source)
        return self.offer(config, source)

    def offer(self, config: ProxyConfig, source: Source) -> bool:
        """True when the document was put in force: it is newer than the one in force and every part of it can be used."""
        if self.current is not None and config.revision <= self.revision:
            self._clear(source)
            return False
        try:
            self._apply(config)
        except InvalidResource as error:
            return self.refuse(f"revision {config.revision}: {error}", source)
        self.current, self.current_hash, self.source = config, content_hash(config), source
        self._clear(self.error_source)
        _LOG.info("configuration in force", extra={"revision": config.revision, "hash": self.current_hash, "source": source})
        return True

    def refuse(self, reason: str, source: Source) -> bool:
        """The source has nothing usable; what is in force stays. Said once per change of reason."""
        if (reason, source) != (self.error, self.error_source):
            self.errors += 1
            kept = f"revision {self.revision} stays in force" if self.current else "no configuration is in force"
            _LOG.error("configuration refused, %s", kept, extra={"reason": reason, "source": source})
        self.error, self.error_source = reason, source
        return False

    def _clear(self, source: str) -> None:
        if self.error_source == source:
            self.error = self.error_source = ""


class WatchedFile:
    """A file that may be absent, appear, change by a swap of a symlink above it, or be written in place."""

    def __init__(self, path: str, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._seen: tuple[int, ...] = ()

    def poll(self) -> bytes | OSError | None:
        """The content if it changed since the last call, the error if the file became unreadable, None if nothing changed."""
        try:
            state = os.stat(self.path)
            seen = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size)
            if seen == self._seen:
                return None
            self._seen = seen
            return _read(self.path, state, self._max_bytes)
        except OSError as error:
            failure = (error.errno or 0,)
            if failure == self._seen:
                return None
            self._seen = failure
            return error


class ConfigFile:
    """Offers each new content of proxy.json to the holder."""

    def __init__(self, path: str, holder: ConfigHolder) -> None:
        self._file = WatchedFile(path)
        self._holder = holder

    def poll(self) -> None:
        """Look once."""
        content = self._file.poll()
        if isinstance(content, bytes):
            self._holder.offer_bytes(content, "file")
        elif content is not None:
            self._holder.refuse(f"cannot read {self._file.path}: {content.strerror}", "file")


class KeyFile:
    """Hands each new API key on. A file that vanishes or holds no key leaves the last good one in use; the key is never logged."""

    def __init__(self, path: str, set_key: Callable[[str], None]) -> None:
        self._file = WatchedFile(path, MAX_SECRET_BYTES)
        self._set_key = set_key
        self.error = "not read yet"

    def poll(self) -> None:
        """Look once."""
        content = self._file.poll()
        if content is None:
            return
        if isinstance(content, OSError):
            self._complain(f"cannot read {self._file.path}: {content.strerror}")
            return
        try:
            self._set_key(decode_secret(content))
        except InvalidResource as error:
            self._complain(f"{self._file.path}: {error}")
            return
        self.error = ""
        _LOG.info("API key read", extra={"path": self._file.path})

    def _complain(self, reason: str) -> None:
        self.error = reason
        _LOG.warning("no usable API key in the file; a key read before stays in use", extra={"reason": reason})


class TokenFile:
    """The projected ServiceAccount token, read anew for every report: kubelet replaces it before it expires."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> str:
        """Raises InvalidResource if there is no token to read."""
        try:
            return decode_secret(_read(self.path, os.stat(self.path), MAX_SECRET_BYTES))
        except OSError as error:
            raise InvalidResource(f"cannot read the token {self.path}: {error.strerror}") from error


def decode_secret(raw: bytes) -> str:
    """One line of visible ASCII, white space around it removed. Raises InvalidResource without repeating what was read."""
    try:
        text = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidResource("holds bytes that cannot stand in a header") from None
    if not text:
        raise InvalidResource("is empty")
    if any(not "!" <= letter <= "~" for letter in text):
        raise InvalidResource("must hold one line of visible characters")
    return text


async def watch(*polls: Callable[[], None], poll_s: float = POLL_S) -> None:
    """Look at every file again and again, for ever."""
    while True:
        await asyncio.sleep(poll_s)
        for poll in polls:
            poll()


def _read(path: str, state: os.stat_result, max_bytes: int) -> bytes:
    if not stat.S_ISREG(state.st_mode):
        raise OSError(21, "not a regular file")
    with open(path, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(27, f"larger than {max_bytes} bytes")
    return content
