"""The scalar types of the custom resources: names, durations, percentages, rates."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field

from claudeops.api.part import Part, Rule, Ruled

_DNS_NAME: Final = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_MODEL: Final = "^claude-[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
_DURATION: Final = r"^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h))+$"
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_DURATION_S: Final = 86_400.0


def seconds(text: str) -> float:
    """``"1m30s"`` → 90.0. The text must be a valid :data:`Duration`."""
    return round(sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text)), 6)


def _is_duration(text: str) -> bool:
    return re.fullmatch(_DURATION, text) is not None and seconds(text) <= _MAX_DURATION_S


_CEL_DURATION: Final = f"self.matches(r'{_DURATION}') && duration(self) <= duration('24h')"
DURATION_RULE: Final = Rule(
    cel=_CEL_DURATION,
    message='write a duration of at most 24h with its unit (ms, s, m, h), such as "500ms", "90s" or "1m30s"',
    holds=_is_duration,
)
POSITIVE_DURATION_RULE: Final = Rule(
    cel=f"{_CEL_DURATION} && duration(self) > duration('0s')",
    message='write a duration over zero and at most 24h with its unit (ms, s, m, h), such as "500ms", "90s" or "1m30s"',
    holds=lambda text: _is_duration(text) and seconds(text) > 0,
)
MODEL_RULE: Final = Rule(
    cel=f"self.matches(r'{_MODEL}')",
    message='write the id of a Claude model as the API spells it, such as "claude-sonnet-5-5"',
    holds=lambda text: re.fullmatch(_MODEL, text) is not None,
)

Duration = Annotated[str, Field(max_length=16), Ruled(DURATION_RULE)]
PositiveDuration = Annotated[str, Field(max_length=16), Ruled(POSITIVE_DURATION_RULE)]
ModelName = Annotated[str, Field(max_length=64), Ruled(MODEL_RULE)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=_DNS_NAME)]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern="^[-._a-zA-Z0-9]+$")]
GroupName = Annotated[str, Field(min_length=1, max_length=64)]
Percent = Annotated[int, Field(ge=0, le=100)]
PerMinute = Annotated[int, Field(ge=1, le=1_000_000_000_000)]


class Reference(Part):
    """Names another object."""

    name: ObjectName
    """Name of the object."""


class KeyReference(Part):
    """Names one key of a Secret or ConfigMap."""

    name: ObjectName
    """Name of the object."""
    key: DataKey
    """Key within the object."""


class Rates(Part):
    """Limits a minute. An absent dimension is not limited."""

    requests_per_minute: PerMinute | None = None
    """Requests a minute."""
    input_tokens_per_minute: PerMinute | None = None
    """Uncached input tokens a minute."""
    output_tokens_per_minute: PerMinute | None = None
    """Output tokens a minute."""
