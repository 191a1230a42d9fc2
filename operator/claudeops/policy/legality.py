"""What one model under one `anthropic-version` takes: the API's law, without anybody's wishes.

Source: reference anthropic-api, sections 3.1 and 3.2, as data in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from claudeops.catalogue.lookup import EFFORT_LEVELS
from claudeops.catalogue.model import ParameterRule, SamplingRule, ThinkingRule

MIN_BUDGET_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class ModelRules:
    """The catalogue's rules for one model and version. `effort_levels`: None is unknown (left alone), empty is unsupported."""

    sampling: SamplingRule
    thinking: ThinkingRule
    effort_levels: tuple[str, ...] | None
    max_output_tokens: int
    min_budget_tokens: int = MIN_BUDGET_TOKENS


def known_version(api_version: str | None, known: tuple[str, ...]) -> str:
    """The version whose rules hold: the newest known that is not newer than the request's, else the oldest.

    `known` is ascending. A request without the header is held to the oldest; one from the future to the newest.
    """
    found = known[0]
    for version in known:
        if api_version is not None and version <= api_version:
            found = version
    return found


def legal_value(rule: ParameterRule, value: float) -> float | None:
    """`value` if the rule takes it, the nearest one in its range if there is a range, None: leave it out."""
    if rule.admits(value):
        return value
    if not rule.is_allowed or rule.only is not None:
        return None
    if rule.minimum is not None and value < rule.minimum:
        return rule.minimum
    return rule.maximum


def illegal_sampling(
    rule: SamplingRule, *, temperature: float | None, top_p: float | None, top_k: float | None, prefer_top_p: bool = False
) -> tuple[str, ...]:
    """Names of the parameters that must be left out. `rule` is the one under the request's thinking.

    Where temperature and top_p exclude each other, `prefer_top_p` says which stays.
    """
    out = {
        "temperature": temperature is not None and legal_value(rule.temperature, temperature) is None,
        "top_p": top_p is not None and legal_value(rule.top_p, top_p) is None,
        "top_k": top_k is not None and not rule.top_k.admits(top_k),
    }
    are_both_sent = None not in (temperature, top_p)
    if rule.is_exclusive and are_both_sent and not (out["temperature"] or out["top_p"]):
        out["temperature" if prefer_top_p else "top_p"] = True
    return tuple(name for name, is_out in out.items() if is_out)


def nearest_level(level: str, allowed: Iterable[str]) -> str:
    """The allowed effort level nearest to `level`, ties lower. An unknown `level` counts as the strongest."""
    order: dict[str, int] = {name: index for index, name in enumerate(EFFORT_LEVELS)}
    at = order.get(level, len(order) - 1)
    return min(allowed, key=lambda name: (abs(order[name] - at), order[name]))


def legal_thinking(rule: ThinkingRule, kind: str) -> str | None:
    """The `thinking.type` to send for a wished one: itself, the model's nearest, or None: send nothing.

    Off is `disabled`, or `between_tools` where that is the least the model does; a budget becomes adaptive thinking where
    budgets are gone. Adaptive thinking has no other form: a model that knows only budgets gets none.
    """
    if kind in rule.accepts or kind not in ("adaptive", "enabled", "disabled", "between_tools"):
        return kind
    if kind == "disabled" and "between_tools" in rule.accepts:
        return "between_tools"
    if kind == "enabled" and "adaptive" in rule.accepts:
        return "adaptive"
    return None


def effort_cap(rule: ThinkingRule, kind: str | None) -> str | None:
    """The highest effort with which this `thinking.type` is accepted; None is no cap."""
    if kind == "disabled":
        return rule.disabled_max_effort
    if kind == "between_tools":
        return rule.between_tools_max_effort
    return None


def is_thinking(rule: ThinkingRule, kind: str | None) -> bool:
    """Does a request with this `thinking.type` (None: silent) think?"""
    if kind is None:
        return rule.default != "off"
    return kind != "disabled"
