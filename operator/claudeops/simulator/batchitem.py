"""One item of a message batch: checked as a Messages request of its own, and answered without its rate limits."""

from __future__ import annotations

import msgspec

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.call import Call
from claudeops.simulator.content import Content, Draft, Service, plan
from claudeops.simulator.imagerule import oversized_problem
from claudeops.simulator.legality import violation
from claudeops.simulator.message import MalformedBody, MessageRequest, decode_message
from claudeops.simulator.modelinfo import is_retired
from claudeops.simulator.pace import Dice
from claudeops.simulator.prompt import count_tokens, has_breakpoints, positions
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.reply import Problem, invalid, not_found
from claudeops.simulator.world import World

LONG_OUTPUT_BETA = "output-300k-2026-03-24"


class ItemDesk:
    """Answers the items of batches, one by one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pace = Dice(world.config)

    def answer(self, call: Call, params: msgspec.Raw) -> Content | Problem:
        """What becomes of one item of the batch that ``call`` created."""
        try:
            request = decode_message(params)
        except MalformedBody as error:
            return invalid(str(error))
        model = load_catalogue().model(request.model)
        if model is None or is_retired(model, self._world.identity.today()):
            return not_found(f"model: {request.model}")
        longest = _within_batch(model, call)
        betas = call.request.header(b"anthropic-beta")
        message = batch_violation(request) or violation(request, longest, call.version, betas)
        if message is not None:
            return invalid(message)
        return oversized_problem(request, longest) or self._produce(call, request, longest)

    def _produce(self, call: Call, request: MessageRequest, model: Model) -> Content | Problem:
        use = self._use(call, request, model)
        if use.total > model.context_tokens:
            return invalid(f"prompt is too long: {use.total} tokens > {model.context_tokens} maximum")
        pace = self._pace.draw(model, self._world.pace_dice(call))
        service = Service("batch", inference_geo=request.inference_geo or "global")
        room = max(0, model.context_tokens - use.total)
        return plan(request, Draft(model.id, use, pace.output_tokens, min(request.max_tokens, room), service), call.dice)

    def _use(self, call: Call, request: MessageRequest, model: Model) -> InputUse:
        """The item's input; cached prompts are read and written at once, unlike in the API, where that is best effort."""
        assert call.account is not None
        if not has_breakpoints(request):
            return InputUse(count_tokens(request, model))
        cache, workspace, now_s = self._world.cache, call.account.workspace_id, self._world.monotonic_s()
        lookup = cache.look_up(workspace, positions(request, model, "standard"), model.min_cacheable_tokens, now_s)
        cache.commit(workspace, lookup.writes, now_s, now_s)
        return lookup.use


def batch_violation(request: MessageRequest) -> str | None:
    """The message of the 400 for what no item of a batch may ask for; None when the item asks for none of it."""
    if request.stream:
        return "stream: streaming is not supported in batches"
    if request.speed is not None:
        return "speed: not supported in batches"
    if request.max_tokens == 0:
        return "max_tokens: 0 is not supported in batches"
    return "fallbacks: not supported in batches" if request.fallbacks is not None else None


def _within_batch(model: Model, call: Call) -> Model:
    """The model with the longer output that a batch may ask for by its beta header."""
    longest = model.batch_output_beta_tokens
    if longest is None or LONG_OUTPUT_BETA not in call.request.header(b"anthropic-beta"):
        return model
    return msgspec.structs.replace(model, max_output_tokens=longest)
