"""The text that answers are made of."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

_TEXT = (
    "the pool is warm and the proxy keeps every stream inside its share of the limit while requests wait their turn "
    "in a short queue until a slot is free again so nothing is lost and no one is refused without a reason"
)
WORDS = _TEXT.split()
"""What answers are made of: one word is one token."""
_CYCLE = " ".join(WORDS) + " "
_STARTS = [0, *accumulate(len(word) + 1 for word in WORDS)]


@lru_cache(maxsize=512)
def words(offset: int, count: int) -> str:
    """``count`` words, beginning at a place in the text."""
    rounds, rest = divmod(offset % len(WORDS) + count, len(WORDS))
    return (_CYCLE * rounds + _CYCLE[: _STARTS[rest]])[_STARTS[offset % len(WORDS)] :]
