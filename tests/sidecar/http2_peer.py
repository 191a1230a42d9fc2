"""An upstream that speaks HTTP/2 by h2, and does what the test says; and certificates for those that speak TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings


class Certificate:
    """Self-signed, for 127.0.0.1 and localhost. ``pem`` is what a client must trust."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "upstream")])
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        plain = serialization.NoEncryption()
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()

    def server_context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pair.pem"
            path.write_text(self.key_pem + self.pem)
            context.load_cert_chain(path)
        context.set_alpn_protocols(list(alpn))
        return context


class Exchange:
    """One request, as far as it has come, and the means to answer it."""

    def __init__(self, peer: Connection, number: int, headers: dict[str, str]) -> None:
        self.peer = peer
        self.number = number
        self.headers = headers
        self.body = b""
        self.is_whole = False
        self.reset: int | None = None

    def head(self, **headers: str) -> None:
        fields = [(":status", "200"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        self.peer.h2.send_headers(self.number, fields)
        self.peer.flush()

    def data(self, data: bytes, *, is_last: bool = False) -> None:
        """Raises FlowControlError where the client has left no room."""
        size = self.peer.h2.max_outbound_frame_size
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        for part in parts:
            self.peer.h2.send_data(self.number, part, end_stream=is_last and part is parts[-1])
        self.peer.flush()

    def answer(self, body: bytes, **headers: str) -> None:
        self.head(**({"content_type": "application/json"} | headers))
        self.data(body, is_last=True)

    @property
    def room(self) -> int:
        return self.peer.h2.local_flow_control_window(self.number)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Http2Server) -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.exchanges: dict[int, Exchange] = {}
        self.transport: asyncio.Transport
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.server.connections.append(self)
        if self.server.streams_max is not None:
            self.h2.local_settings = Settings(client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: self.server.streams_max})
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self.server.is_deaf:
            return
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.flush()
            self.transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self.exchanges[event.stream_id] = Exchange(self, event.stream_id, dict(event.headers))  # type: ignore[arg-type]
            elif isinstance(event, DataReceived):
                self.exchanges[event.stream_id].body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamReset):
                self.exchanges[event.stream_id].reset = int(event.error_code)
            elif isinstance(event, WindowUpdated):
                self.server.on_room()
            elif isinstance(event, StreamEnded):
                exchange = self.exchanges[event.stream_id]
                exchange.is_whole = True
                self.server.requests.append(exchange)
                self.server.handle(exchange)
        self.flush()


class Http2Server:
    """``async with Http2Server(handle) as server: server.url``. Without a certificate: prior knowledge on plain TCP."""

    def __init__(
        self, handle: Callable[[Exchange], None], *, certificate: Certificate | None = None, streams_max: int | None = None
    ) -> None:
        self.handle = handle
        self.certificate = certificate
        self.streams_max = streams_max
        self.requests: list[Exchange] = []
        self.connections: list[Connection] = []
        self.is_deaf = False
        self.on_room: Callable[[], None] = lambda: None
        self.url = ""
        self._server: asyncio.Server

    async def __aenter__(self) -> Http2Server:
        tls = None if self.certificate is None else self.certificate.server_context("h2")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, ssl=tls)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
        await self._server.wait_closed()
