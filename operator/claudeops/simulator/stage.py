"""The stages a call passes before an answer is produced: each fills in the call or returns the Problem that ends it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from claudeops.catalogue import load_catalogue
from claudeops.simulator.call import Call
from claudeops.simulator.config import SimulatorConfig
from claudeops.simulator.fault import FaultScript, Subject
from claudeops.simulator.identity import Identity
from claudeops.simulator.legality import violation
from claudeops.simulator.limiter import PER_MINUTE_NAMES, GroupLimiter, Refusal, ratelimit_lines
from claudeops.simulator.message import MalformedBody, MessageRequest, decode_count, decode_message
from claudeops.simulator.modelinfo import is_retired
from claudeops.simulator.pool import BATCH_GROUP, COUNT_TOKENS_GROUP, FILES_GROUP, Pools
from claudeops.simulator.prompt import count_tokens, has_breakpoints, positions
from claudeops.simulator.promptcache import InputUse, Lookup, PromptCache
from claudeops.simulator.reply import BROKEN, INTERNAL, OVERLOADED, Problem, invalid, not_found
from claudeops.simulator.tokendesk import TokenDesk
from claudeops.simulator.transcript import USER_PREFIX, Library

_NO_METADATA: dict[str, object] = {}
_BEFORE_ANSWER = {"overloaded": OVERLOADED, "error500": INTERNAL}


class World:
    """What all calls share."""

    __slots__ = ("cache", "config", "faults", "identity", "library", "monotonic_s", "pools", "tokens")

    def __init__(self, config: SimulatorConfig, faults: FaultScript, pools: Pools, cache: PromptCache) -> None:
        self.config = config
        self.monotonic_s = pools.clock
        self.faults = faults
        self.pools = pools
        self.cache = cache
        self.tokens = TokenDesk(config, pools.clock)
        self.library = Library(config.transcripts)
        self.identity = Identity(config.seed, config.has_fixed_ids)

    def pace_dice(self, call: Call) -> random.Random | None:
        """The dice for an answer's length and speed: the call's own when ids are fixed, else the simulator's."""
        return call.dice if self.identity.is_fixed else None


Stage = Callable[[Call, World], Problem | None]


def _authenticate(call: Call, world: World) -> Problem | None:
    """Who calls: ``x-api-key``, else a Bearer token. Both present: ``x-api-key`` holds."""
    key = call.request.header(b"x-api-key")
    if not key:
        scheme, _, token = call.request.header(b"authorization").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else ""
    call.key = key
    if not key:
        return Problem(401, "authentication_error", "x-api-key header is required")
    holder = world.tokens.account_of(key, call.request)
    if isinstance(holder, Problem):
        return holder
    call.account = holder or world.config.account_of(key)
    return None if call.account is not None else Problem(401, "authentication_error", "invalid x-api-key")


def _check_version(call: Call, world: World) -> Problem | None:
    """Which API the client speaks."""
    call.version = call.request.header(b"anthropic-version")
    if not call.version:
        return invalid("anthropic-version: header is required")
    if call.version not in load_catalogue().api_versions:
        return invalid(f'anthropic-version: "{call.version}" is not a valid version')
    return None


def _parse(call: Call, world: World) -> Problem | None:
    """The body as a Messages request."""
    try:
        call.message = decode_message(call.request.body)
    except MalformedBody as error:
        return invalid(str(error))
    return None


def _parse_count(call: Call, world: World) -> Problem | None:
    """The body as a ``count_tokens`` request."""
    try:
        call.message = decode_count(call.request.body)
    except MalformedBody as error:
        return invalid(str(error))
    return None


def _find_model(call: Call, world: World) -> Problem | None:
    """The model, if it exists and has not retired."""
    assert call.message is not None
    call.model = load_catalogue().model(call.message.model)
    if call.model is None or is_retired(call.model, world.identity.today()):
        return not_found(f"model: {call.message.model}")
    return None


def _check_legality(call: Call, world: World) -> Problem | None:
    """Everything that earns a 400 by model and version."""
    assert call.message is not None and call.model is not None
    message = violation(call.message, call.model, call.version, call.request.header(b"anthropic-beta"))
    return None if message is None else invalid(message)


def _find_group(call: Call, world: World) -> Problem | None:
    """The pool of limits that the model's requests share."""
    assert call.model is not None and call.account is not None
    call.group = world.pools.group(call.account, call.model.rate_limit_group or call.model.id)
    return None


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


