"""Batches, files, models and probes through the proxy: what is open, what is passed on, what is refused on its way."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from typing import Any

import pytest
from tests.sidecar.desk import desk
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.rig import KEY, Client, Rig, ask, config, is_settled, proxy, resilience, run, simulator, until

from claudeops.proxyconfig import ProxyConfig, Timeouts
from claudeops.sidecar.endpoint import BODY_MAX_BYTES, NEW_BATCH
from claudeops.sidecar.passage import Passage
from claudeops.wire.transit import Transit

BATCHES = "/v1/messages/batches"
FILES = "/v1/files"


def opened(url: str, **parts: Any) -> ProxyConfig:
    return config(url, **({"endpoints": ("Batches", "Files")} | parts))


def item(custom_id: str = "a", **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": ask() | params}


def answers(rig: Rig, pool: str) -> dict[tuple[int, str], int]:
    return rig.runtime.groups[pool].counters.answers


def transits(rig: Rig) -> list[Transit | None]:
    return [connection.transit for connection in rig.pipeline.server.connections]


async def begin(rig: Rig, path: str, length: int | None, **headers: str) -> Client:
    """A request whose body is still to come; `length` None: chunked."""
    client = await rig.connect()
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    client.writer.write(f"POST {path} HTTP/1.1\r\nhost: proxy\r\nanthropic-version: 2023-06-01\r\n{framing}\r\n{lines}\r\n".encode())
    return client


CLOSED = [
    ("POST", BATCHES, "Batches"),
    ("GET", BATCHES, "Batches"),
    ("GET", f"{BATCHES}/msgbatch_1/results", "Batches"),
    ("POST", FILES, "Files"),
    ("DELETE", f"{FILES}/file_1", "Files"),
]


@pytest.mark.parametrize(("method", "path", "name"), CLOSED)
def test_what_the_workload_does_not_list_is_closed_and_says_how_to_open_it(method: str, path: str, name: str) -> None:
    async def test() -> None:
        async with desk() as api, proxy(config(api.url, endpoints=("Files",) if name == "Batches" else ("Batches",))) as rig:
            reply = await rig.call(b"{}" if method == "POST" else b"", path=path, method=method)
            assert (reply.status, reply.reason) == (404, "no_such_path")
            assert reply.json["error"]["type"] == "not_found_error"
            assert f"endpoints: [{name}]" in reply.json["error"]["message"]
            assert answers(rig, name.lower()) == {(404, "no_such_path"): 1}
            assert api.arrivals == []

    run(test)


@pytest.mark.parametrize("path", ["/", "/v1/complete", "/v1/messages/batches/a/b/c", "/v1/organizations/rate_limits"])
def test_every_other_path_is_closed(path: str) -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url)) as rig:
            reply = await rig.call(b"", path=path, method="GET")
            assert (reply.status, reply.reason) == (404, "no_such_path")

    run(test)


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/"), ("HEAD", "*"), ("HEAD", "/api/hello"), ("GET", "/api/hello")])
def test_probes_are_answered_here(method: str, path: str) -> None:
    async def test() -> None:
        async with desk() as api, proxy(config(api.url)) as rig:
            client = await rig.connect()
            for _ in range(2):
                await client.send(b"", path=path, method=method)
                assert (await client.read()).status == 200
            assert api.arrivals == []

    run(test)


PASSED = [
    ("GET", "/v1/models?limit=1000&after_id=x", ""),
    ("GET", "/v1/models/claude-sonnet-4-6", ""),
    ("GET", f"{BATCHES}?limit=2", "batches"),
    ("GET", f"{BATCHES}/msgbatch_1", "batches"),
    ("POST", f"{BATCHES}/msgbatch_1/cancel", "batches"),
    ("DELETE", f"{BATCHES}/msgbatch_1?beta=true", "batches"),
    ("GET", f"{FILES}?page=abc", "files"),
    ("GET", f"{FILES}/file_1/content", "files"),
    ("DELETE", f"{FILES}/file_1", "files"),
]


@pytest.mark.parametrize(("method", "path", "pool"), PASSED)
@pytest.mark.parametrize("status", [200, 404, 307])
def test_open_endpoints_are_passed_on_whatever_the_answer(method: str, path: str, pool: str, status: int) -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(b"", path=path, method=method, headers={"anthropic-beta": "files-api", "x-claudeops-session": "s"})
            arrival = await api.next()
            assert arrival.line == f"{method} {path}"
            assert arrival.headers["x-api-key"] == KEY.decode()
            assert arrival.headers["anthropic-beta"] == "files-api"
            assert "x-claudeops-session" not in arrival.headers
            arrival.answer({"it": "is"}, status=status, lines="location: http://127.0.0.1:1/elsewhere\r\nx-claudeops-fake: 1\r\n")
            reply = await client.read()
            assert (reply.status, reply.json) == (status, {"it": "is"})
            assert reply.headers["location"] == "http://127.0.0.1:1/elsewhere"
            assert "x-claudeops-fake" not in reply.headers
            assert "x-claudeops-queue-ms" in reply.headers
            if pool:
                assert answers(rig, pool) == {(status, ""): 1}
            assert is_settled(rig)
            await client.send(b"", path=path, method=method)  # the connection goes on
            (await api.next()).answer({})
            assert (await client.read()).status == 200

    run(test)


def test_a_429_is_passed_on_and_makes_its_own_pool_wait() -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(b"", path=FILES, method="GET")
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}
            (await api.next()).answer(error, status=429, lines="retry-after: 7\r\n")
            reply = await client.read()
            assert (reply.status, reply.headers["retry-after"], reply.json["error"]["message"]) == (429, "7", "slow")
            now = rig.runtime.clock()
            assert rig.runtime.groups["files"].limiter.paused_until > now + 5
            await client.send(b"", path=BATCHES, method="GET")
            (await api.next()).answer({})
            assert (await client.read()).status == 200

    run(test)


def test_a_key_that_the_api_refuses_is_said_so() -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(b"x" * 1000, path=FILES)
            (await api.next()).answer({}, status=401)
            reply = await client.read()
            assert (reply.status, reply.reason) == (503, "credentials")
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_batch_goes_through_with_its_bytes_unchanged(is_chunked: bool) -> None:
    async def test() -> None:
        body = json.dumps({"requests": [item("a"), item("b", temperature=0.5)]}, indent=1).replace("0.5", "0.50").encode()
        seen: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if is_chunked:
                await reader.readuntil(b"\r\n\r\n")
                seen.append(b"".join((await reader.readuntil(b"\r\n0\r\n\r\n")).split(b"\r\n")[1:-3:2]))
            else:
                seen.append((await read_request(reader))[1])
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await begin(rig, BATCHES, None if is_chunked else len(body))
            client.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body)
            assert (await client.read()).status == 200
            assert seen == [body]
            assert answers(rig, "batches") == {(200, ""): 1}
            assert is_settled(rig)

    run(test)


def test_a_compressed_batch_is_inspected_and_goes_on_as_what_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        body = json.dumps({"requests": [item(f"i{number}", system="x" * 1_000_000) for number in range(24)]}).encode()
        headers = {"content-encoding": "gzip", "anthropic-version": "2023-06-01"}
        seen: list[bytes] = []
        held_up = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-encoding" not in head
            if not seen:
                await held_up.wait()
            while size := int(await reader.readline(), 16):
                seen.append((await reader.readexactly(size + 2))[:-2])
            await reader.readline()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(gzip.compress(body, 1), path=BATCHES, headers=headers)
            await until(lambda: any(isinstance(call, Passage) and call.is_held_up and call.sent_at for call in transits(rig)))
            held_up.set()
            assert (await client.read()).status == 200
            assert b"".join(seen) == body
            monkeypatch.setitem(BODY_MAX_BYTES, NEW_BATCH, 1_000_000)
            bad = gzip.compress(json.dumps({"requests": [item("a"), item("a")]}).encode())
            for sent, status, words in (
                (bad, 400, "must be unique"),
                (gzip.compress(body[:50_000])[:-9], 400, "it ends too early"),
                (b"no gzip at all", 400, "not valid gzip"),
                (gzip.compress(body, 1), 413, "after decoding"),
            ):
                reply = await rig.call(sent, path=BATCHES, headers=headers)
                assert (reply.status, words in reply.json["error"]["message"]) == (status, True), reply.body
            reply = await rig.call(b"x", path=BATCHES, headers=headers | {"content-encoding": "br"})
            assert reply.json["error"]["details"] == {"error_code": "request_body_encoding_unsupported"}
            assert is_settled(rig)

    run(test)


def test_a_compressed_batch_that_is_here_may_take_its_time_to_go_on_as_long_as_it_goes() -> None:
    async def test() -> None:
        body = json.dumps({"requests": [item(f"i{number}", system="x" * 1_000_000) for number in range(12)]}).encode()
        is_over = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            await reader.readuntil(b"\r\n\r\n")
            pool = rig.pipeline.auxiliary
            assert pool is not None
            begun = pool.tick
            seen = b""
            while not seen.endswith(b"0\r\n\r\n"):
                seen = seen[-10:] + await reader.read(262_144)
                await until(lambda tick=pool.tick: pool.tick > tick)  # type: ignore[misc]
            assert pool.tick - begun > 45, "this is what the test is about"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
            await is_over.wait()

        limits = resilience(timeouts=Timeouts(connect_s=1, first_byte_s=5, stream_idle_s=0.6, total_s=5))
        async with raw_upstream(slow) as api, proxy(opened(api.url, resilience=limits), sweep_s=0.02) as rig:
            reply = await rig.call(gzip.compress(body), path=BATCHES, headers={"content-encoding": "gzip"})
            assert reply.status == 200, reply.body
            is_over.set()

    run(test)


VIOLATIONS = [
    (item("bad", model="claude-opus-4-8"), 403, "policy"),
    (item("bad", temperature=0.5, top_p=0.5), 400, "policy"),
    (item("a"), 400, "bad_request"),
    (item("bad", stream=True), 400, "bad_request"),
]


@pytest.mark.parametrize(("bad", "status", "reason"), VIOLATIONS)
def test_a_violation_breaks_the_upload_off_so_that_the_api_never_sees_its_end(bad: dict[str, Any], status: int, reason: str) -> None:
    async def test() -> None:
        whole = asyncio.Event()
        broken = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await read_request(reader)
                whole.set()
            finally:
                broken.set()

        body = json.dumps({"requests": [item("a"), item("b", system="x" * 500_000), bad, item("c", system="y" * 500_000)]}).encode()
        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            reply = await rig.call(body, path=BATCHES)
            assert (reply.status, reply.reason) == (status, reason)
            assert reply.json["error"]["message"].startswith(f'requests.2 (custom_id "{bad["custom_id"]}"): ')
            await until(lambda: api.open == 0)
            assert not whole.is_set()
            assert answers(rig, "batches") == {(status, reason): 1}
            assert is_settled(rig)
            assert rig.pipeline.pool_counts()["busy"] == 0

    run(test)


@pytest.mark.parametrize("body", [b'{"requests":[]', b"not json", b'{"requests":[{}]}}'])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    async def test() -> None:
        async with simulator() as api, proxy(opened(api.url)) as rig:
            reply = await rig.call(body, path=BATCHES)
            assert (reply.status, reply.reason) == (400, "bad_request")
            assert is_settled(rig)

    run(test)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent() -> None:
    async def test() -> None:
        async with desk() as api, proxy(opened(api.url)) as rig:
            for path, length in ((BATCHES, 256 * 1024 * 1024 + 1), (FILES, 600_000_000), (f"{BATCHES}/a/cancel", 2_000_000)):
                client = await begin(rig, path, length, expect="100-continue")
                reply = await client.read()
                assert (reply.status, reply.reason, reply.headers["connection"]) == (413, "too_large", "close")
            assert api.arrivals == []

    run(test)


def test_a_file_goes_up_and_down_as_fast_as_the_slower_side_takes_it() -> None:
    """Sixty megabytes each way past a side that takes nothing: next to nothing of it is in the proxy."""
    size = 60 * 1024 * 1024
    block = bytes(range(256)) * 256

    async def test() -> None:
        may_read = asyncio.Event()
        got = bytearray()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                await may_read.wait()
                left = size
                while left:
                    part = await reader.readexactly(min(left, 1 << 20))
                    left -= len(part)
                    got.extend(part[:16])
                writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"id":"file_01"}'[:-1])
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
                for _ in range(size // len(block)):
                    writer.write(block)
                    await writer.drain()
            await writer.drain()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await begin(rig, FILES, size)
            taken = 0

            async def push() -> None:
                nonlocal taken
                for _ in range(size // len(block)):
                    client.writer.write(block)
                    await client.writer.drain()
                    taken += len(block)

            pushing = asyncio.ensure_future(push())
            before = -1
            while before != taken or not taken:  # until nothing moves any more
                before = taken
                await asyncio.sleep(0.1)
            assert taken < size // 2
            may_read.set()
            await pushing
            assert (await client.read()).status == 200
            await client.send(b"", path=f"{FILES}/file_01/content", method="GET")
            status, headers = await client.read_head()
            assert (status, int(headers["content-length"])) == (200, size)
            left = size
            while left:
                part = await client.reader.readexactly(min(left, len(block)))
                assert part == block[: len(part)]
                left -= len(part)
            assert answers(rig, "files") == {(200, ""): 2}
            assert is_settled(rig)

    run(test)


def test_results_of_unknown_length_are_passed_on_line_by_line() -> None:
    async def test() -> None:
        go_on = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{1}\n\r\n")
            await go_on.wait()
            writer.write(b"4\r\n{2}\n\r\n0\r\n\r\n")
            await writer.drain()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(b"", path=f"{BATCHES}/msgbatch_1/results", method="GET")
            status, headers = await client.read_head()
            assert (status, headers["transfer-encoding"]) == (200, "chunked")
            assert await client.read_chunk() == b"{1}\n"
            go_on.set()
            assert await client.read_chunk() == b"{2}\n"
            assert await client.read_chunk() == b""

    run(test)


def test_an_upload_is_never_repeated_and_the_refusal_says_so() -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(100_000)

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await begin(rig, FILES, 10_000_000)
            client.writer.write(b"x" * 5_000_000)
            reply = await client.read()
            assert (reply.status, reply.reason) == (502, "upstream")
            assert "nothing was repeated" in reply.json["error"]["message"]
            assert api.connections == 1
            assert answers(rig, "files") == {(502, "upstream"): 1}
            assert is_settled(rig)

    run(test)


def test_an_answer_that_breaks_off_is_cut_visibly() -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            await writer.drain()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await rig.connect()
            await client.send(b"", path=f"{FILES}/file_1/content", method="GET")
            await client.read_head()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.reader.readexactly(100)
            await until(lambda: answers(rig, "files") == {(502, ""): 1})
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize("is_upload", [False, True])
def test_a_client_that_leaves_closes_the_upstream_call(is_upload: bool) -> None:
    async def test() -> None:
        arrived = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            arrived.set()
            await reader.read()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            client = await begin(rig, FILES, 1000) if is_upload else await rig.connect()
            if not is_upload:
                await client.send(b"", path=FILES, method="GET")
            await arrived.wait()
            client.close()
            await until(lambda: api.open == 0 and answers(rig, "files") == {(499, ""): 1})
            assert is_settled(rig)

    run(test)


@pytest.mark.parametrize("is_upload", [False, True])
def test_an_upstream_that_stands_still_is_a_504(is_upload: bool) -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(30)

        timeouts = Timeouts(connect_s=1, first_byte_s=0.2, stream_idle_s=0.2, total_s=30)
        async with raw_upstream(script) as api, proxy(opened(api.url, resilience=resilience(timeouts=timeouts))) as rig:
            client = await begin(rig, FILES, 50_000_000) if is_upload else await rig.connect()
            if is_upload:
                client.writer.write(b"x" * 20_000_000)
            else:
                await client.send(b"", path=FILES, method="GET")
            reply = await client.read()
            assert (reply.status, reply.reason, reply.json["error"]["type"]) == (504, "upstream", "timeout_error")
            assert is_settled(rig)

    run(test)


def test_long_uploads_hold_up_neither_each_other_nor_anything_else() -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST /v1/files"):
                await reader.read()
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()

        async with raw_upstream(script) as api, proxy(opened(api.url)) as rig:
            uploads = [await begin(rig, FILES, 1000) for _ in range(9)]
            await until(lambda: rig.runtime.groups.get("files") is not None and rig.runtime.groups["files"].in_flight == 8)
            assert (await rig.call(b"", path=BATCHES, method="GET")).status == 200
            assert (await rig.call(b"", path="/v1/models", method="GET")).status == 200
            assert rig.runtime.in_flight == 0
            for upload in uploads:
                upload.close()
            await until(lambda: is_settled(rig))
            assert sum(answers(rig, "files").values()) == 9

    run(test)


def test_a_batch_lives_its_life_through_the_proxy() -> None:
    async def test() -> None:
        async with simulator(speed=1e6) as api, proxy(opened(api.url)) as rig:
            batch = (await rig.call({"requests": [item("a"), item("b")]}, path=BATCHES)).json
            path = f"{BATCHES}/{batch['id']}"

            async def status() -> str:
                return str((await rig.call(b"", path=path, method="GET")).json["processing_status"])

            while await status() != "ended":
                await asyncio.sleep(0.01)
            listed = (await rig.call(b"", path=f"{BATCHES}?limit=5", method="GET")).json
            assert [entry["id"] for entry in listed["data"]] == [batch["id"]]
            reply = await rig.call(b"", path=f"{path}/results", method="GET")
            assert reply.headers["content-type"] == "application/x-jsonl"
            lines = [json.loads(line) for line in reply.body.splitlines()]
            assert {line["custom_id"]: line["result"]["type"] for line in lines} == {"a": "succeeded", "b": "succeeded"}
            assert (await rig.call(b"", path=f"{path}/cancel", method="POST")).status in (200, 400)
            assert (await rig.call(b"", path=path, method="DELETE")).status == 200
            assert (await rig.call(b"", path=path, method="GET")).status == 404
            assert is_settled(rig)

    run(test)


def test_a_batch_that_was_refused_is_none_for_the_api() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(opened(api.url)) as rig:
            reply = await rig.call({"requests": [item("a", system="x" * 200_000), item("b", model="claude-opus-4-8")]}, path=BATCHES)
            assert (reply.status, reply.reason) == (403, "policy")
            assert (await rig.call(b"", path=BATCHES, method="GET")).json["data"] == []

    run(test)


def test_a_file_comes_back_as_it_was() -> None:
    async def test() -> None:
        data = bytes(range(256)) * 20_000
        form = b'--b1\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%b\r\n--b1--\r\n' % data
        async with simulator(has_downloadable_files=True) as api, proxy(opened(api.url)) as rig:
            headers = {"content-type": "multipart/form-data; boundary=b1"}
            file = (await rig.call(form, path=FILES, headers=headers)).json
            assert file["size_bytes"] == len(data)
            reply = await rig.call(b"", path=f"{FILES}/{file['id']}/content", method="GET")
            assert (reply.status, reply.body == data) == (200, True)
            assert (await rig.call(b"", path=f"{FILES}/{file['id']}", method="DELETE")).json["type"] == "file_deleted"
            assert (await rig.call(b"", path=f"{FILES}/{file['id']}", method="GET")).status == 404

    run(test)
