"""Which sessions stay on their fallback for a while after the primary has come back."""

from __future__ import annotations

from hashlib import blake2b

IDLE_S = 300.0
LONGEST_S = 1800.0
SESSIONS_MAX = 10_000
NAME_MAX_BYTES = 128
"""Longer names are remembered by a hash: a client may put anything into ``metadata.user_id``."""


class _Entry:
    __slots__ = ("forced_at", "model", "seen_at")

    def __init__(self, model: str, now: float) -> None:
        self.model = model
        self.forced_at = now
        self.seen_at = now


class StickySessions:
    """Session → fallback model. An entry ends when the session was idle for 5 minutes, or 30 minutes after it was last *forced* on
    its fallback, or when 10,000 younger ones exist. Requests without a session are never remembered."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def force(self, session: bytes, model: str, now: float) -> None:
        """The session was served by `model` because the tiers before it could not."""
        if not session:
            return
        session = _name(session)
        entry = self.entries.pop(session, None)
        if entry is None:
            entry = _Entry(model, now)
        entry.model = model
        entry.forced_at = entry.seen_at = now
        self.entries[session] = entry
        if len(self.entries) > SESSIONS_MAX:
            del self.entries[next(iter(self.entries))]

    def model_of(self, session: bytes, now: float) -> str | None:
        """The model this session should stay on, if any; being asked counts as being seen."""
        session = _name(session)
        entry = self.entries.get(session)
        if entry is None:
            return None
        if now - entry.seen_at > IDLE_S or now - entry.forced_at > LONGEST_S:
            del self.entries[session]
            return None
        entry.seen_at = now
        return entry.model

    def forget(self, session: bytes) -> None:
        """The session's fallback cannot serve it any more."""
        self.entries.pop(_name(session), None)


def _name(session: bytes) -> bytes:
    return session if len(session) <= NAME_MAX_BYTES else blake2b(session, digest_size=16).digest()
