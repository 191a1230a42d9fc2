"""What ``/state`` says: the grant, buckets, breakers, pool and configuration of this proxy, for the person who looks into the pod."""

from __future__ import annotations

import json
from collections.abc import Callable

from claudeops.catalogue.price import usd
from claudeops.exchange import Assignment
from claudeops.policy.rates import Rates
from claudeops.sidecar.config import ConfigHolder
from claudeops.sidecar.credentials import Credentials
from claudeops.sidecar.exchange_client import ExchangeClient
from claudeops.sidecar.group import GroupRuntime
from claudeops.sidecar.ledger import Used
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.runtime import Runtime

Json = dict[str, object]


class StatePage:
    """Draws the state. Holds neither key nor token."""

    def __init__(self, runtime: Runtime, holder: ConfigHolder, *, credentials: Credentials, exchange: ExchangeClient) -> None:
        self._runtime = runtime
        self._holder = holder
        self._credentials = credentials
        self._exchange = exchange

    def text(self, now: float, pool_counts: Callable[[], dict[str, int]], process: Json) -> bytes:
        """The state at ``now``, the runtime's clock, as indented JSON. ``process``: what else the process holds just now."""
        runtime = self._runtime
        state: Json = {
            "config": self._config(),
            "key": self._credentials.describe(now),
            "exchange": self._describe_exchange(now),
            "leaseState": runtime.lease_phase.value,
            "isDraining": runtime.is_draining,
            "inFlight": runtime.in_flight,
            "maxInFlight": runtime.max_in_flight,
            "queued": runtime.queued,
            "pool": {"ceiling": runtime.connections, **pool_counts()},
            "groups": {name: _group(group, now) for name, group in runtime.groups.items()},
            "models": {name: _model(model, now) for name, model in runtime.models.items()},
            "assignment": _assignment(runtime.assignment),
            "used": {name: _used(used) for name, used in runtime.ledger.items()},
            "process": {**process, "stickySessions": len(runtime.sticky), "prefixes": len(runtime.prefixes.entries)},
        }
        return json.dumps(state, indent=1, default=str).encode() + b"\n"

    def _config(self) -> Json:
        holder = self._holder
        config = holder.current
        return {
            "revision": holder.revision,
            "hash": holder.current_hash or None,
            "source": holder.source or None,
            "workload": f"{config.workload.namespace}/{config.workload.name}" if config else None,
            "model": config.model.name if config else None,
            "fallbacks": list(config.model.fallbacks) if config else [],
            "error": f"{holder.error_source}: {holder.error}" if holder.error else None,
            "errors": holder.errors,
        }

    def _describe_exchange(self, now: float) -> Json:
        exchange = self._exchange
        return {
            "epoch": exchange.epoch,
            "version": exchange.version,
            "lastAnswerAgeS": None if exchange.answered_at is None else round(now - exchange.answered_at, 3),
            "answers": exchange.answers,
            "failures": exchange.failures,
            "error": exchange.error or None,
        }


def _group(group: GroupRuntime, now: float) -> Json:
    limiter = group.limiter
    return {
        "phase": group.phase.value,
        "leasePerS": _rates(limiter.lease),
        "expiresInS": None if group.held is None else round(group.held.sent_at + group.held.ttl_s - now, 3),
        "isContended": None if group.held is None else group.held.is_contended,
        "limitPerS": None if group.limits is None else _rates(group.limits),
        "baselinePerS": None if group.baseline is None else _rates(group.baseline),
        "buckets": {
            "requests": round(limiter.requests.level, 3),
            "inputTokens": round(limiter.input.level, 1),
            "outputTokens": round(limiter.gate.bucket.level, 1),
        },
        "level": {name: round(gauge.level(now), 3) for name, gauge in zip(_NAMES, limiter.gauges, strict=True)},
        "governorScale": round(limiter.scale, 3),
        "pausedForS": round(max(0.0, limiter.paused_until - now), 3),
        "streams": {"running": limiter.gate.in_flight, "tokensPerSAndStream": round(limiter.gate.slot_rate, 1)},
        "inFlight": group.in_flight,
        "queued": len(group.queue),
    }


def _model(model: ModelRuntime, now: float) -> Json:
    breaker = model.breaker
    return {
        "group": model.group.name,
        "breaker": {
            "state": breaker.state,
            "reason": breaker.reason or None,
            "forS": round(now - breaker.since, 3),
            "reopensInS": round(breaker.wait_s(now), 3),
        },
        "isFlipped": model.is_flipped,
        "mayProbe": model.may_probe,
    }


def _assignment(assignment: Assignment | None) -> Json | None:
    """What the controller has said last, leases apart (they are with their groups)."""
    if assignment is None:
        return None
    return {
        "connections": assignment.connections,
        "maxInFlight": assignment.max_in_flight,
        "flips": {flip.model: {"mayProbe": flip.may_probe} for flip in assignment.flips},
        "retryBudgetScale": assignment.retry_budget_scale,
    }


def _used(used: Used) -> Json:
    """Exact dollars as text; null where none of it has a known price."""
    cost = None if used.model is None else str(usd(sum(used.cost_pico().values())))
    return {
        "tokens": used.tokens()._asdict(),
        "estimatedTokens": sum(used.guessed.tokens()),
        "costUsd": cost,
        "answersOfUnknownCost": used.unknown,
    }


_NAMES = ("requests", "inputTokens", "outputTokens")


def _rates(rates: Rates) -> Json:
    return {name: round(value, 3) for name, value in zip(_NAMES, rates.as_tuple(), strict=True)}
