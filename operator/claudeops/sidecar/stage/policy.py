"""policy: sampling, effort, thinking and output length are held against the model's law and the workload's profile."""

from __future__ import annotations

from typing import Final

from claudeops.policy.sampling import Adjustments, Asked
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.endpoint import COUNT_TOKENS
from claudeops.sidecar.model import FALLBACK, ModelRuntime
from claudeops.sidecar.rules import policy_of
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.stage.estimate import FORCED
from claudeops.sidecar.stage.fit import fit_to_model
from claudeops.sidecar.wireformat import RequestJson

ADJUSTMENTS_MAX: Final = 256
Parameters = tuple[str | None, bool, float | None, float | None, float | None, float | None, str | None, float | None, str | None]
NOT_COUNTED: Final[tuple[str, ...]] = ("max_tokens", "temperature", "top_p", "top_k")
"""Members that a count_tokens request does not take: never added there, only left out."""


def policy(call: Call, runtime: Runtime) -> Answer | None:
    """Edits what may be put right, refuses what the workload's profile refuses."""
    asked = call.asked
    choice, messages = asked.tool_choice, asked.messages
    is_forced = choice is not None and choice.type in FORCED
    is_prefilled = len(messages) > 0 and messages[-1].role == "assistant"
    key = _parameters(asked, call.caller.api_version, not is_forced | is_prefilled)
    result = call.model.adjustments.get(key) or _adjust(key, call.model, runtime)
    if not result.is_plain:
        if result.violation is not None:
            return Answer("policy", result.violation)
        _take(call, result)
    if not key[1] or call.tier == FALLBACK or call.model.binds_thinking or runtime.thoughts.has_any:
        fit_to_model(call, runtime, is_forced=is_forced, is_prefilled=is_prefilled)
    return None


def _count_warnings(call: Call, names: list[str]) -> None:
    if call.offered_to is not None:
        return  # once, however often it walks
    warned = call.model.counters[call.tier].warned
    for name in names:
        warned[name] = warned.get(name, 0) + 1


def _parameters(asked: RequestJson, api_version: str | None, can_think: bool) -> Parameters:
    thinking, output = asked.thinking, asked.output_config
    return (
        api_version,
        can_think,
        asked.max_tokens,
        asked.temperature,
        asked.top_p,
        asked.top_k,
        None if thinking is None else thinking.type,
        None if thinking is None else thinking.budget_tokens,
        None if output is None else output.effort,
    )


def _adjust(key: Parameters, model: ModelRuntime, runtime: Runtime) -> Adjustments:
    """Computed once for equal parameters: everything that the answer depends on, besides model and configuration."""
    api_version, can_think, max_tokens, temperature, top_p, top_k, thinking, budget_tokens, effort = key
    wish = Asked(max_tokens)
    wish.can_think = can_think
    wish.temperature, wish.top_p, wish.top_k = temperature, top_p, top_k
    wish.thinking, wish.budget_tokens, wish.effort = thinking, budget_tokens, effort
    result = policy_of(model, api_version, runtime).adjust(wish)
    if len(model.adjustments) >= ADJUSTMENTS_MAX:
        model.adjustments.clear()
    model.adjustments[key] = result
    return result


def _take(call: Call, result: Adjustments) -> None:
    if result.warnings:
        _count_warnings(call, result.warnings)
    call.adjusted += tuple(result.names)  # what has a name has an edit
    if call.caller.kind != COUNT_TOKENS:
        call.edits.update(result.edits)
        return
    for name, value in result.edits.items():
        if not value or name not in NOT_COUNTED:
            call.edits[name] = value