def _meet_faults(call: Call, world: World) -> Problem | None:
    """The fault that the script has for this call; some end it here, the others are the answer's."""
    if not world.faults.is_any:
        return None
    fault = call.fault = world.faults.pick(subject_of(call), time.time(), is_stream=call.is_stream)
    if fault is None:
        return None
    if fault.kind == "throttle":
        call.ratelimit_lines = _current_ratelimits(call, world)
        return Problem(429, "rate_limit_error", "Number of requests has exceeded your rate limit.", fault.retry_after_s, True)
    if fault.kind == "down" or (fault.after_events is None and fault.kind in ("reset", "garbage")):
        return BROKEN
    return _BEFORE_ANSWER.get(fault.kind)


def _find_transcript(call: Call, world: World) -> Problem | None:
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


def _count(call: Call, world: World) -> Problem | None:
    """Input tokens, and which of them the prompt cache has."""
    assert call.message is not None and call.model is not None and call.account is not None
    message, model = call.message, call.model
    if has_breakpoints(message):
        found = positions(message, model, message.speed or "standard")
        call.lookup = world.cache.look_up(call.account.workspace_id, found, model.min_cacheable_tokens, call.started_s)
    else:
        call.lookup = Lookup(InputUse(count_tokens(message, model)))
    if call.lookup.use.total > model.context_tokens:
        return invalid(f"prompt is too long: {call.lookup.use.total} tokens > {model.context_tokens} maximum")
    return None


def _limit(call: Call, world: World) -> Problem | None:
    """The organisation's rate limits."""
    assert call.model is not None and call.group is not None and call.account is not None
    group = load_catalogue().groups.get(call.model.rate_limit_group or "")
    refusal = call.group.admit(call.lookup.use, counts_reads=group is not None and group.counts_cache_reads)
    call.ratelimit_lines = _current_ratelimits(call, world)
    if refusal is None:
        return None
    return throttled(refusal, call.account.organization_id, call.model.id)


def _limit_pool(name: str) -> Stage:
    """The request limit of an endpoint that has a pool of its own."""

    def limit(call: Call, world: World) -> Problem | None:
        assert call.account is not None
        refusal = world.pools.group(call.account, name).admit(InputUse(0), counts_reads=False)
        return None if refusal is None else throttled(refusal, call.account.organization_id, name if call.model is None else call.model.id)

    return limit


def throttled(refusal: Refusal, organization_id: str, model_id: str) -> Problem:
    """The documented 429."""
    message = (
        f"This request would exceed your organization's rate limit of {refusal.limit_per_minute:,} "
        f"{PER_MINUTE_NAMES[refusal.dimension]} (org: {organization_id}, model: {model_id}). "
        "For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage. "
        "Please reduce the prompt length or the maximum tokens requested, or try again later. "
        "You may also contact sales at https://claude.com/contact-sales to discuss your options for a rate limit increase."
    )
    return Problem(429, "rate_limit_error", message, refusal.retry_after_s, True)


def _current_ratelimits(call: Call, world: World) -> bytes:
    """The rate-limit headers of this moment, unless they are turned off or nothing is limited."""
    limiter = None if call.group is None else call.group.limiter
    if call.group is None or limiter is None or not world.config.has_ratelimit_headers:
        return b""
    if world.identity.is_fixed:
        return ratelimit_lines(GroupLimiter(limiter.limits, limiter.burst_s, 0.0), world.identity.now_s())
    call.group.advance()
    return ratelimit_lines(limiter, time.time())


MESSAGE_STAGES: tuple[Stage, ...] = (
    *(_authenticate, _check_version, _parse, _find_model, _check_legality),
    *(_find_group, _meet_faults, _find_transcript, _count, _limit),
)
COUNT_STAGES: tuple[Stage, ...] = (
    *(_authenticate, _check_version, _parse_count, _find_model, _check_legality, _meet_faults),
    *(_limit_pool(COUNT_TOKENS_GROUP), _count),
)
ACCOUNT_STAGES: tuple[Stage, ...] = (_authenticate, _check_version, _meet_faults)
BATCH_STAGES: tuple[Stage, ...] = (*ACCOUNT_STAGES, _limit_pool(BATCH_GROUP))
FILE_STAGES: tuple[Stage, ...] = (*ACCOUNT_STAGES, _limit_pool(FILES_GROUP))
