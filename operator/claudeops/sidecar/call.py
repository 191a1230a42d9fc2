"""One request on its way through the stages."""

from __future__ import annotations


class Call:
    """The per-request context."""
