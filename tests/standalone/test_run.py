"""`claudeops run` on the shipped example, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.live_simulator import exchange
from tests.standalone.running import EXAMPLE, Run, is_alive, running, wait_until

HEADERS = {"anthropic-version": "2023-06-01", "content-type": "application/json", "x-api-key": "whatever"}
OLD, NEW = "claude-sonnet-4-6", "claude-sonnet-5-5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Run]:
    """The example, with two proxies for each workload."""
    with running("-f", str(EXAMPLE), "--simulator", "--port", "0", "--proxies", "2", folder=folder) as started:
        yield started


def ask(url: str, **body: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    document = {"model": "claude-haiku-5-5", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello?"}], **body}
    status, headers, raw = exchange(url, "POST", "/v1/messages", document, HEADERS)
    return status, headers, json.loads(raw)


def seen(run: Run, model: str) -> dict[str, Any]:
    """The newest request for a model that the simulator received."""
    _, _, raw = exchange(run.simulator, "GET", f"/_sim/requests?limit=1&model={model}")
    return dict(json.loads(raw)[0])


def test_the_example_serves_with_its_models_and_sampling_bounds(run: Run) -> None:
    addresses = run.wait_until_ready("shop/support-bot", "shop/invoice-reader")
    assert [len(urls) for urls in addresses.values()] == [2, 2]
    for url in addresses["shop/invoice-reader"]:
        status, headers, answer = ask(url, temperature=1.0)
        assert (status, answer["model"], headers["x-claudeops-adjusted"]) == (200, OLD, "temperature"), answer
        assert seen(run, OLD)["sampling"] == {"temperature": 0.4}
    for url in addresses["shop/support-bot"]:
        assert ask(url, temperature=0.9)[0] == 200
        assert seen(run, NEW)["sampling"] == {}


def test_its_files_are_nobody_else_s_and_hold_no_real_key(run: Run, folder: Path) -> None:
    run.wait_until_ready("shop/support-bot")
    (private,) = folder.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    files = [path for path in private.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"proxy.json", "api-key", "token"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.read_text() for path in files if path.name == "api-key"} == {"sk-ant-sim-standalone"}


def test_all_proxies_of_a_group_share_one_limit(run: Run) -> None:
    """600 requests a minute for both together: whatever they are asked for, the API has to refuse next to none."""
    urls = run.wait_until_ready("shop/support-bot")["shop/support-bot"]
    exchange(run.simulator, "POST", "/_sim/reset")
    since, ending = run.said, threading.Event()
    served = dict.fromkeys(urls, 0)

    def work(url: str) -> None:
        while not ending.is_set():
            served[url] += ask(url, max_tokens=5)[0] == 200

    def codes() -> dict[str, int]:
        return dict(json.loads(exchange(run.simulator, "GET", "/_sim/stats")[2])["by_code"])

    workers = [threading.Thread(target=work, args=(url,)) for url in urls for _ in range(8)]
    for worker in workers:
        worker.start()
    try:
        wait_until("they are hardly served", lambda: codes().get("200", 0) >= 80)
        status = run.wait_for_status("shop/support-bot", lambda status: status["observed"]["requestsPerMinute"] > 0, since=since)["status"]
    finally:
        ending.set()
        for worker in workers:
            worker.join()
    assert status["grant"]["requestsPerMinute"] <= 660
    assert all(served.values()), served
    assert codes().get("429", 0) <= 0.02 * codes()["200"]


def test_a_proxy_that_dies_comes_back_on_its_port(run: Run) -> None:
    addresses = run.wait_until_ready("shop/invoice-reader")["shop/invoice-reader"]
    since = run.said
    victim = next(pid for pid in run.children() if "-invoice-reader" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(victim, signal.SIGKILL)
    run.wait_for_text("was ended by SIGKILL; it starts again", since=since)
    address = str(run.wait_for_text("is served again at", since=since)["message"]).rpartition(" ")[2]
    assert address in addresses
    assert ask(address)[0] == 200


def test_ctrl_c_lets_a_running_answer_end_and_leaves_nothing_behind(run: Run, folder: Path) -> None:
    """The last test of this run: it ends it."""
    url = run.wait_until_ready("shop/support-bot")["shop/support-bot"][0]
    host, _, port = url.removeprefix("http://").rpartition(":")
    body = json.dumps({"model": NEW, "max_tokens": 400, "stream": True, "messages": [{"role": "user", "content": "Tell me."}]}).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    children = run.children()
    with socket.create_connection((host, int(port)), timeout=40) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}content-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        received = connection.recv(1)
        run.process.send_signal(signal.SIGINT)
        run.wait_for("the end", lambda document: document["event"] == "stopping")
        while part := connection.recv(65536):
            received += part
    assert b"message_stop" in received
    assert run.end() == 0, run
    assert [pid for pid in children if is_alive(pid)] == []
    assert list(folder.iterdir()) == []


def test_a_second_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    """A run with a stream that would take minutes."""
    with running("-f", str(EXAMPLE), "--simulator", "--port", "0", "--grace", "600", folder=tmp_path) as started:
        url = started.wait_until_ready("shop/support-bot")["shop/support-bot"][0]
        exchange(started.simulator, "PUT", "/_sim/faults", [{"kind": "slow", "factor": 1000}])
        children = started.children()
        asking = threading.Thread(target=_ask_in_vain, args=(url,))
        asking.start()
        wait_until("the request is not there", lambda: json.loads(exchange(started.simulator, "GET", "/_sim/stats")[2])["in_flight"] == 1)
        started.process.send_signal(signal.SIGTERM)
        started.wait_for("the end", lambda document: document["event"] == "stopping")
        assert started.end() == 0
        asking.join()
        assert [pid for pid in children if is_alive(pid)] == []
    assert list(tmp_path.iterdir()) == []


def _ask_in_vain(url: str) -> None:
    with pytest.raises((OSError, HTTPException)):
        ask(url)


def test_nothing_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    with running("-f", str(EXAMPLE), "--simulator", "--port", "0", folder=tmp_path) as started:
        started.wait_until_ready("shop/support-bot")
        children = started.children()
        assert len(children) == 3
        started.process.kill()
        wait_until("its children are still there", lambda: not any(map(is_alive, children)))
    wait_until("its files are still there", lambda: list(tmp_path.iterdir()) == [])
