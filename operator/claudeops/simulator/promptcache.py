"""Prompt-cache accounting by prefix: what a request reads, what it writes, what it pays in full."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from claudeops.simulator.prompt import Position

LOOK_BACK = 20
"""Positions that a read looks back from a breakpoint, the breakpoint included."""
TTL_S = {"5m": 300.0, "1h": 3600.0}
PRUNE_EVERY = 5_000


class InputUse(msgspec.Struct, frozen=True):
    """The input side of ``usage``; the four parts add up to the whole prompt."""

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def total(self) -> int:
        """The whole prompt."""
        return self.uncached + self.read + self.written

    @property
    def written(self) -> int:
        """Tokens written to the cache."""
        return self.written_5m + self.written_1h


class Write(msgspec.Struct, frozen=True):
    """An entry that becomes usable when the answer begins."""

    digest: bytes
    ttl_s: float


class Lookup(msgspec.Struct, frozen=True):
    """What the cache does for one request."""

    use: InputUse
    writes: tuple[Write, ...] = ()


class _Entry:
    __slots__ = ("expires_s", "ttl_s")

    def __init__(self, expires_s: float, ttl_s: float) -> None:
        self.expires_s = expires_s
        self.ttl_s = ttl_s


class PromptCache:
    """The entries of all workspaces. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, bytes], _Entry] = {}
        self._commits = 0

    def look_up(self, workspace: str, positions: Sequence[Position], smallest_tokens: int, now_s: float) -> Lookup:
        """Account one request that has breakpoints. A hit refreshes the entry; nothing else changes yet.

        With A the longest hit, B the last 1h breakpoint after A and C the last breakpoint: read A, write B - A for an
        hour and C - max(A, B) for five minutes, pay the rest in full. Breakpoints below the model's minimum are void.
        """
        total = positions[-1].tokens
        marks = [at for at, position in enumerate(positions) if position.ttl is not None and position.tokens >= smallest_tokens]
        if not marks:
            return Lookup(InputUse(total))
        hit = self._longest_hit(workspace, positions, marks, now_s)
        read = 0 if hit < 0 else positions[hit].tokens
        hour = max((positions[at].tokens for at in marks if at > hit and positions[at].ttl == "1h"), default=read)
        last = max(read, hour, positions[marks[-1]].tokens)
        writes = tuple(Write(positions[at].digest, TTL_S[positions[at].ttl or "5m"]) for at in marks if at > hit)
        return Lookup(InputUse(total - last, read, last - hour, hour - read), writes)

    def commit(self, workspace: str, writes: Sequence[Write], started_s: float, now_s: float) -> None:
        """Make the entries usable: the answer begins. Their time runs from the request's start."""
        for write in writes:
            known = self._entries.get((workspace, write.digest))
            refreshed_s = 0.0 if known is None else known.expires_s
            self._entries[workspace, write.digest] = _Entry(max(refreshed_s, started_s + write.ttl_s), write.ttl_s)
        self._commits += len(writes)
        if self._commits >= PRUNE_EVERY:
            self._commits = 0
            self._entries = {key: entry for key, entry in self._entries.items() if entry.expires_s > now_s}

    def clear(self) -> None:
        """Forget every entry."""
        self._entries.clear()

    def _longest_hit(self, workspace: str, positions: Sequence[Position], marks: Sequence[int], now_s: float) -> int:
        for mark in reversed(marks):
            for at in range(mark, max(-1, mark - LOOK_BACK), -1):
                entry = self._entries.get((workspace, positions[at].digest))
                if entry is not None and entry.expires_s > now_s:
                    entry.expires_s = max(entry.expires_s, now_s + entry.ttl_s)
                    return at
        return -1
