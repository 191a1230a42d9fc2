"""What the API refuses of ``temperature``, ``top_p`` and ``top_k``, by model and version."""

from __future__ import annotations

from claudeops.catalogue import Model, ParameterRule, load_catalogue
from claudeops.simulator.message import CountRequest

NEWEST_VERSION = "2026-10-21"


def sampling_violation(request: CountRequest, model: Model, version: str) -> str | None:
    """The message of the 400; None when nothing is wrong."""
    present = request.sampling()
    if not present:
        return None
    if version == NEWEST_VERSION:
        return f"{next(iter(present))}: Extra inputs are not permitted"
    rule = load_catalogue().sampling_rule(model.sampling, version).under_thinking(is_thinking(request, model))
    rules = {"temperature": rule.temperature, "top_p": rule.top_p, "top_k": rule.top_k}
    unwanted = next((name for name in present if not rules[name].is_allowed), None)
    if unwanted is not None:
        return _refusal_of(unwanted, model)
    if rule.is_exclusive and "temperature" in present and "top_p" in present:
        return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    return next((_out_of_range(name, value, model) for name, value in present.items() if not _is_admitted(rules[name], value)), None)


def _is_admitted(rule: ParameterRule, value: float | None) -> bool:
    return value is not None and rule.admits(value)


def _refusal_of(name: str, model: Model) -> str:
    if model.sampling == "exclusive":
        return f"`{name}` may not be set when thinking is enabled."
    return f"`{name}` is deprecated for this model."


def _out_of_range(name: str, value: float | None, model: Model) -> str:
    if value is None:
        return f"{name}: Input should be a valid number"
    if model.sampling == "pinned":
        return f"`{name}` may only be set to {'1' if name == 'temperature' else '0.99'} for this model."
    if name == "top_p":
        return "`top_p` must be greater than or equal to 0.95 when thinking is enabled."
    bound = "greater than or equal to 0" if value < 0 else "less than or equal to 1"
    return f"{name}: Input should be {bound}"


def is_thinking(request: CountRequest, model: Model) -> bool:
    """Whether thinking is on: as the request says, else by the model's default."""
    kind = request.thinking_type()
    if kind is not None:
        return kind != "disabled"
    return load_catalogue().thinking_rule(model.thinking).default != "off"
