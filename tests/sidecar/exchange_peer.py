"""The controller's end of the exchange as a script: TLS certificates of our own making, and answers that the real one would never give.

The real one is :class:`claudeops.fleet.ExchangeServer`; this peer is for what it must not be able to do to a proxy.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import pathlib
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from claudeops.exchange import Report, decode_report

SERVER_NAME = "claudeops-exchange.claudeops-system.svc"
Answer = bytes | tuple[int, bytes] | None
"""The body of a 200; a status and a body; or None: the connection is closed without an answer."""
Script = Callable[[Report], Awaitable[Answer]]


class Authority:
    """A CA and one serving pair for ``names``, as the controller keeps them."""

    def __init__(self, folder: pathlib.Path, *names: str) -> None:
        ca_key, ca = _certificate("test CA", None, None, ())
        key, leaf = _certificate("exchange", ca_key, ca, names or (SERVER_NAME,))
        self.ca_pem = ca.public_bytes(serialization.Encoding.PEM).decode()
        self.pair = folder / f"pair-{leaf.serial_number}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.pair.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair)
        return context


class Received(NamedTuple):
    """One report as it arrived: on which connection (counted from 0), with which token, and when on the loop's clock."""

    report: Report
    connection: int
    token: str
    at: float


class Peer:
    """Answers each report as the script says."""

    def __init__(self, authority: Authority, script: Script) -> None:
        self.authority = authority
        self.script = script
        self.received: list[Received] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self.authority.context())
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        number = self.connections
        self.connections += 1
        try:
            while await self._answer(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.splitlines()[1:])}
        assert head.startswith("POST /v1/exchange HTTP/1.1\r\n")
        body = await reader.readexactly(int(fields["content-length"]))
        token = fields["authorization"].removeprefix("Bearer ")
        report = decode_report(body)
        self.received.append(Received(report, number, token, asyncio.get_running_loop().time()))
        answer = await self.script(report)
        if answer is None:
            return False
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        return True


def _certificate(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None, names: tuple[str, ...]
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(_usage(is_ca=issuer is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(text) for text in names]), critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())


def _general_name(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text)) if text[0].isdigit() else x509.DNSName(text)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
