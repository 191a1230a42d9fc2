"""Learned estimates: tokens of a body, what a prefix reads from the cache, how long answers are."""

from __future__ import annotations

from typing import Final

START_TOKENS_PER_BYTE: Final = 0.25
CACHE_MEMORY_S: Final = 300.0
LARGE_BYTES: Final = 1024
KEPT_BYTES: Final = 1_048_576


class TokenRatio:
    """Tokens per byte of one (workload, tokenizer), learned from what the API counted."""

    __slots__ = ("alpha", "value")

    def __init__(self, value: float = START_TOKENS_PER_BYTE, alpha: float = 0.05) -> None:
        self.value = value
        self.alpha = alpha

    def tokens(self, size_bytes: float) -> float:
        """Estimated tokens of a body of this size (images and tool overhead apart)."""
        return self.value * size_bytes

    def learn(self, tokens: float, size_bytes: float) -> None:
        """The API counted `tokens` for `size_bytes`; one odd body moves the estimate by no more than a factor of 4 x alpha."""
        if size_bytes <= 0.0 or tokens < 0.0:
            return
        before = self.value
        seen = tokens / size_bytes
        if seen > 4.0 * before:
            seen = 4.0 * before
        value = before + self.alpha * (seen - before)
        self.value = value if value > 1e-4 else 1e-4


class Mean:
    """An exponentially weighted mean that starts at a prior and learns its first samples faster."""

    __slots__ = ("alpha", "samples", "value")

    def __init__(self, value: float, alpha: float = 0.02) -> None:
        self.value = value
        self.alpha = alpha
        self.samples = 4

    def learn(self, sample: float) -> None:
        """Take one sample."""
        self.samples += 1
        self.value += max(self.alpha, 1.0 / self.samples) * (sample - self.value)


class PrefixMemory:
    """How many tokens each known prefix last read from the prompt cache; forgets the least recently used."""

    __slots__ = ("entries", "kept", "kept_bytes", "limit", "memory_s")

    def __init__(self, limit: int = 1024, memory_s: float = CACHE_MEMORY_S) -> None:
        self.limit = limit
        self.memory_s = memory_s
        self.entries: dict[bytes, tuple[float, float]] = {}
        self.kept: dict[int, tuple[bytes, int]] = {}
        """Size → the last large part of that size, and its number."""
        self.kept_bytes = 0

    def number_of(self, part: memoryview) -> int:
        """Equal for equal parts. A large one that came before is known by comparison: hashing takes thirty times as long."""
        size_bytes = len(part)
        if size_bytes < LARGE_BYTES:
            return hash(bytes(part))
        found = self.kept.get(size_bytes)
        if found is not None and found[0].startswith(part):
            return found[1]
        whole = bytes(part)
        self.kept_bytes += size_bytes if found is None else 0
        if self.kept_bytes > KEPT_BYTES:
            self.kept.clear()
            self.kept_bytes = size_bytes
        number = hash(whole)
        self.kept[size_bytes] = (whole, number)
        return number

    def cached_tokens(self, prefix: bytes, now: float) -> float:
        """Tokens that a request with this prefix will probably read from the cache: 0 when unknown or too long ago."""
        entry = self.entries.get(prefix)
        if entry is None or now - entry[1] > self.memory_s:
            return 0.0
        return entry[0]

    def see(self, prefix: bytes, cached_tokens: float, now: float) -> None:
        """An answer read or wrote `cached_tokens` of this prefix."""
        entries = self.entries
        if prefix in entries:
            del entries[prefix]  # the newest is the last
        entries[prefix] = (cached_tokens, now)
        if len(entries) > self.limit:
            del entries[next(iter(entries))]
