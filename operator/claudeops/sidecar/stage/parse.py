"""parse: the JSON body is read once, into the few members that the stages ask about."""

from __future__ import annotations

from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.wireformat import DecodeError, decode_request


def parse(call: Call, runtime: Runtime) -> Answer | None:
    """Refuses what is not a Messages request."""
    try:
        call.asked = asked = decode_request(call.body)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Answer("bad_request", f"the body is not a Messages request: {error}")
    call.is_streamed = asked.stream is True
    return None
