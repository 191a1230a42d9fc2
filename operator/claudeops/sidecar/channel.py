"""One keep-alive TLS connection to the controller, on asyncio streams and httptools."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

import httptools

from claudeops.errors import Forbidden, Unreachable
from claudeops.proxyconfig import ControllerAddress

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
READ_BYTES: Final = 65_536
CONNECT_S: Final = 3.0


class Channel:
    """Sends one POST at a time. Opened when it is needed, closed at the first doubt: a wrong status, a broken or late answer."""

    def __init__(self) -> None:
        self._address: ControllerAddress | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._tls: tuple[str, ssl.SSLContext] | None = None

    @property
    def is_open(self) -> bool:
        """Is there a connection to try first?"""
        return self._streams is not None

    async def post(self, address: ControllerAddress, body: bytes, *, token: str, timeout_s: float) -> bytes:
        """The body of a 200 answer.

        Raises Forbidden for 401 and 403 and Unreachable for everything else that is not a 200. A kept connection that the other side
        had closed meanwhile is replaced once, at once.
        """
        if address != self._address:
            self.close()
            self._address = address
        is_kept = self.is_open
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    status, answer = await self._exchange(address, body, token)
                except (ConnectionError, EOFError):
                    if not is_kept:
                        raise
                    self.close()
                    status, answer = await self._exchange(address, body, token)
        except (OSError, EOFError, httptools.HttpParserError, ValueError) as error:
            self.close()
            raise Unreachable(f"no answer from the controller at {address.url}: {_describe(error, timeout_s)}") from error
        except asyncio.CancelledError:
            self.close()
            raise
        if status == 200:
            return answer
        self.close()
        reason = f"the controller at {address.url} answered {status}: {answer[:200].decode('utf-8', 'replace').strip()}"
        raise Forbidden(reason) if status in (401, 403) else Unreachable(reason)

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(self, address: ControllerAddress, body: bytes, token: str) -> tuple[int, bytes]:
        url = urlsplit(address.url)
        if self._streams is None:
            # No wait_for: that of Python 3.11 loses a cancellation which comes while the connection is refused, and the loop never ends.
            tls, name = self._context(address.ca_bundle), address.server_name
            async with asyncio.timeout(CONNECT_S):
                self._streams = await asyncio.open_connection(
                    url.hostname, url.port or 443, ssl=tls, server_hostname=name, limit=READ_BYTES
                )
        reader, writer = self._streams
        head = (
            f"POST {url.path or '/'} HTTP/1.1\r\nhost: {url.netloc}\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.writelines((head.encode("ascii"), body))
        await writer.drain()
        answer = _Answer()
        while not answer.is_complete:
            data = await reader.read(READ_BYTES)
            if not data:
                raise EOFError
            answer.feed(data)
        if not answer.is_keep_alive:
            self.close()
        return answer.status, b"".join(answer.parts)

    def _context(self, ca_bundle: str) -> ssl.SSLContext:
        if self._tls is None or self._tls[0] != ca_bundle:
            self._tls = (ca_bundle, ssl.create_default_context(cadata=ca_bundle))
        return self._tls[1]


class _Answer:
    """Parses one answer. Raises HttpParserError, and ValueError when it is too large."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.status = 0
        self.is_complete = False
        self.is_keep_alive = False
        self._size = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._size > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.is_keep_alive = self._parser.should_keep_alive()
        self.is_complete = True


def _describe(error: BaseException, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing within {timeout_s:.0f} s"
    if isinstance(error, EOFError):
        return "it closed the connection"
    return str(error) or type(error).__name__
