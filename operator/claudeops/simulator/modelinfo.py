"""``/v1/models``: the catalogue as the API lists it. It carries no prices and no sampling capability."""

from __future__ import annotations

from datetime import date
from typing import Any

from claudeops.catalogue import Model, load_catalogue
from claudeops.catalogue.lookup import EFFORT_LEVELS
from claudeops.simulator.call import Call
from claudeops.simulator.paging import page_by_id
from claudeops.simulator.reply import Answer, Problem, invalid, not_found

LIFECYCLES = ("active", "deprecated", "retired")
THINKING_TYPES = ("adaptive", "between_tools", "disabled", "enabled")
CONTEXT_EDITS = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
FALLBACK_BETA = "server-side-fallback-2026-07-01"
UNKNOWN_DATE = "1970-01-01T00:00:00Z"
"""What ``created_at`` says of a model whose release date is not published."""


def list_models(call: Call, today: date) -> Answer | Problem:
    """``GET /v1/models``: newest first, ``lifecycle`` repeatable (without it: all that still answer)."""
    wanted = call.request.parameters("lifecycle") or ["active", "deprecated"]
    if any(name not in LIFECYCLES for name in wanted):
        return invalid("lifecycle: Input should be 'active', 'deprecated' or 'retired'")
    models = sorted(load_catalogue().models, key=lambda model: (model.released_at or date.min, model.id), reverse=True)
    page = page_by_id(call.request, [model for model in models if _lifecycle(model, today) in wanted], lambda model: model.id)
    if isinstance(page, Problem):
        return page
    found, members = page
    return Answer.of({"data": [_model_info(model, call, today) for model in found], **members})


def retrieve_model(call: Call, today: date) -> Answer | Problem:
    """``GET /v1/models/{id}``: an id or an alias."""
    name = call.names[0]
    model = load_catalogue().model(name)
    return not_found(f"model: {name}") if model is None else Answer.of(_model_info(model, call, today))


def is_retired(model: Model, today: date) -> bool:
    """Whether the announced retirement date has come."""
    return model.retires_at is not None and today >= model.retires_at


def _lifecycle(model: Model, today: date) -> str:
    if is_retired(model, today):
        return "retired"
    return "deprecated" if model.status == "deprecated" else "active"


def _model_info(model: Model, call: Call, today: date) -> dict[str, Any]:
    """One model in full."""
    lifecycle = _lifecycle(model, today)
    is_leaving = lifecycle != "active"
    info: dict[str, Any] = {
        "type": "model",
        "id": model.id,
        "display_name": _display_name(model),
        "line": model.line,
        "lifecycle": lifecycle,
        "created_at": _midnight(model.released_at) or UNKNOWN_DATE,
        "deprecated_at": (_midnight(model.deprecated_at) or UNKNOWN_DATE) if is_leaving else None,
        "retires_at": _midnight(model.retires_at) if is_leaving else None,
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
        "capabilities": _capabilities(model),
    }
    if FALLBACK_BETA in call.request.header(b"anthropic-beta"):
        lower = [other.id for other in load_catalogue().models if other.line in ("opus", "sonnet") and other.line != model.line]
        info["allowed_fallback_models"] = [name for name in lower if name != model.id]
    return info


def _display_name(model: Model) -> str:
    """``Claude Sonnet 4.5`` for ``claude-sonnet-4-5-20250929``."""
    line, *numbers = [part for part in model.id.split("-")[1:] if len(part) < 8]
    return f"Claude {line.title()} {'.'.join(numbers).title()}"


def _midnight(day: date | None) -> str | None:
    return None if day is None else f"{day}T00:00:00Z"


def _supported(is_supported: bool) -> dict[str, bool]:
    return {"supported": is_supported}


def _capabilities(model: Model) -> dict[str, Any]:
    """Every capability that the API knows, each with its support.

    From the catalogue: effort, thinking. The rest is assumed of every model: the catalogue does not say otherwise.
    """
    accepts = load_catalogue().thinking_rule(model.thinking).accepts
    levels = model.effort.levels if model.effort is not None else ()
    yes = _supported(True)
    return {
        "batch": _supported(model.prices.batch_input is not None),
        "citations": yes,
        "code_execution": yes,
        "context_management": {**yes, **dict.fromkeys(CONTEXT_EDITS, yes)},
        "effort": {**_supported(bool(levels)), **{level: _supported(level in levels) for level in EFFORT_LEVELS}},
        "image_input": yes,
        "pdf_input": yes,
        "server_tools": {**yes, "code_execution": yes, "web_search": yes},
        "structured_outputs": yes,
        "thinking": {**yes, "types": {kind: _supported(kind in accepts) for kind in THINKING_TYPES}},
    }
