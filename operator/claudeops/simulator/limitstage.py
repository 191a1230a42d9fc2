"""The stages that hold a call to the limits: its pool, spend, ramp, the rates, and the headers that tell of them."""

from __future__ import annotations

import time

from claudeops.catalogue import load_catalogue
from claudeops.simulator.call import Call
from claudeops.simulator.content import STANDARD, Service
from claudeops.simulator.errorbook import error_of
from claudeops.simulator.limiter import PER_MINUTE_NAMES, Bucket, GroupLimiter, Refusal, ratelimit_lines, special_lines
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.pool import FAST_PREFIX, PRIORITY_PREFIX, Group
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.reply import Problem
from claudeops.simulator.workspacelimit import ScopedGroup
from claudeops.simulator.world import Stage, World

NO_PRIORITY = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5", "claude-mythos-5", "claude-mythos-5-1", "claude-mythos-5-2")
"""Models that Priority Tier does not serve."""
RAMP_RETRY_S = 10
_BURNDOWN = {"read": 0.1, "written_5m": 1.25, "written_1h": 2.0}
"""What a cached token takes of a priority commitment; everything is 1.1 times as much in ``us``."""
_US_BURNDOWN = 1.1


def find_group(call: Call, world: World) -> Problem | None:
    """The pool of limits that this request is held to, and how it is served."""
    assert call.model is not None and call.account is not None and call.message is not None
    call.service = _service(call.message, call.model.fast.mode in ("ga", "beta"))
    name = call.model.rate_limit_group or call.model.id
    call.standard = world.pools.group(call.account, name)
    own = call.standard if call.service.speed == "standard" else world.pools.group(call.account, FAST_PREFIX + name)
    call.group = world.workspaces.scoped(own, call.account.workspace_id)
    return None


def _service(message: CountRequest, has_fast_mode: bool) -> Service:
    geo = message.inference_geo if isinstance(message, MessageRequest) else None
    is_fast = message.speed == "fast" and has_fast_mode
    if geo is None and not is_fast:
        return STANDARD
    return Service(speed="fast" if is_fast else "standard", inference_geo=geo or "global")


def limit_spend(call: Call, world: World) -> Problem | None:
    """The spend limits of the organisation and the workspace."""
    assert call.account is not None
    return world.spend.refusal(call.account, world.identity.now_s())


def limit_ramp(call: Call, world: World) -> Problem | None:
    """How fast use may grow."""
    growth = world.config.ramp_growth
    if growth is None or call.standard is None:
        return None
    use = call.lookup.use
    if not call.standard.is_too_steep(use.uncached + use.written, growth):
        return None
    call.standard.record.throttled(time.time(), "ramp")
    return error_of("ramp_limit_exceeded", RAMP_RETRY_S)


def limit_rates(call: Call, world: World) -> Problem | None:
    """The rate limits: a priority commitment while it lasts, else the workspace's and the organisation's."""
    assert call.model is not None and call.group is not None and call.account is not None
    if world.pools.has_priority and _is_within_priority(call, world):
        call.ratelimit_lines = current_ratelimits(call, world)
        return None
    rule = load_catalogue().groups.get(call.model.rate_limit_group or "")
    refusal = call.group.admit(call.lookup.use, counts_reads=rule is not None and rule.counts_cache_reads)
    call.ratelimit_lines = current_ratelimits(call, world)
    return None if refusal is None else throttled(refusal, call.account.organization_id, call.model.id)


def _is_within_priority(call: Call, world: World) -> bool:
    """Whether the organisation's commitment serves this request; then its output counts there too."""
    assert isinstance(call.message, MessageRequest) and call.model is not None
    pool = _priority_pool(call, world)
    if pool is None or call.message.service_tier == "standard_only" or call.service.speed == "fast" or call.model.id in NO_PRIORITY:
        return False
    use = call.lookup.use
    weighted = use.uncached + sum(getattr(use, kind) * factor for kind, factor in _BURNDOWN.items())
    if call.service.inference_geo == "us":
        weighted *= _US_BURNDOWN
    if pool.admit(InputUse(round(weighted)), counts_reads=False) is not None:
        return False
    call.group = pool
    call.service = Service("priority", call.service.speed, call.service.inference_geo)
    return True


def _priority_pool(call: Call, world: World) -> Group | None:
    """The commitment for this group of models; None when the organisation has none."""
    assert call.account is not None
    if call.standard is None or not world.pools.has_priority:
        return None
    name = PRIORITY_PREFIX + call.standard.record.group
    return None if world.pools.limits_of(name) is None else world.pools.group(call.account, name)


def limit_pool(name: str) -> Stage:
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


def current_ratelimits(call: Call, world: World) -> bytes:
    """The rate-limit headers of this moment, unless they are turned off or nothing is limited."""
    if call.standard is None or call.standard.limiter is None or not world.config.has_ratelimit_headers:
        return b""
    if call.group is not call.standard:
        call.standard.advance()
    now_s = world.identity.now_s() if world.identity.is_fixed else time.time()
    lines = ratelimit_lines(_shown(call.standard.limiter, world), now_s, _scarcest(call))
    return lines if call.service is STANDARD and not world.pools.has_priority else lines + _special(call, world, now_s)


def _special(call: Call, world: World, now_s: float) -> bytes:
    """The headers of fast mode and of a priority commitment."""
    fast = call.group if call.service.speed == "fast" else None
    pools = (("fast", fast), ("priority", _priority_pool(call, world)))
    found = [(kind, pool.limiter) for kind, pool in pools if pool is not None and pool.limiter is not None]
    return b"".join(special_lines(kind, _shown(limiter, world), now_s) for kind, limiter in found)


def _shown(limiter: GroupLimiter, world: World) -> GroupLimiter:
    """The buckets that headers show: full ones when ids are fixed."""
    return GroupLimiter(limiter.limits, limiter.burst_s, 0.0) if world.identity.is_fixed else limiter


def _scarcest(call: Call) -> Bucket | None:
    """The workspace's emptiest bucket of tokens, if it is emptier for its size than the organisation's."""
    if not isinstance(call.group, ScopedGroup) or call.standard is None or call.standard.limiter is None:
        return None
    own, limiter = call.group.workspace.scarcest_tokens(), call.standard.limiter
    if own is None or own.level / own.capacity > min(bucket.level / bucket.capacity for bucket in (limiter.input, limiter.output)):
        return None
    return own
