"""Every time constant and threshold of the fleet's decisions, with the design's defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from math import isfinite

from claudeops.errors import InvalidResource


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Seconds, shares and counts; each can be set by name with ``parse_settings``.

    Source of the defaults: controlplane design (exchange, leases, decisions) and the simulations of reference quota-control.
    """

    report_interval_s: float = 5.0
    """How often a proxy reports when nothing happens; also how long a long poll is held."""
    lease_ttl_s: float = 15.0
    """A lease ends this long after the proxy sent the report that it answers; a proxy silent for longer is gone."""
    learning_s: float = 15.0
    """After a start: grant what each proxy says it holds, never more than capacity. Ends early once every expected proxy spoke."""
    tick_s: float = 1.0
    """Time between two decisions."""
    urgent_tick_s: float = 0.3
    """At most this often when an urgent report asks for a decision at once; a flip is decided without waiting."""
    throttled_hold_s: float = 60.0
    """How long a workload counts as throttled after the last upstream 429."""
    figures_window_s: float = 60.0
    """Observed figures in status are over this time."""
    short_hold_s: float = 10.0
    """A quota is called sufficient again this long after the last time it was short."""
    stale_forget_s: float = 600.0
    """A proxy that went silent without draining is named as stale for this long."""

    demand_tau_s: float = 5.0
    """Time constant of the smoothed demand."""
    sample_window_s: float = 3.0
    """The level is the mean of the header readings of this time."""
    set_point: float = 0.8
    """How full the organisation's bucket is kept."""
    capacity_ceiling: float = 1.10
    """Capacity never exceeds this times the limit."""
    headerless_share: float = 0.985
    """Capacity as a share of the limit while no fresh headers tell the level."""
    throttle_cut: float = 0.85
    """What a run of 429s multiplies the capacity by (the safety net)."""
    throttle_cut_interval_s: float = 10.0
    """At most one cut in this time."""
    distrust_s: float = 600.0
    """How long the header's bucket is not believed after 429s at a level above 25 %."""

    replica_fill: float = 0.8
    """Share of ``targetInFlightPerReplica`` that a replica is planned to run at."""
    replica_memory_s: float = 14.0
    """Time constant of the smoothed load that replicas are sized for (0.3 per 5 s)."""
    scale_up_interval_s: float = 30.0
    """At least this long between two steps up."""
    scale_down_interval_s: float = 60.0
    """At least this long between two steps down."""
    scale_down_window_s: float = 300.0
    """Replicas go down only below the highest count wanted in this time."""

    flip_open_percent: float = 50.0
    """The fleet flips when open breakers cover this share of recent traffic."""
    flip_error_percent: float = 50.0
    """The fleet flips when this share of its upstream requests failed, whatever the breakers say."""
    flip_minimum_requests: int = 20
    """The error share counts only from this many requests in the window on."""
    flip_window_s: float = 30.0
    """Traffic and errors are weighed over this time while no breaker is open."""
    flip_recent_s: float = 3.0
    """Errors are weighed over this time once a breaker is open: what happens now, not what was."""
    flip_down_percent: float = 90.0
    """From this share of failing traffic on the primary is down altogether: it may flip again within ``flip_interval_s``."""
    flip_hold_s: float = 60.0
    """A flip stands at least this long before a probe is let through."""
    flip_probe_percent: float = 5.0
    """Share of the proxies that may probe while half-open; one at least."""
    flip_clean_window_s: float = 30.0
    """Length of a clean window of probes."""
    flip_clean_windows: int = 2
    """The fleet flips back after this many clean windows."""
    flip_interval_s: float = 300.0
    """At most one flip in this time, unless the primary is down."""

    max_instances: int = 20_000
    """Proxies remembered; reports of further ones are refused."""


def parse_settings(assignments: Iterable[str]) -> FleetSettings:
    """Settings from ``name=value`` strings, dashes allowed in names: ``["flip-hold-s=5", "scale_down_window_s=15"]``.

    Raises :class:`~claudeops.errors.InvalidResource` that names the wrong part: an unknown setting, or a value that is
    no number above zero.
    """
    types = {field.name: field.type for field in fields(FleetSettings)}
    values: dict[str, float | int] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or name not in types:
            known = ", ".join(sorted(types))
            raise InvalidResource(f"{assignment!r} is no fleet setting: write name=value with one of {known}", path="--set")
        values[name] = _number(name, text.strip(), is_whole=types[name] == "int")
    return replace(FleetSettings(), **values)  # type: ignore[arg-type]  # checked above


def _number(name: str, text: str, *, is_whole: bool) -> float | int:
    try:
        value = int(text) if is_whole else float(text)
    except ValueError:
        value = -1
    if value <= 0 or not isfinite(value):
        raise InvalidResource(f"{name} must be a {'whole ' if is_whole else ''}number above zero, not {text!r}", path="--set")
    return value
