"""The stages a call passes before an answer is produced: each fills in the call or returns the Problem that ends it."""

from __future__ import annotations

from claudeops.catalogue import load_catalogue
from claudeops.simulator.call import Call
from claudeops.simulator.config import Account
from claudeops.simulator.legality import violation
from claudeops.simulator.message import MalformedBody, MessageRequest, decode_count, decode_message
from claudeops.simulator.modelinfo import is_retired
from claudeops.simulator.prompt import count_tokens, has_breakpoints, positions
from claudeops.simulator.promptcache import InputUse, Lookup
from claudeops.simulator.reply import Problem, invalid, not_found
from claudeops.simulator.world import World


def authenticate(call: Call, world: World) -> Problem | None:
    """Who calls: ``x-api-key``, else a Bearer token. Both present: ``x-api-key`` holds."""
    key = _key_of(call)
    if not key:
        return Problem(401, "authentication_error", "x-api-key header is required")
    holder = world.tokens.account_of(key, call.request)
    if isinstance(holder, Problem):
        return holder
    call.account = holder or world.config.account_of(key)
    return None if call.account is not None else Problem(401, "authentication_error", "invalid x-api-key")


def authenticate_admin(call: Call, world: World) -> Problem | None:
    """Who administrates: the Admin API takes keys of its own, and no others."""
    key = _key_of(call)
    organization = world.config.administrated(key) if key else None
    if not key:
        return Problem(401, "authentication_error", "x-api-key header is required")
    if organization is None:
        return Problem(401, "authentication_error", "invalid x-api-key")
    call.account = Account(organization)
    call.is_admin = True
    return None


def _key_of(call: Call) -> str:
    """The key that the call brings, kept in the call; empty when it brings none."""
    key = call.request.header(b"x-api-key")
    if not key:
        scheme, _, token = call.request.header(b"authorization").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else ""
    call.key = key
    return key


def check_version(call: Call, world: World) -> Problem | None:
    """Which API the client speaks."""
    call.version = call.request.header(b"anthropic-version")
    if not call.version:
        return invalid("anthropic-version: header is required")
    if call.version not in load_catalogue().api_versions:
        return invalid(f'anthropic-version: "{call.version}" is not a valid version')
    return None


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
    return None if message is None else invalid(message)


def count_input(call: Call, world: World) -> Problem | None:
    """Input tokens, and which of them the prompt cache has."""
    assert call.message is not None and call.model is not None and call.account is not None
    message, model = call.message, call.model
    if isinstance(message, MessageRequest) and has_breakpoints(message):
        found = positions(message, model, message.speed or "standard")
        call.lookup = world.cache.look_up(call.account.workspace_id, found, model.min_cacheable_tokens, call.started_s)
    else:
        call.lookup = Lookup(InputUse(count_tokens(message, model)))
    if call.lookup.use.total > model.context_tokens:
        return invalid(f"prompt is too long: {call.lookup.use.total} tokens > {model.context_tokens} maximum")
    return None
