"""The stages at which the fault script and the transcripts have their say."""

from __future__ import annotations

import time

from claudeops.simulator.call import Call
from claudeops.simulator.errorbook import error_of
from claudeops.simulator.fault import Subject
from claudeops.simulator.limitstage import current_ratelimits
from claudeops.simulator.message import MessageRequest
from claudeops.simulator.reply import BROKEN, INTERNAL, OVERLOADED, Problem, invalid
from claudeops.simulator.transcript import USER_PREFIX
from claudeops.simulator.world import World

_NO_METADATA: dict[str, object] = {}
_BEFORE_ANSWER = {"overloaded": OVERLOADED, "error500": INTERNAL}


def subject_of(call: Call) -> Subject:
    """The call as the filters of faults see it."""
    model = call.model
    return Subject(
        "" if model is None else model.id,
        None if model is None else model.rate_limit_group,
        call.request.client,
        call.key,
        call.request.path,
    )


def _ratelimits_now(call: Call, world: World) -> bytes:
    """The rate-limit headers of a call that has not yet come to its limits."""
    if call.standard is not None:
        call.standard.advance()
    return current_ratelimits(call, world)


def meet_faults(call: Call, world: World) -> Problem | None:
    """The fault that the script has for this call; some end it here, the others are the answer's."""
    if not world.faults.is_any:
        return None
    fault = call.fault = world.faults.pick(subject_of(call), time.time(), is_stream=call.is_stream)
    if fault is None:
        return None
    if fault.kind == "throttle":
        call.ratelimit_lines = _ratelimits_now(call, world)
        return Problem(429, "rate_limit_error", "Number of requests has exceeded your rate limit.", fault.retry_after_s, True)
    if fault.kind == "error" and fault.code is not None:
        call.ratelimit_lines = _ratelimits_now(call, world)
        return error_of(fault.code, fault.retry_after_s)
    if fault.kind == "down" or (fault.after_events is None and fault.kind in ("reset", "garbage")):
        return BROKEN
    return _BEFORE_ANSWER.get(fault.kind)


def find_transcript(call: Call, world: World) -> Problem | None:
    """The transcript that the request, or the fault it met, asks for."""
    assert isinstance(call.message, MessageRequest)
    name = call.fault.name if call.fault is not None and call.fault.kind == "transcript" else None
    user = (call.message.metadata or _NO_METADATA).get("user_id")
    if isinstance(user, str) and user.startswith(USER_PREFIX):
        name = user.removeprefix(USER_PREFIX)
    if name is None:
        return None
    call.transcript = world.library.find(name)
    return None if call.transcript is not None else invalid(f"metadata.user_id: there is no transcript {name!r}")
