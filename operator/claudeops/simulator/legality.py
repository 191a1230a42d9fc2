"""What the API refuses with a 400, model by model and version by version, in the API's own words where they are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from claudeops.catalogue import Model, ParameterRule, load_catalogue
from claudeops.catalogue.lookup import EFFORT_LEVELS
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.prompt import breakpoints

NEWEST_VERSION = "2026-10-21"
MAX_BREAKPOINTS = 4
ROLES = ("user", "assistant", "system")
TTLS = ("5m", "1h")

Check = Callable[[CountRequest, Model, str], str | None]


def violation(request: CountRequest, model: Model, version: str) -> str | None:
    """The message of the 400 that this request earns under this ``anthropic-version``; None when it is legal.

    Stricter than the documentation in one point: for models whose sampling is locked, the mere presence of a
    parameter is refused under 2023-06-01 too (a default value was seen accepted by some models, refused by others).
    """
    checks = MESSAGE_CHECKS if isinstance(request, MessageRequest) else COUNT_CHECKS
    for check in checks:
        message = check(request, model, version)
        if message is not None:
            return message
    return None


def _check_sampling(request: CountRequest, model: Model, version: str) -> str | None:
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


def _check_thinking(request: CountRequest, model: Model, version: str) -> str | None:
    if request.thinking is None:
        return None
    kind = request.thinking_type()
    rule = load_catalogue().thinking_rule(model.thinking)
    if kind not in rule.accepts:
        return _thinking_refusal(kind)
    if kind == "enabled":
        return _check_budget(request)
    ceiling = {"disabled": rule.disabled_max_effort, "between_tools": rule.between_tools_max_effort}.get(str(kind))
    effort = request.effort()
    if ceiling is not None and effort in EFFORT_LEVELS and EFFORT_LEVELS.index(effort) > EFFORT_LEVELS.index(ceiling):
        state = "disabled" if kind == "disabled" else "`between_tools`"
        return (
            f"output_config.effort '{effort}' is not supported when thinking is {state} on this model. "
            f"Use effort '{ceiling}' or below, or enable thinking."
        )
    return None


def _thinking_refusal(kind: str | None) -> str:
    if kind == "enabled":
        return (
            '"thinking.type.enabled" is not supported for this model. '
            'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        )
    if kind == "adaptive":
        return "adaptive thinking is not supported on this model"
    if kind in ("disabled", "between_tools"):
        return f'"thinking.type.{kind}" is not supported for this model.'
    return "thinking.type: Input should be 'adaptive', 'enabled', 'disabled' or 'between_tools'"


def _check_budget(request: CountRequest) -> str | None:
    budget = (request.thinking or {}).get("budget_tokens")
    smallest = load_catalogue().min_thinking_budget_tokens
    if not isinstance(budget, int):
        return "thinking.enabled.budget_tokens: Field required"
    if budget < smallest:
        return f"thinking.enabled.budget_tokens: Input should be greater than or equal to {smallest}"
    if isinstance(request, MessageRequest) and budget >= request.max_tokens:
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    return None


def _check_effort(request: CountRequest, model: Model, version: str) -> str | None:
    effort = request.effort()
    if effort is None:
        return None
    if effort not in EFFORT_LEVELS:
        return "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
    if model.effort is None or effort in model.effort.levels:
        return None
    if not model.effort.levels:
        return "This model does not support the effort parameter."
    return f"output_config.effort '{effort}' is not supported for this model."


def _check_tool_choice(request: CountRequest, model: Model, version: str) -> str | None:
    kind = request.tool_choice_type()
    if kind not in ("any", "tool"):
        return None
    if not model.forced_tool_choice:
        return 'tool_choice: type "tool" and "any" are not supported for this model.'
    if not request.tools:
        return "tool_choice: may only be specified while providing tools."
    if request.thinking_type() == "enabled":
        return "Thinking may not be enabled when tool_choice forces tool use."
    name = (request.tool_choice or {}).get("name")
    if kind == "tool" and name not in [tool.get("name") for tool in request.tools]:
        return f"tool_choice.tool.name: Tool '{name}' not found in provided tools"
    return None


def _check_turns(request: CountRequest, model: Model, version: str) -> str | None:
    if not request.messages:
        return "messages: at least one message is required"
    for number, turn in enumerate(request.messages):
        if turn.role not in ROLES:
            return f"messages.{number}.role: Input should be 'user' or 'assistant'"
    if request.messages[0].role == "assistant":
        return 'messages: first message must use the "user" role'
    if request.messages[-1].role == "assistant" and not model.prefill:
        return "This model does not support assistant message prefill. The conversation must end with a user message."
    return None


def _check_blocks(request: CountRequest, model: Model, version: str) -> str | None:
    for number, turn in enumerate(request.messages):
        for place, block in enumerate(turn.blocks()):
            path = f"messages.{number}.content.{place}"
            kind = block.get("type")
            if not isinstance(kind, str):
                return f"{path}.type: Field required"
            if kind == "text" and not isinstance(block.get("text"), str):
                return f"{path}.text.text: Field required"
            if kind == "text" and not block["text"]:
                return "messages: text content blocks must be non-empty"
            if version == NEWEST_VERSION and (message := _newest_block_violation(turn.role, block, path)) is not None:
                return message
    return None


def _newest_block_violation(role: str, block: dict[str, object], path: str) -> str | None:
    """What only the newest version refuses inside messages."""
    kind = block["type"]
    if role == "assistant" and kind == "document":
        return f"{path}: `document` blocks are not permitted in assistant messages"
    if role != "user":
        return None
    inner = block.get("content") if kind == "search_result" else [block]
    for text in inner if isinstance(inner, list) else []:
        if isinstance(text, dict) and text.get("type") == "text" and text.get("citations"):
            return f"{path}.text.citations: Extra inputs are not permitted"
    return None


def _check_cache_control(request: CountRequest, model: Model, version: str) -> str | None:
    ttls: Sequence[str] = breakpoints(request)
    automatic = request.cache_control
    count = len(ttls) + (1 if automatic is not None else 0)
    if count > MAX_BREAKPOINTS:
        return f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {count}."
    wrong = next((ttl for ttl in (*ttls, *([automatic.ttl] if automatic else [])) if ttl not in TTLS), None)
    if wrong is not None:
        return "cache_control.ttl: Input should be '5m' or '1h'"
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        return (
            "cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
            "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
        )
    return None


def _check_max_tokens(request: CountRequest, model: Model, version: str) -> str | None:
    if not isinstance(request, MessageRequest):
        return None
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


def _check_service(request: CountRequest, model: Model, version: str) -> str | None:
    if not isinstance(request, MessageRequest):
        return None
    if request.service_tier not in (None, "auto", "standard_only"):
        return "service_tier: Input should be 'auto' or 'standard_only'"
    if request.inference_geo is not None and not model.inference_geo:
        return "inference_geo: this parameter is not supported for this model"
    if request.speed == "fast" and model.fast.mode in ("error", "none"):
        return "speed: fast mode is not supported for this model"
    return None


COUNT_CHECKS: tuple[Check, ...] = (
    _check_sampling,
    _check_turns,
    _check_blocks,
    _check_thinking,
    _check_effort,
    _check_tool_choice,
    _check_cache_control,
)
MESSAGE_CHECKS: tuple[Check, ...] = (_check_max_tokens, *COUNT_CHECKS, _check_service)
