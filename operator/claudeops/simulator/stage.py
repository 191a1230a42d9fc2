"""The stages a call passes before an answer is produced: each fills in the call or returns the Problem that ends it."""

from __future__ import annotations

from base64 import b64encode

from claudeops.catalogue import load_catalogue
from claudeops.simulator.binding import binding_violation
from claudeops.simulator.call import CACHE_CONTROL, Call
from claudeops.simulator.diagnosis import diagnostics_problem
from claudeops.simulator.imagerule import oversized_problem
from claudeops.simulator.legality import violation
from claudeops.simulator.message import MalformedBody, MessageRequest, decode_count, decode_message
from claudeops.simulator.modelinfo import is_retired
from claudeops.simulator.picture import STORED
from claudeops.simulator.prompt import count_tokens, has_breakpoints, positions
from claudeops.simulator.promptcache import InputUse, Lookup
from claudeops.simulator.reply import Problem, invalid, not_found
from claudeops.simulator.world import World


def parse_message(call: Call, world: World) -> Problem | None:
    """The body as a Messages request."""
    try:
        call.message = decode_message(call.request.body)
    except MalformedBody as error:
        return invalid(str(error))
    return None


def parse_count(call: Call, world: World) -> Problem | None:
    """The body as a ``count_tokens`` request."""
    try:
        call.message = decode_count(call.request.body)
    except MalformedBody as error:
        return invalid(str(error))
    return None


def find_model(call: Call, world: World) -> Problem | None:
    """The model, if it exists and has not retired."""
    assert call.message is not None
    call.model = load_catalogue().model(call.message.model)
    if call.model is None or is_retired(call.model, world.identity.today()):
        return not_found(f"model: {call.message.model}")
    return None


def check_legality(call: Call, world: World) -> Problem | None:
    """Everything that earns a 400 by model and version."""
    assert call.message is not None and call.model is not None
    message = violation(call.message, call.model, call.version, call.request.header(b"anthropic-beta"))
    if message is None and world.config.binds_thinking:
        message = binding_violation(call.message, call.model)
    if message is not None:
        return invalid(message)
    return diagnostics_problem(call.message) or oversized_problem(call.message, call.model)


def resolve_files(call: Call, world: World) -> Problem | None:
    """The uploaded files that content blocks name: they must be there, and what they hold counts."""
    assert call.message is not None
    if b'"file_id"' not in call.request.body:
        return None
    for turn in call.message.messages:
        for block in turn.content if isinstance(turn.content, list) else ():
            source = block.get("source")
            if not isinstance(source, dict) or source.get("type") != "file":
                continue
            file = world.find_file(call, str(source.get("file_id")))
            if isinstance(file, Problem):
                return file
            source[STORED] = b64encode(file.data).decode()
    return None


def count_input(call: Call, world: World) -> Problem | None:
    """Input tokens, and which of them the prompt cache has."""
    assert call.message is not None and call.model is not None and call.account is not None
    message, model = call.message, call.model
    if isinstance(message, MessageRequest) and CACHE_CONTROL in call.request.body and has_breakpoints(message):
        found = positions(message, model, message.speed or "standard")
        call.lookup = world.cache.look_up(call.account.workspace_id, found, model.min_cacheable_tokens, call.started_s)
    else:
        call.lookup = Lookup(InputUse(count_tokens(message, model)))
    if call.lookup.use.total > model.context_tokens:
        return invalid(f"prompt is too long: {call.lookup.use.total} tokens > {model.context_tokens} maximum")
    return None
