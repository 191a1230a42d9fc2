"""``claudeops simulate`` as a process, the library on a plain event loop, and HTTPS."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Fault, LimitsChange, Simulator, SimulatorConfig

HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2023-06-01"}
BODY: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
SIMULATE = [sys.executable, "-m", "claudeops", "simulate"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('[{"kind": "overloaded", "count": 1}]')
    command = [*SIMULATE, "--port", "0", "--speed", "1000", "--faults", str(faults), "--limit", "sonnet-5.5=60,1000,2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().rpartition(" ")[2]
        codes = [exchange(url, "POST", "/v1/messages", BODY, HEADERS)[0] for _ in range(2)]
        limits = json.loads(exchange(url, "GET", "/_sim/limits")[2])["limits"]
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
    assert codes == [529, 200]
    assert limits["sonnet-5.5"] == {"rpm": 60, "itpm": 1000, "otpm": 2000}


def test_a_taken_port_is_said_and_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([*SIMULATE, "--port", str(taken.getsockname()[1])], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1:" in done.stderr


def test_the_library_runs_on_a_plain_event_loop() -> None:
    async def ask(simulator: Simulator) -> int:
        return (await asyncio.to_thread(exchange, simulator.url, "POST", "/v1/messages", BODY, HEADERS))[0]

    async def session() -> None:
        async with Simulator(SimulatorConfig(speed=1000)) as simulator:
            simulator.set_faults([Fault("overloaded", count=1)])
            assert [await ask(simulator), await ask(simulator)] == [529, 200]
            simulator.set_faults([Fault("reset")])
            with pytest.raises(ConnectionError):
                await ask(simulator)
            stats = simulator.stats()
            assert stats.by_code == {"529": 1, "200": 1, "0": 1}
            group = stats.group("sonnet-5.5")
            assert group is not None
            assert group.used.requests == 1
            assert stats.group("sonnet-5.5", "other") is None
            assert [entry.code for entry in simulator.requests()] == [0, 200, 529]
            simulator.set_limits(LimitsChange(tier="Start"))
            simulator.reset()
            assert simulator.stats().requests == 0
        with pytest.raises(ConnectionRefusedError):
            await ask(simulator)

    asyncio.run(session())


def write_certificate(folder: Path) -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(today).not_valid_after(today + datetime.timedelta(days=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(key, hashes.SHA256())
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return str(certificate_file), str(key_file)


def test_https(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=certificate)
    with live_simulator(SimulatorConfig(speed=1000, tls_certificate=certificate, tls_key=key)) as simulator:
        assert simulator.url.startswith("https://")
        connection = http.client.HTTPSConnection("localhost", simulator.port, context=trust, timeout=20)
        connection.request("POST", "/v1/messages", json.dumps(BODY), HEADERS)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["usage"]["output_tokens"]) == (200, 10)
        connection.close()
