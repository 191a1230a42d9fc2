"""route: breaker and fleet assignment choose the model that will serve."""

from __future__ import annotations

from typing import Final

from claudeops.policy.breaker import CLOSED
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.endpoint import MESSAGES
from claudeops.sidecar.model import FALLBACK, PRIMARY, ModelRuntime
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.stage.fit import can_take

MODEL: Final = "model"
PROBE_EVERY_S: Final = 1.0
"""A proxy that may probe a model the fleet has left sends it one request a second."""


def route(call: Call, runtime: Runtime) -> Answer | None:
    """Starts a walk: picks the first tier that may be used, and forgets the edits of the walk before."""
    tiers = runtime.tiers
    name = call.asked.model
    call.adjusted = ()
    if runtime.is_choice_open:
        chosen = _chosen(call, runtime)
        if isinstance(chosen, Answer):
            return chosen
        tiers = chosen
    now = call.walked_at
    first = index = _first_index(call, runtime, tiers)
    call.tiers = tiers
    if first or not is_usable(tiers[0], call, now):
        index = _next_index(call, runtime, first)
        if index < 0:
            return _refuse(call, runtime, first)
    model = tiers[index]
    if call.attempts:
        _count_anew(call, model)
    call.model = model
    call.group = model.group
    if index == 0:
        call.tier = PRIMARY
    else:
        _take_fallback(call, runtime, is_next=index != first)
    call.edits = {} if model.id == name or _is_alias(name, model, runtime) else {MODEL: model.quoted_id}
    return None


def _is_alias(name: str, model: ModelRuntime, runtime: Runtime) -> bool:
    """Whether the client means this very model: then its bytes stay as they are."""
    named = runtime.catalogue.model(name)
    return named is not None and named.id == model.id


def _first_index(call: Call, runtime: Runtime, tiers: tuple[ModelRuntime, ...]) -> int:
    """The tier to begin with: past those that are used up, or the one that the session stays on."""
    if call.floor:
        if call.tiers == tiers:
            return call.floor
        call.floor = 0  # other models than those that were used up
    if call.session and runtime.sticky.entries:
        return _sticky_index(call, runtime, tiers)
    return 0


def _next_index(call: Call, runtime: Runtime, first: int) -> int:
    """The first fallback from here on that serves now and can take this request; -1 if none does."""
    for index in range(max(1, first), len(call.tiers)):
        model = call.tiers[index]
        if not can_take(model, call, runtime) and is_usable(model, call, call.walked_at):
            return index
    return -1 if call.caller.kind == MESSAGES else first  # tokens are counted whether the model serves or not


def _count_anew(call: Call, model: ModelRuntime) -> None:
    """Attempts are counted by model."""
    if model is not call.model:
        call.attempts = 0


def _take_fallback(call: Call, runtime: Runtime, *, is_next: bool) -> None:
    """`is_next`: the tier that it would have begun with does not serve. A session that merely stays where it is is not forced there."""
    call.tier = FALLBACK
    if is_next or call.floor:
        runtime.sticky.force(call.session, call.model.id, call.walked_at)


def is_usable(model: ModelRuntime, call: Call, now: float) -> bool:
    """May this request go to this model? Takes the half-open probe where that is what it would be; counting tokens probes nothing."""
    breaker = model.breaker
    if breaker.state == CLOSED and not model.is_flipped:
        return True
    if call.caller.kind != MESSAGES:
        return False
    if breaker.state == CLOSED:
        if model.may_probe and now - model.probed_at >= PROBE_EVERY_S:
            model.probed_at = now
            call.is_probe = True
            return True
        return False
    if breaker.take_probe(now, not model.is_flipped or model.may_probe):
        call.is_probe = True
        return True
    return False


def give_up_probe(call: Call) -> None:
    """A request that was to be its model's half-open probe is not sent after all: the next one may be."""
    if call.is_probe:
        call.is_probe = False
        call.model.breaker.ignored(call.walked_at)


def _refuse(call: Call, runtime: Runtime, first: int) -> Answer:
    call.model = model = call.tiers[first]
    cause = "the fleet has left it" if model.is_flipped else f"its breaker is open ({model.breaker.reason})"
    message = f"{model.id} does not serve now: {cause}, and nothing is left to fall back to"
    for tier in call.tiers[first + 1 :]:
        problem = can_take(tier, call, runtime)
        if problem:
            message += f"; {tier.id} cannot take this request: {problem}"
    return Answer("breaker_open", message, retry_after_s=model.breaker.wait_s(call.walked_at))


def _sticky_index(call: Call, runtime: Runtime, tiers: tuple[ModelRuntime, ...]) -> int:
    """The tier that the session stays on for now; 0 when it need not."""
    name = runtime.sticky.model_of(call.session, call.walked_at)
    if name is None:
        return 0
    for index, model in enumerate(tiers):
        if model.id == name and model.breaker.state == CLOSED and not model.is_flipped and not can_take(model, call, runtime):
            return index
    runtime.sticky.forget(call.session)
    return 0


def _chosen(call: Call, runtime: Runtime) -> tuple[ModelRuntime, ...] | Answer:
    """The tiers of this request: the model that it names, if it may, else the configured one; then the fallbacks without repeats."""
    config = runtime.config
    assert config is not None
    tiers = runtime.tiers
    asked = runtime.models.get(call.asked.model) or runtime.model(call.asked.model, call.walked_at)
    if asked is not None and (asked in tiers or config.model.client_choice == "Allowed"):
        return tiers if asked is tiers[0] else (asked, *(model for model in tiers[1:] if model is not asked))
    if config.sampling.on_violation == "Reject":
        names = ", ".join(model.id for model in tiers)
        return Answer("policy", f"this workload may not use model {call.asked.model!r}: name one of {names}", status=403)
    call.adjusted = (MODEL,)
    return tiers
