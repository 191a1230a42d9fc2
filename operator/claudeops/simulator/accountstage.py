"""The stages that find out who calls, and which API they speak."""

from __future__ import annotations

from claudeops.catalogue import load_catalogue
from claudeops.simulator.call import Call
from claudeops.simulator.config import Account
from claudeops.simulator.reply import Problem, invalid
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
