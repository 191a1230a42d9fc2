"""TLS on a connection to the upstream: a protocol towards the socket, a transport towards the protocol above.

uvloop's own layer reserves 256 KB for every record that it decrypts, and asks twice whether there is another; the API sends each event of
a stream as a record of its own. Here everything that one read of the socket has brought is decrypted at once and handed over in one piece.
That is a fifth less for a record that comes alone, a tenth for full ones, and 9 KB less memory a connection; the rest is OpenSSL's.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Transport
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from socket import socket
from ssl import MemoryBIO, SSLError, SSLWantReadError
from typing import Any, Final

from claudeops.wire.tls import ClientContext
from claudeops.wire.transit import Part

RECORD_BYTES: Final = 16_384
"""The most that a record holds (RFC 8446 section 5.1): whoever asks for so much gets all of the next one."""
WRITE_BYTES: Final = 65_536
"""What is encrypted at once: the buffer behind it stays as large as it ever was."""


async def open_secure(
    loop: AbstractEventLoop, protocol: Callable[[], Any], sock: socket, *, context: ClientContext, host: str
) -> tuple[SecureTransport, Any]:
    """As ``loop.create_connection``: returns once the handshake is done and the certificate is found to name ``host``.

    Raises OSError (ssl.SSLCertVerificationError among them); the socket is closed then, as it is when this is cancelled.
    """
    made = protocol()
    handshake: Future[None] = loop.create_future()
    secure = SecureTransport(made, handshake, context, host)
    with ExitStack() as cleanup:
        cleanup.callback(secure.abort)
        await loop.create_connection(lambda: secure, sock=sock)  # type: ignore[type-var]  # duck-typed
        await handshake
        cleanup.pop_all()
    return secure, made


class SecureTransport:
    """One connection. The protocol above hears of it from the end of the handshake on; the end of the other side is the end of both."""

    __slots__ = ("above", "error", "handshake", "incoming", "is_closed", "is_full", "outgoing", "tls", "transport", "unsent")

    def __init__(self, above: Any, handshake: Future[None], context: ClientContext, host: str) -> None:
        self.above = above
        self.handshake: Future[None] | None = handshake
        self.incoming = MemoryBIO()
        self.outgoing = MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self.transport: Transport | None = None
        self.error: Exception | None = None
        self.is_closed = False
        self.is_full = False
        self.unsent: list[Part] = []
        """What the socket does not take yet, as it lies in memory: encrypted, it would be there twice."""

    # -- from the socket

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        self.incoming.write(data)
        if self.handshake is not None and not self._shake_hands():
            return
        parts: list[bytes] = []
        has_ended = self._decrypt(parts)
        if self.outgoing.pending:
            self._flush()  # an answer to a change of keys
        if parts:
            self.above.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self.error is not None:
            self.abort()
        elif has_ended:
            self.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        error = self.error or error
        handshake, self.handshake = self.handshake, None
        if error is None and handshake is None and not self.is_closed:
            error = ConnectionResetError("the connection ended without the upstream's farewell in TLS: by whomever")
        self.is_closed = True
        if handshake is None:
            self.above.connection_lost(error)
        elif not handshake.done():
            handshake.set_exception(error or ConnectionResetError("the upstream closed the connection during the TLS handshake"))

    def pause_writing(self) -> None:
        self.is_full = True
        self.above.pause_writing()

    def resume_writing(self) -> None:
        self.is_full = False
        self._send_unsent()
        if not self.is_full:
            self.above.resume_writing()

    # -- from the protocol above

    def write(self, data: Part) -> None:
        self.writelines((data,))

    def writelines(self, parts: Sequence[Part]) -> None:
        if self.is_closed:
            return
        if len(parts) > 1 and sum(map(len, parts)) <= RECORD_BYTES:
            parts = (b"".join(parts),)  # one record
        self._send(parts)

    def pause_reading(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None:
            self.transport.resume_reading()

    def set_write_buffer_limits(self, high: int) -> None:
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=high)

    def get_extra_info(self, name: str) -> Any:
        """As any transport's; ``ssl_object`` is what has been agreed on."""
        if name == "ssl_object":
            return self.tls
        return None if self.transport is None else self.transport.get_extra_info(name)

    def abort(self) -> None:
        """Close at once; what is not sent yet never will be."""
        self.is_closed = True
        self.unsent = []
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close once everything is sent, and say so to the other side."""
        if self.is_closed or self.transport is None:
            return
        self.is_full = False
        self._send_unsent(is_last=True)
        self.is_closed = True
        with suppress(SSLError):  # the other side's own farewell is not waited for
            self.tls.unwrap()
        self._flush()
        self.transport.close()

    # -- parts

    def _shake_hands(self) -> bool:
        """Is the handshake done? Tells so."""
        try:
            self.tls.do_handshake()
        except SSLWantReadError:
            self._flush()
            return False
        except SSLError as error:
            self.error = error
            self._flush()  # the reason, for the other side
            self.abort()
            return False
        self._flush()
        handshake, self.handshake = self.handshake, None
        self.above.connection_made(self)
        if handshake is not None and not handshake.done():
            handshake.set_result(None)
        return True

    def _decrypt(self, parts: list[bytes]) -> bool:
        """All that has come; has the other side said that this was the end?"""
        incoming = self.incoming
        read = self.tls.read
        try:
            while incoming.pending:
                part = read(RECORD_BYTES)
                if not part:
                    return True
                parts.append(part)
        except SSLWantReadError:
            pass  # half a record
        except SSLError as error:
            self.error = error
        return False

    def _send_unsent(self, *, is_last: bool = False) -> None:
        unsent, self.unsent = self.unsent, []
        if unsent:
            self._send(unsent, is_last=is_last)

    def _send(self, parts: Sequence[Part], *, is_last: bool = False) -> None:
        try:
            for part in parts:
                self._encrypt(part, is_last=is_last)
        except SSLError as error:
            self.error = error
            self.abort()

    def _encrypt(self, data: Part, *, is_last: bool) -> None:
        """As much as the socket takes, or all of it where it is the last."""
        if self.unsent:
            self.unsent.append(data)
        elif len(data) <= WRITE_BYTES:
            if data:
                self.tls.write(data)
                self._flush()
        else:
            view = memoryview(data)
            for at in range(0, len(data), WRITE_BYTES):
                if self.is_full and not is_last:
                    self.unsent.append(view[at:])
                    return
                self.tls.write(view[at : at + WRITE_BYTES])
                self._flush()

    def _flush(self) -> None:
        data = self.outgoing.read()
        if data and self.transport is not None:
            self.transport.write(data)
