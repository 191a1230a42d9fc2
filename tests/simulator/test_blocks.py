"""What requests bring with them: uploaded files, thinking of earlier turns, the id of the message before."""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import Any

from tests.live_simulator import exchange, live_simulator

from claudeops.simulator import Simulator, SimulatorConfig

HEADERS = {"x-api-key": "sk-ant-sim-test", "anthropic-version": "2026-10-21"}
MODEL = "claude-sonnet-5-5"
USER = {"role": "user", "content": "hi"}
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 560, 280) + b"\x08\x02\x00\x00\x00"


def ask(simulator: Simulator, path: str = "", **members: Any) -> tuple[int, Any]:
    body = {"model": MODEL, "messages": [USER], **({} if path else {"max_tokens": 100}), **members}
    status, _, data = exchange(simulator.url, "POST", f"/v1/messages{path}", body, HEADERS)
    return status, json.loads(data)


def upload(simulator: Simulator, data: bytes, **fields: str) -> str:
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()).encode()
    parts += (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n' + data + b"\r\n--b--\r\n"
    )
    headers = HEADERS | {"content-type": "multipart/form-data; boundary=b"}
    return str(json.loads(exchange(simulator.url, "POST", "/v1/files", parts, headers)[2])["id"])


def test_an_uploaded_image_counts_like_one_that_is_sent(simulator: Simulator) -> None:
    def counted(source: dict[str, Any]) -> int:
        turn = {"role": "user", "content": [{"type": "image", "source": source}]}
        answers = [ask(simulator, "/count_tokens", messages=[turn]), ask(simulator, messages=[turn])]
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0][1]["input_tokens"] == answers[1][1]["usage"]["input_tokens"]
        return int(answers[0][1]["input_tokens"])

    sent = counted({"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()})
    assert sent == counted({"type": "file", "file_id": upload(simulator, PNG)}) == 200 + 3


def test_a_file_must_be_there_and_alive() -> None:
    with live_simulator(SimulatorConfig(speed=1e9)) as simulator:
        gone = {"type": "document", "source": {"type": "file", "file_id": upload(simulator, PNG, expires_in_seconds="3600")}}
        deadline_s = time.monotonic() + 10
        while (answer := ask(simulator, messages=[{"role": "user", "content": [gone]}]))[0] == 200:
            assert time.monotonic() < deadline_s
        status, document = answer
        assert (status, document["error"]["details"]) == (404, {"error_code": "file_expired"})
        unknown = {"type": "image", "source": {"type": "file", "file_id": "file_x"}}
        assert ask(simulator, messages=[{"role": "user", "content": [unknown]}])[0] == 404


def test_thinking_comes_back_unchanged_or_not_at_all(simulator: Simulator) -> None:
    first = ask(simulator, system="rules", thinking={"type": "adaptive"})[1]
    turns = [USER, {"role": "assistant", "content": first["content"]}, USER]
    assert ask(simulator, system="rules", thinking={"type": "adaptive"}, messages=turns)[0] == 200
    status, document = ask(simulator, system="other", thinking={"type": "adaptive"}, messages=turns)
    assert status == 400
    assert document["error"]["message"].startswith("messages.1.content.0: this `thinking` block cannot be used here")
    with live_simulator(SimulatorConfig(speed=1e6, binds_thinking=False)) as lenient:
        assert ask(lenient, system="other", messages=turns)[0] == 200


def test_diagnostics_are_in_both_forms_of_an_answer(simulator: Simulator) -> None:
    first = ask(simulator, diagnostics={"previous_message_id": None})[1]
    assert first["diagnostics"] is None
    again = ask(simulator, system="new", diagnostics={"previous_message_id": first["id"]})[1]
    assert again["diagnostics"]["cache_miss_reason"]["type"] == "system_changed"
    body = {"model": MODEL, "max_tokens": 5, "messages": [USER], "stream": True, "diagnostics": {"previous_message_id": "msg_x"}}
    data = exchange(simulator.url, "POST", "/v1/messages", body, HEADERS)[2].decode()
    started = json.loads(data.split("\n")[1].removeprefix("data: "))
    assert started["message"]["diagnostics"] == {"cache_miss_reason": {"type": "previous_message_not_found"}}
    assert ask(simulator, diagnostics=5)[0] == 400


def test_counting_leaves_the_prompt_cache_alone(simulator: Simulator) -> None:
    system = [{"type": "text", "text": "rules " * 1000, "cache_control": {"type": "ephemeral"}}]
    counted = ask(simulator, "/count_tokens", system=system)[1]["input_tokens"]
    usage = ask(simulator, system=system)[1]["usage"]
    assert usage["input_tokens"] + usage["cache_creation_input_tokens"] == counted
    assert usage["cache_read_input_tokens"] == 0


def test_a_prewarm_writes_what_the_next_request_reads(simulator: Simulator) -> None:
    system = [{"type": "text", "text": "rules " * 1000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    warm = ask(simulator, system=system, max_tokens=0)[1]
    assert (warm["content"], warm["stop_reason"], warm["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert (
        warm["usage"]["cache_creation"]["ephemeral_1h_input_tokens"]
        == ask(simulator, system=system)[1]["usage"]["cache_read_input_tokens"]
        > 0
    )
