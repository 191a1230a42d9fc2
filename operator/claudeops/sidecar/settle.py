"""settle: estimates are corrected to what was used; limiter, breaker, counters and sketches learn the outcome."""

from __future__ import annotations

from typing import Final

from claudeops.policy.sketch import Sketch, bucket_of
from claudeops.sidecar.booking import book, context_tokens, is_plain
from claudeops.sidecar.call import Call
from claudeops.sidecar.counters import ModelCounters
from claudeops.sidecar.edit import REMOVE
from claudeops.sidecar.model import FALLBACK
from claudeops.sidecar.runtime import Runtime

GONE: Final = 499
"""The status under which a client that left is counted."""


def settle_answer(call: Call, runtime: Runtime, now: float, *, reason: str = "") -> None:
    """Count an answer given to the application (``call.status``; ``reason``: "" for what the API answered). How long it took is
    observed of messages only: counting tokens and listing models take a hundredth of the time, and would flatter every objective."""
    model = call.model or runtime.primary
    if model is None:
        return  # there is no configuration yet
    counters = model.counters[call.tier]
    key = (call.status, reason)
    counters.requests[key] = counters.requests.get(key, 0) + 1
    for name in call.adjusted:
        counters.adjusted[name] = counters.adjusted.get(name, 0) + 1
        if call.edits.get(_member(name)) == REMOVE:
            counters.left_out[name] = counters.left_out.get(name, 0) + 1
    if call.tier == FALLBACK:
        runtime.fallback_requests += 1
    if reason:
        if call.queue_s:
            counters.queue_wait.observe(call.queue_s)
    elif call.attempts and not call.group.is_auxiliary:
        _observe(call, runtime, counters, now)


def _member(name: str) -> str:
    """What an adjustment changes: all but one are called as the member."""
    return "output_config.effort" if name == "effort" else name


def count_passage(call: Call, now: float, *, reason: str = "") -> None:
    """Count an answer to what names no model (or many): by its pool."""
    counters = call.group.counters
    key = (call.status, reason)
    counters.answers[key] = counters.answers.get(key, 0) + 1
    if reason == "" and call.attempts:
        counters.duration.trace(now - call.arrived_at, call.answer_head, now)


def count_upstream(call: Call, status: int) -> None:
    """Count one answer of the API (0: no connection, 504: timed out here, 529: also inside a 200 stream)."""
    upstream = call.model.counters[call.tier].upstream
    upstream[status] = upstream.get(status, 0) + 1


def settle_usage(call: Call, runtime: Runtime, now: float) -> None:
    """The API counted this request: correct the debits, learn, and add up tokens and cost. Ends the limiter's admission."""
    group, usage = call.group, call.usage
    limiter = group.limiter
    used = group.counters
    used.used_requests += 1
    if not group.is_auxiliary:
        _count_tokens(call, runtime, now)
    if usage.is_known:
        uncached = usage.uncached
        if uncached != call.estimated_input:
            limiter.settle_input(call.estimated_input, uncached, entered_at=call.admitted_at, now=now)
            call.estimated_input = float(uncached)
        used.used_input += uncached
        used.used_output += usage.output
    else:
        used.used_input += call.estimated_input
        used.used_output += max(call.produced, usage.output)
    if call.is_streamed:
        if usage.is_known and usage.output != call.produced:
            limiter.produced(usage.output - call.produced, now)
        if not usage.is_known and call.first_byte_at < call.sent_at:
            limiter.leave_unheard(now, entered_at=call.admitted_at)
        else:
            limiter.leave(now)
    else:
        limiter.leave_whole(usage.output, call.sent_at, now)
    used.ended += 1
    used.latency_sum_s += now - call.sent_at


def settle_stream(call: Call, stream_bytes: int) -> None:
    """A stream has come to its end: how well its output was estimated by its bytes, and how to do it better."""
    model, output = call.model, call.usage.output
    if output and stream_bytes:
        estimated = stream_bytes * model.stream_tokens_per_byte.value
        model.counters[call.tier].output_estimate_error.observe(estimated / output)
    model.stream_tokens_per_byte.learn(output, stream_bytes)


def settle_input(call: Call, now: float) -> None:
    """The API said what it counted as input: the bucket is put right."""
    uncached = call.usage.uncached
    if uncached != call.estimated_input:
        call.group.limiter.settle_input(call.estimated_input, uncached, entered_at=call.admitted_at, now=now)
        call.estimated_input = float(uncached)


def _count_tokens(call: Call, runtime: Runtime, now: float) -> None:
    """Learn from what the API counted, and book it."""
    model, usage = call.model, call.usage
    counters = model.counters[call.tier]
    first = usage.first_prompt
    if first and call.estimated_total:
        counters.estimate_error.observe(call.estimated_total / first)
        model.tokens_per_byte.learn(first - call.extra_tokens, call.text_bytes)
    if is_plain(call):
        prompt = usage.input + usage.write_5m + usage.write_1h + usage.cache_read
        account = model.used.standard if prompt <= model.long_tokens else model.used.long
        account.input += usage.input
        account.output += usage.output
        account.cache_read += usage.cache_read
        account.write_5m += usage.write_5m
        account.write_1h += usage.write_1h
    else:
        prompt = context_tokens(usage)
        book(call, runtime)
    if prompt:
        counters.context_used.observe(prompt / model.context_tokens)
    if call.prefix and usage.is_known:
        runtime.prefixes.see(call.prefix, float(usage.cache_read or usage.write_5m + usage.write_1h), now)


def _observe(call: Call, runtime: Runtime, counters: ModelCounters, now: float) -> None:
    duration_s = now - call.arrived_at
    first_s = _observe_stream(call, counters, now) if call.is_streamed else None
    counters.duration.trace(duration_s, call.answer_head, now)
    if first_s is not None:
        counters.first_token.trace(first_s, call.answer_head, now)
    window = runtime.window
    if call.queue_s:
        counters.queue_wait.observe(call.queue_s)
        _add(window.queue_wait, bucket_of(call.queue_s))
    else:
        counts = counters.queue_wait.counts
        counts[0] = counts[0] + 1
        _add(window.queue_wait, 0)
    if call.attempts == 1 and not call.is_again:
        counters.overhead.observe(call.sent_at - call.arrived_at - call.queue_s + runtime.clock() - now)
    if call.status != 200:
        return
    bucket = bucket_of(duration_s)
    _add(window.latency, bucket)
    if first_s is not None:
        _add(window.first_token, bucket_of(first_s))
    if runtime.slos:
        _observe_slos(runtime, duration_s, first_s)


def _observe_stream(call: Call, counters: ModelCounters, now: float) -> float | None:
    """Returns the seconds to the first token, which only a stream with content has: a JSON answer's is its last."""
    first_at = call.first_content_at
    if not first_at:
        return None
    if call.usage.output > 1:
        counters.output_interval.observe((now - first_at) / (call.usage.output - 1))
    return first_at - call.arrived_at


def _add(sketch: Sketch, bucket: int) -> None:
    counts = sketch.counts
    counts[bucket] = counts.get(bucket, 0) + 1
    sketch.total += 1


def _observe_slos(runtime: Runtime, duration_s: float, first_s: float | None) -> None:
    assert runtime.config is not None
    wall = runtime.wall_clock()
    for objective, slo in zip(runtime.config.objectives, runtime.slos, strict=True):
        seconds = first_s if objective.indicator == "TimeToFirstToken" else duration_s
        if seconds is not None:
            slo.add(1 if seconds <= objective.threshold_s else 0, 1, wall)
