"""A book beside a limiter: who took what when and what came back, added up anew from the beginning."""

from __future__ import annotations

from typing import Any

from claudeops.policy.limiter import GroupLimiter


class _Account:
    """One bucket's history: changes of rate and burst, and debits by when they were made."""

    def __init__(self, bucket: Any) -> None:
        self.bucket = bucket
        self.began = (bucket.updated_at, bucket.level)
        self.changes = [(bucket.updated_at, bucket.rate, bucket.burst)]
        self.debits: dict[float, float] = {}

    def see_rate(self, now: float) -> None:
        if (self.bucket.rate, self.bucket.burst) != self.changes[-1][1:]:
            self.changes.append((now, self.bucket.rate, self.bucket.burst))

    def take(self, at: float, amount: float) -> None:
        self.debits[at] = self.debits.get(at, 0.0) + amount

    def level(self, now: float) -> float:
        """As if only what was not given back had ever been taken."""
        (at, level), (_, rate, burst) = self.began, self.changes[0]
        moves: list[tuple[float, int, Any]] = [(when, 0, (new_rate, new_burst)) for when, new_rate, new_burst in self.changes[1:]]
        moves += [(when, 1, amount) for when, amount in self.debits.items()]
        for when, kind, what in sorted(moves, key=lambda move: move[:2]):
            level = min(burst, level + (when - at) * rate)
            at = when
            if kind:
                level -= what
            else:
                rate, burst = what
                level = min(level, burst)
        return min(burst, level + (now - at) * rate)


class Book:
    """Stands before a limiter and keeps its book."""

    def __init__(self, limiter: GroupLimiter) -> None:
        self.limiter = limiter
        self.requests = _Account(limiter.requests)
        self.input = _Account(limiter.input)
        self.streams = [0, 0]
        """Whole answers and streams that are under way."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.limiter, name)

    def _seen(self, now: float) -> None:
        self.requests.see_rate(now)
        self.input.see_rate(now)

    def try_admit(self, input_tokens: float, now: float, is_streamed: bool = True) -> bool:
        is_admitted = self.limiter.try_admit(input_tokens, now, is_streamed)
        self._seen(now)
        if is_admitted:
            self.requests.take(now, 1.0)
            self.input.take(now, input_tokens)
            self.streams[is_streamed] += 1
        return is_admitted

    def settle_input(self, estimated: float, actual: float, *, entered_at: float, now: float) -> None:
        self.limiter.settle_input(estimated, actual, entered_at=entered_at, now=now)
        self.input.take(entered_at if actual < estimated else now, actual - estimated)

    def leave(self, now: float) -> None:
        self.limiter.leave(now)
        self.streams[True] -= 1

    def leave_unheard(self, now: float, *, entered_at: float) -> None:
        self.limiter.leave_unheard(now, entered_at=entered_at)
        self.streams[True] -= 1

    def leave_whole(self, tokens: float, entered_at: float, now: float) -> None:
        self.limiter.leave_whole(tokens, entered_at, now)
        self.streams[False] -= 1

    def refund(self, input_tokens: float, now: float, *, entered_at: float, is_streamed: bool = True) -> None:
        self.limiter.refund(input_tokens, now, entered_at=entered_at, is_streamed=is_streamed)
        self.requests.take(entered_at, -1.0)
        self.input.take(entered_at, -input_tokens)
        self.streams[is_streamed] -= 1

    def set_lease(self, lease: Any, now: float, **how: Any) -> None:
        self.limiter.set_lease(lease, now, **how)
        self._seen(now)

    def see_level(self, dimension: int, sample: Any, now: float) -> bool:
        is_lower = self.limiter.see_level(dimension, sample, now)
        self._seen(now)
        return is_lower

    def see_scarcest(self, sample: Any, now: float) -> None:
        self.limiter.see_scarcest(sample, now)
        self._seen(now)

    def check(self, name: str, now: float) -> None:
        """What the limiter holds is what the book says."""
        assert self.streams == [0, 0], name
        for what in ("requests", "input"):
            account: _Account = getattr(self, what)
            assert all(amount > -1e-6 for amount in account.debits.values()), f"{name}: more {what} given back than taken"
            bucket = getattr(self.limiter, what)
            bucket.refill(now)
            expected = account.level(now)
            assert abs(bucket.level - expected) < 1e-3, f"{name}: {what} {bucket.level}, by the book {expected}"
