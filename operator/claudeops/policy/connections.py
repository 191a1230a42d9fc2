"""How many upstream connections a proxy may hold."""

from __future__ import annotations

from math import ceil

SLACK = 1.5
"""1.0 x Little's law costs up to 7 % of throughput, 1.5 x is free (reference quota-control, section 6)."""


def connection_ceiling(admitted_per_s: float, latency_s: float, *, minimum: int, maximum: int) -> int:
    """ceil(1.5 x admitted rate x latency), within the workload's bounds. No feedback of its own: it follows the grant."""
    wanted = ceil(SLACK * max(0.0, admitted_per_s) * max(0.0, latency_s) - 1e-9)
    return min(max(minimum, maximum), max(minimum, 1, wanted))
