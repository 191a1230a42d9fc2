"""How long answers are and how fast they come: seeded dice, medians by model line."""

from __future__ import annotations

import math
import random

import msgspec

from claudeops.catalogue import Model
from claudeops.simulator.config import SimulatorConfig

LINE_TTFT_S = {"haiku": 0.4, "sonnet": 0.8, "opus": 1.1, "fable": 1.4, "mythos": 1.6}
"""Median time to first token. Plausible, not measured."""
LINE_TOKENS_PER_S = {"haiku": 110.0, "sonnet": 60.0, "opus": 45.0, "fable": 40.0, "mythos": 35.0}
"""Median speed of one answer, tokens a second."""
TTFT_SIGMA = 0.2
SPEED_SIGMA = 0.15
"""Both are log-normal around the line's median. Plausible, not measured."""


class Pace(msgspec.Struct, frozen=True):
    """One answer's size (as the model would have it, before any cap) and speed."""

    ttft_s: float
    tokens_per_s: float
    output_tokens: int


class Dice:
    """Draws one Pace an answer; the same seed and order of requests give the same draws."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._random = random.Random(f"pace {config.seed}")
        self._mu = math.log(config.output_median_tokens)

    def draw(self, model: Model, own: random.Random | None = None) -> Pace:
        """Output length is log-normal; latencies are divided by the configured speed. ``own``: dice instead of the shared ones."""
        config, dice = self._config, own or self._random
        ttft_s = LINE_TTFT_S[model.line] if config.ttft_s is None else config.ttft_s
        per_s = LINE_TOKENS_PER_S[model.line] if config.tokens_per_s is None else config.tokens_per_s
        length = max(1, round(dice.lognormvariate(self._mu, config.output_sigma)))
        spread = dice.lognormvariate(0, SPEED_SIGMA)
        jitter = dice.lognormvariate(0, TTFT_SIGMA)
        return Pace(ttft_s * jitter / config.speed, per_s * spread * config.speed, length)
