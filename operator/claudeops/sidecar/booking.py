"""Which model and which terms an answer is booked under, where it is not simply what was asked for.

An answer may have been served by another model than the one asked (the API's own fallback after a refusal), in several rounds
(``usage.iterations``: compaction and an advisor's rounds are not in the top-level fields), at other terms (fast, US, batch), or not
to its end.
"""

from __future__ import annotations

from typing import Final

from claudeops.catalogue import Model
from claudeops.catalogue.price import STANDARD, Tokens, is_long_prompt
from claudeops.sidecar.call import Call
from claudeops.sidecar.ledger import NO_MODEL, NO_TERMS, NO_USAGE, Used
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.usage import NO_EXTRAS, Usage, read_answer

FALLBACK_ROUND: Final = "fallback_message"
COMPACTION_ROUND: Final = "compaction"


def is_plain(call: Call) -> bool:
    """Is this the answer of the model asked, in one round, at standard terms, to its end?"""
    usage = call.usage
    return (
        usage.extras is NO_EXTRAS
        and usage.terms is STANDARD
        and usage.guessed is None
        and usage.is_known
        and (usage.model == call.model.id or not usage.model)
    )


def book(call: Call, runtime: Runtime) -> None:
    """Book an answer that is not plain; leaves in ``call.usage`` what counts against the limits of the group that was asked."""
    usage = call.usage
    if not usage.is_known:
        _book_unknown(call, runtime)
        return
    if usage.extras.rounds:
        _book_rounds(call, runtime)
    else:
        used = runtime.used_by(usage.model or call.model.id)
        used.guessed.output += usage.guessed or 0
        _book_part(used, usage, usage.tokens, is_unbilled=usage.extras.is_unbilled)
    if usage.extras.web_searches:
        runtime.used_by(usage.model or call.model.id).web_searches += usage.extras.web_searches


def book_probe(model: ModelRuntime, body: bytes) -> None:
    """A half-open probe of our own is paid for, and counts against the limits, like any request."""
    usage, counters = Usage(), model.group.counters
    counters.used_requests += 1
    if not read_answer(usage, body) or not usage.is_known:
        model.used.count_unknown(NO_USAGE)
        return
    model.used.standard.add(usage.tokens)
    counters.used_input += usage.uncached
    counters.used_output += usage.output


def context_tokens(usage: Usage) -> int:
    """How much of the context window the last round's prompt took."""
    last = next((one for one in reversed(usage.extras.rounds) if one.kind != COMPACTION_ROUND), None)
    return usage.total_input if last is None else last.prompt


def _book_unknown(call: Call, runtime: Runtime) -> None:
    """Nothing was said of its use: an estimate if it broke off, else not even that."""
    usage, used = call.usage, call.model.used
    if usage.guessed is None:
        used.count_unknown(NO_USAGE)
        return
    tokens = Tokens(int(call.estimated_input), usage.output, int(max(0.0, call.estimated_total - call.estimated_uncached)))
    used.guessed.add(tokens)
    _book_part(used, usage, tokens)


def _book_rounds(call: Call, runtime: Runtime) -> None:
    usage, asked = call.usage, call.model.model
    rounds = usage.extras.rounds
    is_served_elsewhere = any(one.kind == FALLBACK_ROUND for one in rounds)
    nameless = asked.id if is_served_elsewhere else usage.model or asked.id
    own = Tokens()
    for one in rounds:
        used = runtime.used_by(one.model or nameless)
        _book_part(used, usage, one.tokens, is_unbilled=usage.extras.is_unbilled or (is_served_elsewhere and one.is_declined))
        if _shares_limits(used.model, asked):
            own = own.plus(one.tokens)
    usage.input, usage.output, usage.cache_read, usage.write_5m, usage.write_1h = own


def _shares_limits(model: Model | None, asked: Model) -> bool:
    return model is not None and model.rate_limit_group == asked.rate_limit_group


def _book_part(used: Used, usage: Usage, tokens: Tokens, *, is_unbilled: bool = False) -> None:
    if is_unbilled:
        used.unbilled.add(tokens)
        return
    is_long = used.model is not None and is_long_prompt(used.model, tokens.prompt)
    terms = usage.terms._replace(is_long=is_long)
    used.account(terms).add(tokens)
    if used.model is None:
        used.count_unknown(NO_MODEL)
    elif used.rates(terms) is None:
        used.count_unknown(NO_TERMS)
