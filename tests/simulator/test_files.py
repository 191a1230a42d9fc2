"""The Files API on a socket."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Account, Simulator, SimulatorConfig

HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2026-10-21"}


def form(data: bytes = b"hello", name: str = "notes.txt", kind: str = "text/plain", *, boundary: str = "b1", **fields: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    rest = "".join(f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}' for key, value in fields.items())
    return head.encode() + data + rest.encode() + f"\r\n--{boundary}--\r\n".encode()


def upload(simulator: Simulator, body: bytes, boundary: str = "b1", key: str = "sk-ant-sim-test") -> tuple[int, Any]:
    headers = HEADERS | {"x-api-key": key, "content-type": f"multipart/form-data; boundary={boundary}"}
    status, _, data = exchange(simulator.url, "POST", "/v1/files", body, headers)
    return status, json.loads(data)


def ask(simulator: Simulator, method: str, path: str, key: str = "sk-ant-sim-test") -> tuple[int, Any]:
    status, _, data = exchange(simulator.url, method, path, None, HEADERS | {"x-api-key": key})
    return status, json.loads(data)


def test_a_file_is_uploaded_seen_and_deleted(simulator: Simulator) -> None:
    status, file = upload(simulator, form(name="C:\\\\docs\\\\notes.txt"))
    assert status == 200
    assert file["id"].startswith("file_")
    assert (file["type"], file["filename"], file["mime_type"], file["size_bytes"]) == ("file", "notes.txt", "text/plain", 5)
    assert (file["downloadable"], file["expires_at"]) == (False, None)
    assert ask(simulator, "GET", f"/v1/files/{file['id']}") == (200, file)
    status, error = ask(simulator, "GET", f"/v1/files/{file['id']}/content")
    assert (status, error["error"]["details"]) == (400, {"error_code": "file_not_downloadable"})
    assert ask(simulator, "DELETE", f"/v1/files/{file['id']}") == (200, {"id": file["id"], "type": "file_deleted"})
    assert ask(simulator, "GET", f"/v1/files/{file['id']}")[0] == 404


def test_what_can_be_downloaded_comes_back_as_it_was() -> None:
    data = bytes(range(256)) * 5000 + b"\r\n--b1"
    with live_simulator(SimulatorConfig(speed=1e6, has_downloadable_files=True)) as simulator:
        file = upload(simulator, form(data, "x.bin", "application/octet-stream", boundary="other"), "other")[1]
        status, headers, content = exchange(simulator.url, "GET", f"/v1/files/{file['id']}/content", None, HEADERS)
    assert (status, headers["content-type"], content == data) == (200, "application/octet-stream", True)


def test_a_file_expires(simulator: Simulator) -> None:
    with live_simulator(SimulatorConfig(speed=1e9, has_downloadable_files=True)) as fast:
        file = upload(fast, form(expires_in_seconds="3600"))[1]
        assert file["expires_at"] > file["created_at"]
        deadline_s = time.monotonic() + 10
        while (answer := exchange(fast.url, "GET", f"/v1/files/{file['id']}/content", None, HEADERS))[0] == 200:
            assert time.monotonic() < deadline_s
    assert (answer[0], json.loads(answer[2])["error"]["details"]) == (404, {"error_code": "file_expired"})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (form(expires_in_seconds="3599"), "expires_in_seconds: Input should be between 3600 and 7776000"),
        (form(expires_in_seconds="soon"), "expires_in_seconds: Input should be between 3600 and 7776000"),
        (form().replace(b'name="file"', b'name="data"'), "file: Field required"),
        (b"hello", "the form has no boundary"),
        (form()[:-8], "the form does not end"),
        (b"--b1\r\nx: y\r\n\r\nx\r\n--b1--", "a part of the form has no name"),
        (b"--b1\r\nx\r\n--b1--", "a part of the form has no head"),
    ],
)
def test_wrong_forms_are_refused(simulator: Simulator, body: bytes, message: str) -> None:
    status, error = upload(simulator, body)
    assert (status, error["error"]["message"]) == (400, message)


def test_a_body_that_is_no_form_is_refused(simulator: Simulator) -> None:
    status, _, data = exchange(simulator.url, "POST", "/v1/files", b"{}", HEADERS | {"content-type": "application/json"})
    assert (status, json.loads(data)["error"]["message"]) == (400, "content-type must be multipart/form-data with a boundary")


def test_files_are_paged_both_ways_and_belong_to_a_workspace() -> None:
    keys = {"sk-a": Account("acme", "blue"), "sk-b": Account("acme", "red")}
    with live_simulator(SimulatorConfig(keys=keys)) as simulator:
        ids = [upload(simulator, form(str(number).encode()), key="sk-a")[1]["id"] for number in range(5)][::-1]

        def page(query: str) -> dict[str, Any]:
            status, document = ask(simulator, "GET", f"/v1/files?{query}", "sk-a")
            assert status == 200, document
            return dict(document)

        seen, cursor = [], ""
        while cursor is not None:
            found = page(f"limit=2&page={cursor}" if cursor else "limit=2")
            seen += [file["id"] for file in found["data"]]
            cursor = found["next_page"]
        assert seen == ids
        older = page(f"limit=2&after_id={ids[1]}")
        assert ([file["id"] for file in older["data"]], older["has_more"]) == (ids[2:4], True)
        assert [file["id"] for file in page(f"ids[]={ids[3]}&ids[]=nothing")["data"]] == [ids[3]]
        assert ask(simulator, "GET", f"/v1/files?limit=1&ids={ids[0]}", "sk-a")[0] == 400
        assert ask(simulator, "GET", "/v1/files?page=page_x", "sk-a")[0] == 400
        assert ask(simulator, "GET", "/v1/files", "sk-b")[1]["data"] == []
        assert ask(simulator, "GET", f"/v1/files/{ids[0]}", "sk-b")[0] == 404


def test_fixed_ids_do_not_depend_on_the_boundary() -> None:
    with live_simulator(SimulatorConfig(has_fixed_ids=True)) as simulator:
        first, second = upload(simulator, form()), upload(simulator, form(boundary="b2"), "b2")
    assert first == second
