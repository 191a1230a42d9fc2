"""Decisions as JSON lines of the logger ``claudeops.fleet.decisions``: enough to replay a run against the model of quota control.

Regulation is logged at DEBUG, once a tick and pool in which something moved; cuts, flips and replica counts at INFO.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from claudeops.fleet.flips import Unit, UnitKey
from claudeops.fleet.pool import Pool
from claudeops.fleet.quota import Quota
from claudeops.fleet.workload import Workload

LOGGER = logging.getLogger("claudeops.fleet.decisions")


def log_quota(quota: Quota, now: float, wall_offset_s: float) -> None:
    """One line per pool whose state moved since its last line."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    for pool in quota.pools.values():
        is_cut = pool.safety.cut_at == now
        if not is_cut and not LOGGER.isEnabledFor(logging.DEBUG):
            continue
        line = _pool_line(quota, pool)
        if line == pool.logged:
            continue
        pool.logged = line
        _write(logging.INFO if is_cut else logging.DEBUG, "cut" if is_cut else "capacity", line, now + wall_offset_s)


def log_flip(key: UnitKey, unit: Unit, now: float, wall_offset_s: float) -> None:
    """A unit flipped, began to probe, or came back."""
    owner = None if key.workload is None else f"{key.workload.namespace}/{key.workload.name}"
    fields = {"quota": key.quota, "upstream": key.upstream, "model": key.model, "workload": owner}
    state = {
        "phase": unit.state.phase,
        "reason": unit.state.reason,
        "cause": unit.cause,
        "open": unit.open_proxies,
        "probers": unit.probers,
    }
    _write(logging.INFO, "flip", {**fields, **state}, now + wall_offset_s)


def log_replicas(workload: Workload, now: float, wall_offset_s: float) -> None:
    """Another replica count is desired."""
    state = workload.replica_state
    fields = {
        "workload": workload.name,
        "desired": workload.desired_replicas,
        "wanted": workload.wanted_replicas,
        "load": None if state is None or state.load is None else round(state.load, 2),
        "latency": round(workload.latency_s, 3),
        "capped": workload.is_capped_by_quota,
    }
    _write(logging.INFO, "replicas", fields, now + wall_offset_s)


def _pool_line(quota: Quota, pool: Pool) -> dict[str, Any]:
    return {
        "quota": quota.terms.name,
        "group": pool.group,
        "limit": _rounded(pool.limits()),
        "level": [round(state.level, 3) if state.is_fresh else None for state in pool.states],
        "full": _rounded(pool.full_s()),
        "integral": [round(state.integral, 4) for state in pool.states],
        "weight": round(pool.safety.weight, 4),
        "throttled": pool.throttled(pool.stepped_at - 1.0) if pool.stepped_at is not None else 0,
        "capacity": _rounded(state.capacity for state in pool.states),
        "charged": _rounded(pool.allotment.charged),
        "used": _rounded(pool.used),
        "grants": {name: _rounded(portion.grant) for name, portion in pool.allotment.portions.items()},
        "demands": {name: _rounded(portion.demand) for name, portion in pool.allotment.portions.items()},
        "leases": {name: _rounded(grant.rates) for name, grant in pool.allotment.grants.items()},
    }


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _write(level: int, event: str, fields: dict[str, Any], unix_s: float) -> None:
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, json.dumps({"event": event, "at": round(unix_s, 3), **fields}, separators=(",", ":")))
