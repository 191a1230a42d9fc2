"""A Messages API request: decoded as strictly as the API does, with its messages for what is malformed."""

from __future__ import annotations

import re
from typing import Any

import msgspec

Block = dict[str, Any]


class CacheControl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt-cache breakpoint."""

    type: str
    ttl: str = "5m"


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message."""

    role: str
    content: str | list[Block]

    def blocks(self) -> list[Block]:
        """The content as blocks: a plain string is one text block."""
        return [{"type": "text", "text": self.content}] if isinstance(self.content, str) else self.content


class CountRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``count_tokens``, and the part of a Messages request that it shares."""

    model: str
    messages: list[Turn]
    system: str | list[Block] | None = None
    tools: list[Block] | None = None
    tool_choice: Block | None = None
    thinking: Block | None = None
    output_config: Block | None = None
    cache_control: CacheControl | None = None
    speed: str | None = None
    mcp_servers: list[Block] | None = None
    context_management: Block | None = None
    temperature: float | msgspec.UnsetType | None = msgspec.UNSET
    top_p: float | msgspec.UnsetType | None = msgspec.UNSET
    top_k: int | msgspec.UnsetType | None = msgspec.UNSET

    def sampling(self) -> dict[str, float | None]:
        """The sampling parameters that are present, with their values."""
        pairs = (("temperature", self.temperature), ("top_p", self.top_p), ("top_k", self.top_k))
        return {name: value for name, value in pairs if not isinstance(value, msgspec.UnsetType)}

    def thinking_type(self) -> str | None:
        """``thinking.type`` as written; None when the request leaves it to the model's default."""
        return None if self.thinking is None else self.thinking.get("type")

    def effort(self) -> str | None:
        """``output_config.effort`` as written."""
        return None if self.output_config is None else self.output_config.get("effort")

    def tool_choice_type(self) -> str | None:
        """``tool_choice.type`` as written."""
        return None if self.tool_choice is None else self.tool_choice.get("type")

    def system_blocks(self) -> list[Block]:
        """The system prompt as blocks."""
        if self.system is None:
            return []
        return [{"type": "text", "text": self.system}] if isinstance(self.system, str) else self.system


class MessageRequest(CountRequest, forbid_unknown_fields=True, kw_only=True):
    """The body of ``POST /v1/messages``. Beta members are known by name and otherwise ignored."""

    max_tokens: int
    stream: bool = False
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    container: Any = None
    diagnostics: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    thread: Any = None
    compaction: Any = None
    billing_policy: Any = None


_MESSAGE_DECODER = msgspec.json.Decoder(MessageRequest)
_COUNT_DECODER = msgspec.json.Decoder(CountRequest)
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]+)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_MISSING = re.compile(r"required field `(?P<field>[^`]+)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_TYPED = re.compile(r"Expected `(?P<type>[^`]+)`, got `[^`]+`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_TYPE_NAMES = {
    "int": "a valid integer",
    "float": "a valid number",
    "str": "a valid string",
    "bool": "a valid boolean",
    "array": "a valid list",
}


class MalformedBody(ValueError):
    """The body is not a request; the text is the API's message for a 400."""


def decode_message(body: bytes | bytearray | msgspec.Raw) -> MessageRequest:
    """The body of ``POST /v1/messages``; raises MalformedBody."""
    try:
        return _MESSAGE_DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedBody(message_of(error)) from error


def decode_count(body: bytes | bytearray) -> CountRequest:
    """The body of ``POST /v1/messages/count_tokens``; raises MalformedBody."""
    try:
        return _COUNT_DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedBody(message_of(error)) from error


def message_of(error: msgspec.DecodeError) -> str:
    """What the API says about this mistake."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return f"The request body is not valid JSON: {text}"
    if (found := _UNKNOWN.search(text)) is not None:
        return f"{_dotted(found)}: Extra inputs are not permitted"
    if (found := _MISSING.search(text)) is not None:
        return f"{_dotted(found)}: Field required"
    if (found := _TYPED.search(text)) is not None:
        wanted = found["type"].split(" | ")[0]
        path = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", found["path"] or "") or "body"
        return f"{path}: Input should be {_TYPE_NAMES.get(wanted, 'a valid dictionary')}"
    return text


def _dotted(found: re.Match[str]) -> str:
    """``messages.0.role`` for msgspec's ``$.messages[0]`` and ``role``."""
    path = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", found["path"] or "")
    return f"{path}.{found['field']}" if path else found["field"]
