"""What the API refuses with a 400, model by model and version by version, in the API's own words where they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claudeops.catalogue import Model
from claudeops.simulator.imagerule import image_violation
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.samplingrule import sampling_violation
from claudeops.simulator.thinkingrule import effort_violation, thinking_violation, tool_choice_violation
from claudeops.simulator.turnrule import block_violation, cache_control_violation, turn_violation

FAST_BETA = "fast-mode-2026-02-01"
FALLBACK_BETA = "server-side-fallback-2026-07-01"
CREDIT_BETA = "fallback-credit-2026-07-01"
GEOS = ("global", "us")
MAX_FALLBACKS = 3

Check = Callable[[CountRequest, Model], str | None]


def violation(request: CountRequest, model: Model, version: str, betas: str = "") -> str | None:
    """The message of the 400 that this request earns under this ``anthropic-version``; None when it is legal.

    ``betas``: the request's ``anthropic-beta``. Stricter than the documentation in one point: for models whose sampling is locked,
    the mere presence of a parameter is refused under 2023-06-01 too (a default value was seen accepted by some models, refused by
    others).
    """
    message = sampling_violation(request, model, version) or block_violation(request, version)
    checks = _CHECKS
    if message is None and isinstance(request, MessageRequest):
        message = _beta_violation(request, betas)
        checks = _ALL_CHECKS
    message = message or _speed_violation(request, model, betas)
    if message is not None:
        return message
    for check in checks:
        message = check(request, model)
        if message is not None:
            return message
    return None


def _max_tokens_violation(request: CountRequest, model: Model) -> str | None:
    assert isinstance(request, MessageRequest)
    if request.max_tokens > model.max_output_tokens:
        return (
            f"max_tokens: {request.max_tokens} > {model.max_output_tokens}, "
            f"which is the maximum allowed number of output tokens for {model.id}"
        )
    if request.max_tokens < 0:
        return "max_tokens: Input should be greater than or equal to 0"
    if request.max_tokens == 0 and _is_no_prewarm(request):
        return "max_tokens: 0 is only supported without streaming, thinking, output formats and forced tool use"
    return None


def _is_no_prewarm(request: MessageRequest) -> bool:
    has_format = "format" in (request.output_config or {})
    return request.stream or has_format or request.thinking_type() == "enabled" or request.tool_choice_type() in ("any", "tool")


def _service_violation(request: CountRequest, model: Model) -> str | None:
    assert isinstance(request, MessageRequest)
    if request.service_tier not in (None, "auto", "standard_only"):
        return "service_tier: Input should be 'auto' or 'standard_only'"
    if request.inference_geo is None:
        return None
    if not model.inference_geo:
        return "inference_geo: this parameter is not supported for this model"
    return None if request.inference_geo in GEOS else "inference_geo: Input should be 'global' or 'us'"


def _speed_violation(request: CountRequest, model: Model, betas: str) -> str | None:
    """``speed``: on models where it is in beta, every value needs the header; where it is an error, ``fast`` is."""
    if request.speed is None:
        return None
    if request.speed not in ("standard", "fast"):
        return "speed: Input should be 'standard' or 'fast'"
    if model.fast.mode == "beta" and FAST_BETA not in betas:
        return "speed: Extra inputs are not permitted"
    if request.speed == "fast" and model.fast.mode in ("error", "none"):
        return "speed: fast mode is not supported for this model"
    return None


def _beta_violation(request: MessageRequest, betas: str) -> str | None:
    """Members that exist only with their beta header."""
    if request.fallback_credit_token is not None and CREDIT_BETA not in betas:
        return "fallback_credit_token: Extra inputs are not permitted"
    if request.fallbacks is None:
        return None
    if FALLBACK_BETA not in betas:
        return "fallbacks: Extra inputs are not permitted"
    return None if request.fallbacks == "default" else _wrong_fallbacks(request.fallbacks)


def _wrong_fallbacks(fallbacks: Any) -> str | None:
    if not isinstance(fallbacks, list) or not all(isinstance(entry, dict) and isinstance(entry.get("model"), str) for entry in fallbacks):
        return "fallbacks: Input should be 'default' or a valid list"
    return None if len(fallbacks) <= MAX_FALLBACKS else f"fallbacks: List should have at most {MAX_FALLBACKS} items"


_CHECKS: tuple[Check, ...] = (
    turn_violation,
    thinking_violation,
    effort_violation,
    tool_choice_violation,
    cache_control_violation,
    image_violation,
)
_ALL_CHECKS: tuple[Check, ...] = (_max_tokens_violation, _service_violation, *_CHECKS)
