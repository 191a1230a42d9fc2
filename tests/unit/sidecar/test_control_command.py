"""Flags, logs and the small pages."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging

import pytest
from tests.unit.table import every

from claudeops.errors import InvalidResource
from claudeops.sidecar.admin import AdminServer, Page
from claudeops.sidecar.command import FLAGS, configure, parse_address, parse_own_address, run
from claudeops.sidecar.logs import JsonFormatter


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args(list(words))


def test_a_flag_wins_over_its_variable_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, *_ in FLAGS.values():
        monkeypatch.delenv(variable, raising=False)
    assert parse().listen == "127.0.0.1:4141"
    monkeypatch.setenv("CLAUDEOPS_LISTEN", "127.0.0.1:1")
    assert parse().listen == "127.0.0.1:1"
    assert parse("--listen", "127.0.0.1:2").listen == "127.0.0.1:2"


def test_every_flag_has_a_variable_of_its_name() -> None:
    assert {variable for variable, *_ in FLAGS.values()} == {"CLAUDEOPS_" + flag.replace("-", "_").upper() for flag in FLAGS}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4141", ("127.0.0.1", 4141)),
        (":4142", ("0.0.0.0", 4142)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, "--listen") == address


@every("text", ["", "4141", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "::1:²"])
def test_anything_else_is_refused_with_the_flag_named(text: str) -> None:
    with pytest.raises(InvalidResource, match=r"^--admin: "):
        parse_address(text, "--admin")


@every("text", [":4141", "0.0.0.0:4141", "[::]:4141", "10.0.0.1:4141", "proxy.example:4141", "127.example:4141"])
def test_the_api_and_the_state_are_never_served_to_others(text: str) -> None:
    with pytest.raises(InvalidResource, match=r"^--listen: .* can be reached from outside"):
        run(parse("--listen", text))
    with pytest.raises(InvalidResource, match=r"^--state: .* can be reached from outside"):
        run(parse("--state", text))


@every("text", ["127.0.0.1:0", "127.0.0.9:4141", "localhost:1", "[::1]:4141"])
def test_loopback_addresses_are_our_own(text: str) -> None:
    assert parse_own_address(text, "--listen") == parse_address(text, "--listen")


@pytest.mark.parametrize(
    ("flag", "value"), [("--grace", "soon"), ("--grace", "-1"), ("--grace", "nan"), ("--log-level", "loud"), ("--state", "x")]
)
def test_a_value_that_cannot_be_used_is_refused_before_anything_starts(flag: str, value: str) -> None:
    with pytest.raises(InvalidResource, match=f"^{flag}: "):
        run(parse(flag, value))


def test_a_log_line_is_one_json_object_with_what_the_caller_added() -> None:
    record = logging.getLogger("claudeops.x").makeRecord(
        "claudeops.x", logging.WARNING, "f", 1, "two\nlines %s", ("here",), None, extra={"revision": 7}
    )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"], line["revision"]) == ("warning", "claudeops.x", "two\nlines here", 7)
    assert line["time"].endswith("Z")


def test_an_exception_stands_in_the_same_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), (ValueError, error, error.__traceback__))
    assert "ValueError: broken" in json.loads(JsonFormatter().format(record))["exception"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [(b"GET", "/healthz", 200), (b"HEAD", "/healthz", 200), (b"POST", "/healthz", 405), (b"GET", "/", 404), (b"DELETE", "/x", 404)],
)
def test_the_small_pages_are_read_only(method: bytes, path: str, status: int) -> None:
    server = AdminServer({"/healthz": lambda: Page(200, b"ok\n")})
    assert asyncio.run(server.answer(method, path)).status == status
