"""``SamplingProfile``: a named set of sampling bounds, shared by workloads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from claudeops.api.metadata import Metadata
from claudeops.api.part import ATOMIC, Part, Rule, code_default

EffortWord = Literal["Low", "Medium", "High", "XHigh", "Max"]
Share = Annotated[float, Field(ge=0, le=1)]
TokenCount = Annotated[int, Field(ge=1, le=10_000_000)]


def _is_ordered(it: Any) -> bool:
    return it.min is None or it.max is None or it.min <= it.max


def _is_default_inside(it: Any) -> bool:
    if it.default is None:
        return True
    return (it.min is None or it.min <= it.default) and (it.max is None or it.default <= it.max)


_BOUND_RULES = (
    Rule(
        cel="!has(self.min) || !has(self.max) || self.min <= self.max",
        message="min is over max: lower min, or raise max",
        holds=_is_ordered,
        field="min",
    ),
    Rule(
        cel="!has(self.default) || ((!has(self.min) || self.min <= self.default) && (!has(self.max) || self.default <= self.max))",
        message="the default is outside of min and max: move it between them",
        holds=_is_default_inside,
        field="default",
    ),
)


class ShareBounds(Part):
    """Default and closed range of a parameter between 0 and 1."""

    RULES: ClassVar = _BOUND_RULES

    default: Share | None = None
    """Sent where the client sent neither temperature nor top-p."""
    min: Share | None = None
    """Least value."""
    max: Share | None = None
    """Greatest value."""


class TokenBounds(Part):
    """Default and closed range of a number of tokens."""

    RULES: ClassVar = _BOUND_RULES

    default: TokenCount | None = None
    """Sent where the client sent none."""
    min: TokenCount | None = None
    """Least value."""
    max: TokenCount | None = None
    """Greatest value."""


class EffortBounds(Part):
    """The knob of models that take no sampling parameters."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.default) || !has(self.allowed) || self.default in self.allowed",
            message="the default effort is not among allowed: add it there, or choose one of them",
            holds=lambda it: it.default is None or it.allowed is None or it.default in it.allowed,
            field="default",
        ),
    )

    default: EffortWord | None = None
    """Sent where the client sent none."""
    allowed: Annotated[tuple[EffortWord, ...], Field(min_length=1, max_length=5, json_schema_extra=ATOMIC)] | None = None
    """Levels that requests may carry. Absent: all."""


class Thinking(Part):
    """How the model may think before it answers."""

    RULES: ClassVar = (
        Rule(
            cel="(self.mode == 'Budget') == has(self.budgetTokens)",
            message="mode Budget needs budgetTokens (at least 1024); the modes Off and Adaptive take none",
            holds=lambda it: (it.mode == "Budget") == (it.budget_tokens is not None),
            field="budgetTokens",
        ),
    )

    mode: Literal["Off", "Adaptive", "Budget"]
    """Off, Adaptive, or Budget with budgetTokens."""
    budget_tokens: Annotated[int, Field(ge=1024, le=1_000_000)] | None = None
    """Tokens of mode Budget."""


class Evidence(Part):
    """Where the figures come from."""

    calibration: Annotated[str, Field(min_length=1, max_length=317)] | None = None
    """Namespace and name of the calibration, such as shop/maths-sweep."""
    date: Annotated[str, Field(max_length=10, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None = None
    """Day of the measurement, such as 2026-11-20."""


class ProfileSpec(Part):
    """A named set of sampling bounds."""

    description: Annotated[str, Field(max_length=1024)] | None = None
    """What the profile is for."""
    temperature: ShareBounds = code_default(ShareBounds())
    """Bounds of temperature."""
    top_p: ShareBounds = code_default(ShareBounds())
    """Bounds of top-p."""
    prefer: Literal["Temperature", "TopP"] = code_default("Temperature")
    """Which one is sent where the model takes only one. Default Temperature."""
    max_tokens: TokenBounds = code_default(TokenBounds())
    """Bounds of max_tokens."""
    effort: EffortBounds = code_default(EffortBounds())
    """Bounds of effort."""
    thinking: Thinking | None = None
    """How the model may think. Absent: as the client says."""
    evidence: Evidence | None = None
    """Where the figures come from."""


class SamplingProfile(Part):
    """A named set of sampling bounds, shared by workloads."""

    api_version: Literal["claudeops.dev/v1alpha1"] = "claudeops.dev/v1alpha1"
    kind: Literal["SamplingProfile"] = "SamplingProfile"
    metadata: Metadata
    spec: ProfileSpec
