"""policy: sampling, effort, thinking and output length are held against the model's law and the workload's profile."""

from __future__ import annotations

from claudeops.policy.sampling import Asked
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.caller import COUNT_TOKENS
from claudeops.sidecar.model import FALLBACK
from claudeops.sidecar.rules import policy_of
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.stage.fit import fit_to_model
from claudeops.sidecar.wireformat import RequestJson

FORCED = ("any", "tool")
NOT_COUNTED = ("max_tokens", "temperature", "top_p", "top_k")
"""Members that a count_tokens request does not take: never added there, only left out."""


def policy(call: Call, runtime: Runtime) -> Answer | None:
    """Edits what may be put right, refuses what the workload's profile refuses."""
    asked = call.asked
    is_forced = asked.tool_choice is not None and asked.tool_choice.type in FORCED
    is_prefilled = bool(asked.messages) and asked.messages[-1].role == "assistant"
    wish = _wish_of(asked)
    wish.can_think = not (is_forced or is_prefilled)
    result = policy_of(call.model, call.caller.api_version, runtime).adjust(wish)
    if result.violation is not None:
        return Answer("policy", result.violation)
    if result.edits:
        _take(call, result.edits)
    if result.names:
        call.adjusted += tuple(result.names)
    if call.tier == FALLBACK or (not wish.can_think and asked.model != call.model.id):
        fit_to_model(call, is_forced=is_forced, is_prefilled=is_prefilled)
    return None


def _wish_of(asked: RequestJson) -> Asked:
    """The request's parameters, as the algorithm takes them."""
    wish = Asked(asked.max_tokens)
    wish.temperature = asked.temperature
    wish.top_p = asked.top_p
    wish.top_k = asked.top_k
    if asked.thinking is not None:
        wish.thinking = asked.thinking.type
        wish.budget_tokens = asked.thinking.budget_tokens
    if asked.output_config is not None:
        wish.effort = asked.output_config.effort
    return wish


def _take(call: Call, edits: dict[str, bytes]) -> None:
    if call.caller.kind != COUNT_TOKENS:
        call.edits.update(edits)
        return
    for name, value in edits.items():
        if not value or name not in NOT_COUNTED:
            call.edits[name] = value
