"""What happens after a failed attempt: account for it, then retry, or fall back to the next model, or give the failure to the client.

A retry waits without a place and takes a new one; it keeps arrival, deadline and class. A 429 pauses its whole group and goes before
its class; everything else backs off with full jitter. A fallback walks again from route with the client's original body.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable

from claudeops.policy.backoff import retry_wait_s
from claudeops.policy.breaker import CLOSED
from claudeops.sidecar.admission import Admission
from claudeops.sidecar.call import Call
from claudeops.sidecar.endpoint import MESSAGES, MODELS
from claudeops.sidecar.failure import FAST_LIMITED, NO_CONNECTION, RATE_LIMITED, THROTTLED, Failure
from claudeops.sidecar.level_headers import are_levels_high
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.settle import count_upstream, settle_usage
from claudeops.sidecar.stage.fit import can_take

UNAUTHORIZED = 401


class Recovery:
    """The retry and fallback flow of one runtime. ``walk_again`` starts a call's walk from route."""

    __slots__ = ("admission", "backing_off", "loop", "runtime", "walk_again")

    def __init__(self, loop: AbstractEventLoop, runtime: Runtime, *, admission: Admission, walk_again: Callable[[Call], None]) -> None:
        self.loop = loop
        self.runtime = runtime
        self.admission = admission
        self.walk_again = walk_again
        self.backing_off: set[Call] = set()

    def recover(self, call: Call, failure: Failure, now: float) -> bool:
        """Account for the attempt; True if the call goes on (it is parked or under way again), False: give the client the failure."""
        self.judge(call, failure, now)  # first: whom the free place goes to depends on what the breaker says now
        self._end_attempt(call, failure, now)
        if failure.status == UNAUTHORIZED:
            self.runtime.on_refused()
        kind = call.caller.kind
        if kind == MODELS:
            return False
        if failure.is_retryable and self._retry(call, failure, now):
            return True
        return kind == MESSAGES and failure.is_upstreams and self._fall_back(call, now)

    def judge(self, call: Call, failure: Failure, now: float) -> None:
        """Breaker, counters and the group's pause learn of a failed attempt. What is no message says nothing about the model: its
        429s pause its own small group and nothing else."""
        is_throttled = failure.status == THROTTLED
        if is_throttled and not failure.is_spend:
            call.group.limiter.pause(now + self._wait_s(call, failure))
        if call.caller.kind == MESSAGES:
            if is_throttled:
                self._count_throttle(call, failure, now)
            if failure.is_impatience:
                call.model.breaker.ignored(call.sent_at)
                return
            count_upstream(call, failure.status)
            if is_throttled and call.group.is_fast:
                call.model.breaker.ignored(call.sent_at)  # the model serves those who are in less of a hurry
                return
            self.judge_model(call.model, failure, call.sent_at, now)

    def judge_model(self, model: ModelRuntime, failure: Failure, sent_at: float, now: float) -> None:
        """The model's breaker learns of a failure."""
        breaker = model.breaker
        before = breaker.state
        retry_after_s = failure.retry_after_s or 0.0
        if failure.status == THROTTLED and not failure.is_spend:
            breaker.throttled(sent_at, now, retry_after_s)
        elif failure.status == NO_CONNECTION or failure.status >= 500:
            breaker.failed(sent_at, now, is_unreachable=failure.status == NO_CONNECTION, retry_after_s=retry_after_s)
        else:
            breaker.ignored(sent_at)
        if breaker.state != before:
            self._breaker_changed()

    def served(self, call: Call, now: float) -> None:
        """The API has given its whole answer."""
        if call.caller.kind == MESSAGES:
            count_upstream(call, call.status)
            self.model_succeeded(call.model, call.sent_at, now)

    def succeeded(self, call: Call, now: float) -> None:
        """The API serves this model."""
        if call.caller.kind == MESSAGES:
            self.model_succeeded(call.model, call.sent_at, now)

    def model_succeeded(self, model: ModelRuntime, sent_at: float, now: float) -> None:
        """The model's breaker learns of a success."""
        breaker = model.breaker
        before = breaker.state
        breaker.succeeded(sent_at, now)
        if breaker.state != before:
            self._breaker_changed()

    def _breaker_changed(self) -> None:
        """Tell the controller, and let everybody who waits choose again."""
        self.runtime.on_urgent("breaker")
        self.loop.call_soon(self.runtime.on_change)

    def forget(self, call: Call) -> None:
        """The client left while the call was backing off."""
        self.backing_off.discard(call)
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def take_stranded(self) -> list[Call]:
        """Those who back off for a model that may not be used now: they need not wait any longer."""
        stranded = [call for call in self.backing_off if not _is_in_use(call.model)]
        for call in stranded:
            self.forget(call)
        return stranded

    # -- parts

    def _end_attempt(self, call: Call, failure: Failure, now: float) -> None:
        if failure.is_counted:
            settle_usage(call, self.runtime, now)
        else:
            call.group.limiter.refund(call.estimated_input, now, entered_at=call.admitted_at, is_streamed=call.is_streamed)
        self.admission.release(call, now)

    def _count_throttle(self, call: Call, failure: Failure, now: float) -> None:
        counters = call.model.counters[call.tier]
        if call.group.is_fast and not failure.is_spend:
            counters.throttles[FAST_LIMITED] = counters.throttles.get(FAST_LIMITED, 0) + 1
            return
        counters.throttles[failure.cause] = counters.throttles.get(failure.cause, 0) + 1
        if failure.cause == RATE_LIMITED and failure.is_answer and are_levels_high(call, now):
            counters.throttles_above_level += 1
        if not failure.is_spend:
            counters.retry_after_s += failure.retry_after_s or 0.0
        self.runtime.on_urgent("429")

    def _wait_s(self, call: Call, failure: Failure) -> float:
        config = self.runtime.config
        assert config is not None
        rules = config.resilience.retry
        attempt = max(0, call.attempts - 1)
        return retry_wait_s(attempt, rules.initial_backoff_s, rules.max_backoff_s, failure.retry_after_s, self.runtime.rng)

    def _retry(self, call: Call, failure: Failure, now: float) -> bool:
        runtime = self.runtime
        assert runtime.config is not None
        model = call.model
        if call.attempts >= runtime.config.resilience.retry.max_attempts or not _is_in_use(model):
            return False
        is_throttled = failure.status == THROTTLED
        wait_s = max(0.0, call.group.limiter.paused_until - now) if is_throttled else self._wait_s(call, failure)
        if now + wait_s >= call.deadline or not runtime.retry_budget.withdraw():
            return False
        counters = model.counters[call.tier]
        cause = "connect" if failure.status == NO_CONNECTION else str(failure.status)
        counters.retries[cause] = counters.retries.get(cause, 0) + 1
        call.is_again = True
        if is_throttled:
            self.walk_again(call)
        else:
            self.backing_off.add(call)
            call.timer = self.loop.call_later(wait_s, self._again, call)
        return True

    def _again(self, call: Call) -> None:
        call.timer = None
        self.backing_off.discard(call)
        self.walk_again(call)

    def _fall_back(self, call: Call, now: float) -> bool:
        """Walk again behind the model that failed, if one of the next may serve."""
        if call.model not in call.tiers or now >= call.deadline:
            return False
        floor = call.tiers.index(call.model) + 1
        if not any(_is_in_use(tier) and not can_take(tier, call, self.runtime) for tier in call.tiers[floor:]):
            return False
        call.floor = floor
        call.attempts = 0
        call.is_again = True
        self.walk_again(call)
        return True


def _is_in_use(model: ModelRuntime) -> bool:
    """Ordinary traffic goes there."""
    return model.breaker.state == CLOSED and not model.is_flipped
