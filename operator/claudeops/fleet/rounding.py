"""Figures for ``status``: rounded so that they change only when the matter does."""

from __future__ import annotations

from math import floor, log10


def round_figure(value: float) -> float:
    """Two significant digits: 455.3 → 460, 0.0123 → 0.012. Whole numbers from 10 on come out as ``int``."""
    if value == 0:
        return 0
    rounded = round(value, 1 - floor(log10(abs(value))))
    return int(rounded) if rounded == int(rounded) else rounded


def format_duration(value_s: float) -> str:
    """``120ms`` under ten seconds, ``42s`` from there on; two significant digits."""
    return f"{round_figure(value_s):g}s" if value_s >= 10 else f"{int(round_figure(value_s * 1000))}ms"
