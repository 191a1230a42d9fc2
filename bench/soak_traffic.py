"""The mixed traffic of a soak: every kind of request that an application may send, clients that leave among them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

MODEL, FALLBACK = "claude-sonnet-5-5", "claude-haiku-5-5"
LIMIT_S = 40.0
"""Whatever takes longer hangs."""
MANUAL = "The warranty covers every part but the battery. " * 60
LARGE = "All of the minutes of all of the meetings. " * 7_000
ENDS = (b"event: message_stop", b"event: error")


class Broken(Exception):
    """An answer that must not be."""


class Traffic:
    """Sends requests to one proxy, so many at a time. ``problems`` counts what must not happen, ``answers`` (kind, status), ``tiers``
    who served."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.dice = random.Random(seed)
        self.answers: Counter[tuple[str, int]] = Counter()
        self.problems: Counter[str] = Counter()
        self.tiers: Counter[str] = Counter()
        self.done = 0
        self._kinds: list[tuple[Callable[[Client], Awaitable[int]], int]] = [
            (self._json, 44),
            (self._stream, 30),
            (self._count, 6),
            (self._models, 3),
            (self._malformed, 3),
            (self._no_path, 1),
            (self._large, 1),
            (self._leave_before_the_answer, 4),
            (self._leave_within_the_stream, 5),
            (self._leave_within_the_request, 3),
        ]

    async def run(self, requests: int, workers: int) -> None:
        """Until so many more were answered or left."""
        goal = self.done + requests
        await asyncio.gather(*(self._work(goal) for _ in range(workers)))

    async def _work(self, goal: int) -> None:
        client = Client(self.port, self.tiers)
        works, weights = zip(*self._kinds, strict=True)
        while self.done < goal:
            self.done += 1
            (work,) = self.dice.choices(works, weights)
            kind = work.__name__.strip("_")
            try:
                async with asyncio.timeout(LIMIT_S):
                    self.answers[kind, await work(client)] += 1
            except TimeoutError:
                self.problems[f"{kind}: no end within {LIMIT_S:.0f} s, {client.stage}"] += 1
                client.leave()
            except Broken as problem:
                self.problems[f"{kind}: {problem}"] += 1
                client.leave()
            except (OSError, asyncio.IncompleteReadError):
                self.answers[kind, 0] += 1  # a document that was visibly cut, or a connection that was closed between two requests
                client.leave()
        client.leave()

    # -- kinds of requests; each answers with the status, 0 for what the client did not wait for

    async def _json(self, client: Client) -> int:
        await client.send(self._body())
        status, body = await client.read()
        if status == 200 and json.loads(body)["type"] != "message":
            raise Broken("a 200 that is no message")
        return _checked(status, body)

    async def _stream(self, client: Client) -> int:
        await client.send(self._body(stream=True))
        status, body = await client.read()
        if status == 200 and not body.rstrip().rpartition(b"\n\n")[2].startswith(ENDS):
            raise Broken("a stream without an end")
        return _checked(status, body)

    async def _count(self, client: Client) -> int:
        body = self._body()
        del body["max_tokens"], body["metadata"]
        await client.send(body, path="/v1/messages/count_tokens")
        return _checked(*await client.read())

    async def _models(self, client: Client) -> int:
        await client.send(None, path=f"/v1/models/{MODEL}")
        return _checked(*await client.read())

    async def _malformed(self, client: Client) -> int:
        await client.send(b'{"model": ')
        return _checked(*await client.read())

    async def _no_path(self, client: Client) -> int:
        await client.send({}, path="/v1/nothing")
        return _checked(*await client.read())

    async def _large(self, client: Client) -> int:
        await client.send(self._body(text=LARGE))
        return _checked(*await client.read())

    async def _leave_before_the_answer(self, client: Client) -> int:
        await client.send(self._body(stream=self.dice.random() < 0.5))
        await asyncio.sleep(self.dice.random() * 0.02)
        client.leave()
        return 0

    async def _leave_within_the_stream(self, client: Client) -> int:
        await client.send(self._body(stream=True))
        status = await client.read_start()
        client.leave()
        return status

    async def _leave_within_the_request(self, client: Client) -> int:
        await client.send(self._body(), part=self.dice.random())
        client.leave()
        return 0

    def _body(self, text: str = "How long is the warranty?", **members: Any) -> dict[str, Any]:
        dice = self.dice
        body: dict[str, Any] = {"model": MODEL, "max_tokens": dice.choice((20, 200, 4000)), "temperature": 0.5}
        if dice.random() < 0.5:
            body["system"] = f"Manual {dice.randrange(40)}. {MANUAL}"
        body["messages"] = [{"role": "user", "content": f"{text} Part {dice.randrange(10_000)}."}]
        body["metadata"] = {"user_id": f"user-{dice.randrange(20_000)}"}
        return body | members


class Client:
    """One keep-alive connection, opened when it is needed."""

    def __init__(self, port: int, tiers: Counter[str]) -> None:
        self._port = port
        self._tiers = tiers
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.stage = "not sent"
        """How far the last request has come."""

    async def send(self, body: dict[str, Any] | bytes | None, *, path: str = "/v1/messages", part: float = 1.0) -> None:
        """A request, or its first part; None is a GET."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        _, writer = self._streams
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        length = "" if body is None else f"content-length: {len(data)}\r\n"
        head = (
            f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: proxy\r\nanthropic-version: 2023-06-01\r\n"
            f"x-api-key: placeholder\r\ncontent-type: application/json\r\n{length}\r\n"
        )
        whole = head.encode() + data
        self.stage = "sent"
        writer.write(whole[: max(1, int(len(whole) * part))])
        await writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """Status and whole body."""
        status, headers = await self._read_head()
        assert self._streams is not None
        reader = self._streams[0]
        if headers.get("transfer-encoding") == "chunked":
            parts: list[bytes] = []
            while size := int((await reader.readline()).strip() or b"0", 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
            await reader.readline()
            body = b"".join(parts)
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.leave()
        return status, body

    async def read_start(self) -> int:
        """The status, with the first byte behind the head."""
        status, _ = await self._read_head()
        assert self._streams is not None
        await self._streams[0].read(1)
        return status

    def leave(self) -> None:
        """Close, whatever is under way."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _read_head(self) -> tuple[int, dict[str, str]]:
        assert self._streams is not None
        head = (await self._streams[0].readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.stage = head[0]
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        self._tiers[headers.get("x-claudeops-tier", "none")] += 1
        return int(head[0].split(" ")[1]), headers


def _checked(status: int, body: bytes) -> int:
    """Errors must be the API's error JSON."""
    if status != 200 and json.loads(body).get("type") != "error":
        raise Broken(f"a {status} that is no error of the API")
    return status
