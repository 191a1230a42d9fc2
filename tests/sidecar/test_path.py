"""The request path end to end: one request through everything, against the simulator."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.rig import PRIMARY, ask, config, proxy, run, simulator, until

from claudeops.proxyconfig import Connections, Objective, Upstream


def test_a_json_request_goes_through_with_its_bytes_unchanged() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            body = json.dumps(ask(temperature=0.5, metadata={"user_id": "u"}), indent=1).replace("0.5", "0.50").encode()
            reply = await rig.call(body)
            assert reply.status == 200, reply.body
            assert api.requests()[0].body_sha256 == hashlib.sha256(body).hexdigest()
            assert reply.json["type"] == "message"
            assert reply.headers["x-claudeops-tier"] == "primary"
            assert reply.headers["x-claudeops-model"] == PRIMARY
            assert reply.headers["x-claudeops-queue-ms"] == "0"
            assert "request-id" in reply.headers
            counters = rig.runtime.models[PRIMARY].counters[0]
            assert counters.requests == {(200, ""): 1}
            assert rig.runtime.models[PRIMARY].used.standard.output == reply.json["usage"]["output_tokens"]
            assert rig.runtime.in_flight == 0

    run(test)


def test_a_stream_goes_through_event_by_event() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            reply = await rig.call(ask(stream=True))
            assert reply.status == 200, reply.body
            names = [name for name, _ in reply.events]
            assert names[0] == "message_start"
            assert names[-2:] == ["message_delta", "message_stop"]
            output = [data["usage"]["output_tokens"] for name, data in reply.events if name == "message_delta"][-1]
            assert rig.runtime.models[PRIMARY].used.standard.output == output
            error = rig.runtime.models[PRIMARY].counters[0].output_estimate_error
            assert (sum(error.counts), error.sum > 0) == (1, True)
            assert rig.runtime.in_flight == 0

    run(test)


def test_only_a_stream_has_a_time_to_its_first_token() -> None:
    async def test() -> None:
        objectives = tuple(Objective(indicator=name, threshold_s=30.0, objective_percent=95.0) for name in ("TimeToFirstToken", "Latency"))
        async with simulator() as api, proxy(config(api.url, objectives=objectives)) as rig:
            counters = rig.runtime.models[PRIMARY].counters[0]
            for is_stream, first_tokens, answers in ((False, 0, 1), (True, 1, 2)):
                assert (await rig.call(ask(stream=is_stream))).status == 200
                assert (sum(counters.first_token.counts), sum(counters.duration.counts)) == (first_tokens, answers)
                assert (rig.runtime.window.first_token.total, rig.runtime.window.latency.total) == (first_tokens, answers)
                assert [sum(total for _, _, total in slo.entries()) for slo in rig.runtime.slos] == [first_tokens, answers]

    run(test)


def test_counting_tokens_and_listing_models_say_nothing_about_how_long_messages_take() -> None:
    async def test() -> None:
        async with simulator() as api, proxy(config(api.url)) as rig:
            counters = rig.runtime.models[PRIMARY].counters[0]
            counted = {name: value for name, value in ask().items() if name != "max_tokens"}
            assert (await rig.call(counted, path="/v1/messages/count_tokens")).status == 200
            assert (await rig.call(b"", path="/v1/models", method="GET")).status == 200
            assert counters.requests == {(200, ""): 2}
            assert (sum(counters.duration.counts), rig.runtime.window.latency.total, rig.runtime.slos[0].entries()) == (0, 0, [])

    run(test)


def test_who_leaves_before_the_first_token_is_no_time_to_it() -> None:
    async def test() -> None:
        async with simulator(speed=1.0, ttft_s=5.0) as api, proxy(config(api.url)) as rig:
            counters = rig.runtime.models[PRIMARY].counters[0]
            client = await rig.connect()
            await client.send(json.dumps(ask(stream=True)).encode())
            await until(lambda: rig.runtime.in_flight == 1)
            client.close()
            await until(lambda: counters.requests == {(499, ""): 1})
            assert (sum(counters.first_token.counts), sum(counters.duration.counts)) == (0, 1)

    run(test)


def test_a_new_upstream_is_used_from_the_next_request_on() -> None:
    async def test() -> None:
        async with simulator() as first, simulator() as second, proxy(config(first.url)) as rig:
            client = await rig.connect()
            await client.send(json.dumps(ask()).encode())
            assert (await client.read()).status == 200
            rig.apply(config(second.url, revision=2))
            await client.send(json.dumps(ask()).encode())
            assert (await client.read()).status == 200
            assert (len(first.requests()), len(second.requests())) == (1, 1)
            await until(lambda: sum(rig.pipeline.pool_counts().values()) == 1)

    run(test)


def test_who_waits_while_the_upstream_changes_is_sent_to_the_new_one_under_its_name() -> None:
    heads: list[bytes] = []
    may_answer = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await read_request(reader))[0])
            await may_answer.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def test() -> None:
        one_at_a_time = Connections(min=0, max=1)
        async with (
            raw_upstream(answer) as first,
            raw_upstream(answer) as second,
            proxy(config(first.url, connections=one_at_a_time)) as rig,
        ):
            running, parked = await rig.connect(), await rig.connect()
            await running.send(json.dumps(ask()).encode())
            await until(lambda: len(heads) == 1)
            await parked.send(json.dumps(ask()).encode())
            await until(lambda: rig.runtime.queued == 1)
            rig.apply(config(f"{second.url}/team", revision=2))
            await until(lambda: len(heads) == 2)
            assert heads[1].startswith(b"POST /team/v1/messages HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % second.port)
            may_answer.set()
            assert ((await running.read()).status, (await parked.read()).status) == (200, 200)

    run(test)


def test_the_upstream_may_speak_tls_and_its_certificate_must_name_it(tmp_path: pathlib.Path) -> None:
    certificate, key, bundle = certify(tmp_path, "localhost")

    async def test() -> None:
        async with simulator(tls_certificate=str(certificate), tls_key=str(key)) as api:
            upstream = Upstream(base_url=f"https://localhost:{api.port}", ca_bundle=bundle)
            async with proxy(config(api.url, upstream=upstream)) as rig:
                assert (await rig.call(ask())).status == 200
                assert (await rig.call(ask(stream=True))).events[-1][0] == "message_stop"
            other = Upstream(base_url=f"https://127.0.0.1:{api.port}", ca_bundle=bundle)
            async with proxy(config(api.url, upstream=other)) as rig:
                reply = await rig.call(ask())
                assert (reply.status, reply.reason) == (502, "upstream")

    run(test)


def certify(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path, str]:
    """A self-signed certificate for `name`: its file, its key's file, its PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.crt").write_bytes(pem)
    (folder / "tls.key").write_bytes(private)
    return folder / "tls.crt", folder / "tls.key", pem.decode()
