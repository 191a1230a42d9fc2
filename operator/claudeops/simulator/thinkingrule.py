"""What the API refuses of thinking, effort and tool choice, by model."""

from __future__ import annotations

from claudeops.catalogue import Model, load_catalogue
from claudeops.catalogue.lookup import EFFORT_LEVELS
from claudeops.simulator.message import Block, CountRequest, MessageRequest

DISPLAYS = ("summarized", "omitted")
_THINKING_FIELDS = {"enabled": ("type", "budget_tokens", "display"), "disabled": ("type",)}
_CONFIG_FIELDS = ("effort", "format", "task_budget")
_CHOICES = ("auto", "any", "tool", "none")


def thinking_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for ``thinking``, alone and with the effort; None when nothing is wrong."""
    if request.thinking is None:
        return None
    kind = request.thinking_type()
    rule = load_catalogue().thinking_rule(model.thinking)
    if kind not in rule.accepts:
        return _thinking_refusal(kind)
    wrong = _wrong_member(str(kind), request.thinking)
    if wrong is not None:
        return wrong
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


def _wrong_member(kind: str, thinking: Block) -> str | None:
    """A member that this type of thinking does not have, or a display that does not exist."""
    known = _THINKING_FIELDS.get(kind, ("type", "display"))
    unknown = next((name for name in thinking if name not in known), None)
    if unknown is not None:
        return f"thinking.{kind}.{unknown}: Extra inputs are not permitted"
    if thinking.get("display") not in (None, *DISPLAYS):
        return f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'"
    return None


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


def effort_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for ``output_config``; None when nothing is wrong."""
    unknown = next((name for name in request.output_config or () if name not in _CONFIG_FIELDS), None)
    if unknown is not None:
        return f"output_config.{unknown}: Extra inputs are not permitted"
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


def tool_choice_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for ``tool_choice``; None when nothing is wrong."""
    kind = request.tool_choice_type()
    if request.tool_choice is not None and kind not in _CHOICES:
        return "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"
    return _forced_violation(request, model) if kind in ("any", "tool") else None


def _forced_violation(request: CountRequest, model: Model) -> str | None:
    if not model.forced_tool_choice:
        return 'tool_choice: type "tool" and "any" are not supported for this model.'
    if not request.tools:
        return "tool_choice: may only be specified while providing tools."
    if request.thinking_type() == "enabled":
        return "Thinking may not be enabled when tool_choice forces tool use."
    name = (request.tool_choice or {}).get("name")
    if request.tool_choice_type() == "tool" and name not in [tool.get("name") for tool in request.tools]:
        return f"tool_choice.tool.name: Tool '{name}' not found in provided tools"
    return None
