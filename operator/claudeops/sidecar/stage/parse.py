"""parse: the JSON body is read once, into the few members that the stages ask about."""

from __future__ import annotations

from typing import Final

from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.coding import CODINGS, Decoder
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.wireformat import UNREADABLE, decode_request

BODY_MAX_BYTES: Final = 32 * 1024 * 1024
"""The API's own limit for a Messages request, which holds for what a compressed one becomes too."""

_decode_request: Final = decode_request  # compiled, a name of this module's own is no dictionary lookup


def parse(call: Call, runtime: Runtime) -> Answer | None:
    """Refuses what is not a Messages request."""
    if call.caller.coding:
        answer = _decode(call)
        if answer is not None:
            return answer
    try:
        call.asked = asked = _decode_request(call.body)
    except UNREADABLE as error:
        return Answer("bad_request", f"the body is not a Messages request: {error}")
    call.is_streamed = asked.stream is True
    return None


def _decode(call: Call) -> Answer | None:
    """A compressed body is read, changed and sent on as what it becomes."""
    coding = call.caller.coding
    if coding not in CODINGS:
        return unsupported(coding)
    decoder = Decoder(coding, limit_bytes=BODY_MAX_BYTES)
    body = decoder.feed(call.body)
    decoder.end()
    if decoder.failure:
        return undecodable(decoder)
    call.body = body
    return None


def unsupported(coding: bytes) -> Answer:
    """A coding that is not known here. Error codes: reference anthropic-api, section 6."""
    message = f"content-encoding {coding.decode('latin-1')} is not supported: send gzip, deflate or no coding"
    return Answer("bad_request", message, code="request_body_encoding_unsupported")


def undecodable(decoder: Decoder) -> Answer:
    """The body is not what its coding says, or becomes too large."""
    if decoder.is_too_large:
        return Answer("too_large", decoder.failure, code="request_body_too_large_after_decoding")
    return Answer("bad_request", decoder.failure, code="request_body_encoding_invalid")
