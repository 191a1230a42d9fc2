"""Where ids, lengths and times come from: seeded dice and the wall clock, or, when they are fixed, the request alone."""

from __future__ import annotations

import random
import time
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256

from claudeops.simulator.http import Request

FIXED_NOW_S = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
"""What every clock in an answer says when ids are fixed."""


class Identity:
    """The source of everything in an answer that does not follow from the request.

    With ``is_fixed``, two equal requests (method, path, query, body) get the same dice and every time is ``FIXED_NOW_S``: equal
    requests give equal answers whatever came in between, as far as the prompt cache and the limits do not differ.
    """

    def __init__(self, seed: int, is_fixed: bool, today: date | None = None) -> None:
        self._today = today
        self.is_fixed = is_fixed
        self._seed = seed
        self._shared = random.Random(f"content {seed}")

    def dice_for(self, request: Request) -> random.Random:
        """The dice for one request."""
        if not self.is_fixed:
            return self._shared
        material = sha256(f"{self._seed} {request.method} {request.path}?{request.query} ".encode())
        material.update(_without_boundary(request))
        return random.Random(material.digest())

    def now_s(self) -> float:
        """Seconds since the epoch, for what an answer shows."""
        return FIXED_NOW_S if self.is_fixed else time.time()

    def today(self) -> date:
        """The day in UTC: models retire by it."""
        return self._today or datetime.fromtimestamp(self.now_s(), UTC).date()


def mint(prefix: str, dice: random.Random) -> str:
    """A new id such as ``msg_sim0123…``."""
    return f"{prefix}_sim{dice.getrandbits(88):022x}"


@lru_cache(maxsize=4096)
def rfc3339(second: int) -> str:
    """Seconds since the epoch as the API writes a time."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_boundary(request: Request) -> bytes | bytearray:
    """The body without the boundary of a form, which clients draw at random."""
    kind, _, parameters = request.header(b"content-type").partition(";")
    if not kind.startswith("multipart/"):
        return request.body
    boundary = parameters.partition("boundary=")[2].split(";")[0].strip().strip('"')
    return request.body.replace(boundary.encode(), b"") if boundary else request.body
