"""The parts of the API's JSON that the proxy reads: everything else is skipped at memory speed and never rewritten.

An absent ``Raw`` is empty. Never ``Raw | None``: msgspec then accepts only null.
"""

# No postponed annotations here: msgspec would evaluate each of them again, as text, at every start.

import msgspec
from msgspec import Raw as Raw

ABSENT = Raw(b"")


class CacheCreation(msgspec.Struct, gc=False):
    """``usage.cache_creation``."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class UsageJson(msgspec.Struct, gc=False):
    """``usage`` of a message, of ``message_start`` or of ``message_delta``."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    server_tool_use: Raw = ABSENT
    iterations: Raw = ABSENT


class IterationJson(UsageJson, gc=False):
    """One of ``usage.iterations``."""

    type: str = ""
    model: str | None = None


class ServerToolUseJson(msgspec.Struct, gc=False):
    """``usage.server_tool_use``."""

    web_search_requests: int | None = None


class StopDetailsJson(msgspec.Struct, gc=False):
    """``stop_details``."""

    category: str | None = None


class MessageJson(msgspec.Struct, gc=False):
    """An answer."""

    model: str = ""
    stop_reason: str | None = None
    usage: UsageJson | None = None


class RefusalJson(msgspec.Struct, gc=False):
    """What only a refusal is asked for."""

    content: Raw = ABSENT
    stop_details: Raw = ABSENT


class DeltaJson(msgspec.Struct, gc=False):
    """``delta`` of ``message_delta``."""

    stop_reason: str | None = None
    stop_details: Raw = ABSENT


class EventJson(msgspec.Struct, gc=False):
    """A stream event."""

    type: str = ""
    usage: UsageJson | None = None
    message: MessageJson | None = None
    delta: DeltaJson | None = None


class ThoughtJson(msgspec.Struct, gc=False):
    """What tells one thinking block from another: a whole block, or the delta that brings its signature."""

    type: str = ""
    signature: str | None = None
    data: str | None = None


class ThoughtEventJson(msgspec.Struct, gc=False):
    """A stream event that may bring such a block."""

    content_block: ThoughtJson | None = None
    delta: ThoughtJson | None = None


class ThoughtsJson(msgspec.Struct, gc=False):
    """The blocks of an answer."""

    content: list[ThoughtJson] = []


class ErrorDetails(msgspec.Struct, frozen=True, gc=False):
    """``error.details``."""

    error_code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, gc=False):
    """``error`` of an error answer or event."""

    type: str = ""
    message: str = ""
    details: ErrorDetails | None = None


class ErrorJson(msgspec.Struct, gc=False):
    """An error answer or event."""

    error: ErrorBody = ErrorBody()


class MetadataJson(msgspec.Struct, gc=False):
    """``metadata``."""

    user_id: str | None = None


class ThinkingJson(msgspec.Struct, gc=False):
    """``thinking``."""

    type: str = ""
    budget_tokens: int | float | None = None


class OutputConfigJson(msgspec.Struct, gc=False):
    """``output_config``."""

    effort: str | None = None


class ToolChoiceJson(msgspec.Struct, gc=False):
    """``tool_choice``."""

    type: str = ""


class BlockJson(msgspec.Struct, gc=False):
    """A content block, a system block or a tool."""

    type: str = ""
    source: Raw = ABSENT
    content: Raw = ABSENT
    cache_control: Raw = ABSENT


class TurnJson(msgspec.Struct, gc=False):
    """One message of the conversation."""

    role: str = ""
    content: list[BlockJson] | str | None = None


class RequestJson(msgspec.Struct):
    """What the stages ask of a request."""

    model: str
    max_tokens: int | float | None = None
    """The API judges what is no whole number; ``64.0`` is one."""
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | float | None = None
    thinking: ThinkingJson | None = None
    output_config: OutputConfigJson | None = None
    tool_choice: ToolChoiceJson | None = None
    metadata: MetadataJson | None = None
    speed: Raw = ABSENT
    cache_control: Raw = ABSENT
    system: Raw = ABSENT
    tools: Raw = ABSENT
    messages: list[TurnJson] = []


class BatchParamsJson(msgspec.Struct, gc=False):
    """What is asked of the ``params`` of one item of a batch."""

    model: str
    max_tokens: int | float | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | float | None = None
    thinking: ThinkingJson | None = None
    output_config: OutputConfigJson | None = None
    speed: Raw = ABSENT
    fallbacks: Raw = ABSENT


class BatchItemJson(msgspec.Struct, gc=False):
    """One item of a batch."""

    custom_id: str
    params: BatchParamsJson


Member = dict[str, Raw]

decode_request = msgspec.json.Decoder(RequestJson).decode
decode_batch_item = msgspec.json.Decoder(BatchItemJson).decode
decode_value = msgspec.json.Decoder().decode
decode_members = msgspec.json.Decoder(Member).decode
decode_list = msgspec.json.Decoder(list[Member]).decode
decode_blocks = msgspec.json.Decoder(list[BlockJson] | str).decode
decode_text = msgspec.json.Decoder(str).decode
decode_message = msgspec.json.Decoder(MessageJson).decode
decode_event = msgspec.json.Decoder(EventJson).decode
decode_refusal = msgspec.json.Decoder(RefusalJson).decode
decode_iterations = msgspec.json.Decoder(list[IterationJson] | None).decode
decode_server_tools = msgspec.json.Decoder(ServerToolUseJson | None).decode
decode_stop_details = msgspec.json.Decoder(StopDetailsJson | None).decode
decode_thoughts = msgspec.json.Decoder(ThoughtsJson).decode
decode_thought_event = msgspec.json.Decoder(ThoughtEventJson).decode
decode_error = msgspec.json.Decoder(ErrorJson).decode
encode = msgspec.json.Encoder().encode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not the JSON it reads: no JSON, another shape; no UTF-8; nested too deeply."""
ValidationError = msgspec.ValidationError
