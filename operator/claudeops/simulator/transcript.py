"""Transcripts: whole answers written down as server-sent events, played back byte for byte when a request names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from claudeops.errors import InvalidResource
from claudeops.simulator.message import Block
from claudeops.simulator.reply import Problem

USER_PREFIX = "transcript:"
"""A request asks for a transcript by ``metadata.user_id``: this prefix and the name."""
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "compaction_delta": "content"}


class Transcript:
    """One answer. ``events``: each server-sent event with the blank line that ends it."""

    def __init__(self, name: str, text: str) -> None:
        """Raises InvalidResource when an event's data is not JSON."""
        self.name = name
        self.events = [event.encode() + b"\n\n" for event in text.replace("\r\n", "\n").split("\n\n") if event.strip()]
        self._data = [data for event in self.events if (data := self._data_of(event)) is not None]

    def _data_of(self, event: bytes) -> dict[str, Any] | None:
        lines = [line.removeprefix(b"data:").strip() for line in event.splitlines() if line.startswith(b"data:")]
        try:
            found = msgspec.json.decode(b"\n".join(lines)) if lines else None
        except msgspec.DecodeError as error:
            raise InvalidResource(f"an event's data is not JSON: {error}", path=self.name) from error
        return found if isinstance(found, dict) else None

    @property
    def output_tokens(self) -> int:
        """What the answer says that it produced."""
        usages = [data["usage"] for data in self._data if isinstance(data.get("usage"), dict)]
        return int(usages[-1].get("output_tokens", 0)) if usages else 0

    def document(self) -> dict[str, Any] | Problem:
        """The same answer as one JSON document; the Problem when the transcript ends in an error."""
        message: dict[str, Any] = {"content": [], "usage": {}}
        inputs: dict[int, str] = {}
        for data in self._data:
            kind = data.get("type")
            if kind == "error":
                return _problem(data.get("error") or {})
            if kind == "content_block_delta":
                _apply(message["content"][data["index"]], data["delta"], inputs, data["index"])
            else:
                _take(message, data)
        for index, text in inputs.items():
            message["content"][index]["input"] = msgspec.json.decode(text or "{}")
        return message


def _take(message: dict[str, Any], data: dict[str, Any]) -> None:
    """Put an event that is no delta of a block into the message; an unknown one changes nothing."""
    kind = data.get("type")
    if kind == "message_start":
        started = data["message"]
        message.update({**started, "content": [], "usage": dict(started.get("usage") or {})})
    elif kind == "content_block_start":
        message["content"].append(dict(data["content_block"]))
    elif kind == "message_delta":
        message["usage"].update(data.get("usage") or {})
        message.update(data.get("delta") or {})


def _apply(block: Block, delta: Block, inputs: dict[int, str], index: int) -> None:
    """Put one delta into its block, as clients do; an unknown kind changes nothing."""
    kind = str(delta.get("type"))
    if kind in _APPENDED:
        field = _APPENDED[kind]
        block[field] = (block.get(field) or "") + str(delta.get(field) or "")
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    elif kind == "input_json_delta":
        inputs[index] = inputs.get(index, "") + delta["partial_json"]


def _problem(error: Mapping[str, Any]) -> Problem:
    kind = str(error.get("type", "api_error"))
    return Problem(_STATUS.get(kind, 500), kind, str(error.get("message", "")), details=error.get("details"))


class Library:
    """The transcripts that requests may ask for, by name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Raises InvalidResource."""
        self.replace(texts)

    def replace(self, texts: Mapping[str, str]) -> None:
        """Keep these instead of all others. Raises InvalidResource, and then keeps what it had."""
        self._transcripts = {name: Transcript(name, text) for name, text in texts.items()}

    def names(self) -> list[str]:
        """What there is to ask for."""
        return sorted(self._transcripts)

    def find(self, name: str) -> Transcript | None:
        """The transcript of this name; None when there is none."""
        return self._transcripts.get(name)
