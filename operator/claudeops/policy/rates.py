"""The three dimensions in which the API meters a model group, as rates a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REQUESTS: Final = 0
INPUT: Final = 1
OUTPUT: Final = 2
DIMENSIONS: Final = ("requests", "input_tokens", "output_tokens")
"""Names of the dimensions, indexed by REQUESTS, INPUT, OUTPUT."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests, uncached input tokens and output tokens, each per second."""

    requests: float
    input_tokens: float
    output_tokens: float

    def scaled(self, factor: float) -> Rates:
        """Every dimension times `factor`."""
        return Rates(self.requests * factor, self.input_tokens * factor, self.output_tokens * factor)

    def at_most(self, other: Rates) -> Rates:
        """The smaller of both in each dimension."""
        return Rates(
            min(self.requests, other.requests),
            min(self.input_tokens, other.input_tokens),
            min(self.output_tokens, other.output_tokens),
        )

    def at_least(self, other: Rates) -> Rates:
        """The larger of both in each dimension."""
        return Rates(
            max(self.requests, other.requests),
            max(self.input_tokens, other.input_tokens),
            max(self.output_tokens, other.output_tokens),
        )

    def as_tuple(self) -> tuple[float, float, float]:
        """In the order of DIMENSIONS."""
        return (self.requests, self.input_tokens, self.output_tokens)
