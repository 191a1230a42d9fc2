"""The controller's end of the exchange as a script: answers that the real one would never give.

The real one is :class:`claudeops.fleet.ExchangeServer`; this peer is for what it must not be able to do to a proxy.
"""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from claudeops.exchange import Report, decode_report
from claudeops.fleet.certificates import issue_authority, issue_serving

SERVER_NAME = "claudeops-exchange.claudeops-system.svc"
Answer = bytes | tuple[int, bytes] | None
"""The body of a 200; a status and a body; or None: the connection is closed without an answer."""
Script = Callable[[Report], Awaitable[Answer]]


class Authority:
    """A CA and one serving pair for ``names``, made as the controller makes them."""

    def __init__(self, folder: pathlib.Path, *names: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        ca = issue_authority(now)
        serving = issue_serving(ca, names or (SERVER_NAME,), now)
        self.ca_pem = ca.certificate
        self.pair = folder / f"pair-{serving.parsed.serial_number}.pem"
        self.pair.write_text(serving.key + serving.certificate)

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
