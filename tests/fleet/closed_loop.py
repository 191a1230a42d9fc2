"""A closed loop in virtual time: applications, real limiters as proxies, the real fleet, and an API of three coupled buckets."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import exp
from random import Random

from tests.unit.fleet.world import GROUP, PRIMARY, config, key, quota, workload

from claudeops.exchange import DIMENSIONS, Assignment, GroupUse, LevelSample, ModelResults, Rates, Report
from claudeops.fleet import Fleet, FleetSettings
from claudeops.policy.bucket import TokenBucket
from claudeops.policy.level import Sample
from claudeops.policy.limiter import GroupLimiter
from claudeops.policy.rates import Rates as PolicyRates

TTFT_S = 0.8
TOKENS_PER_S = 60.0
MAX_WAIT_S = 20.0


@dataclass
class Request:
    arrived_at: float
    input_tokens: float
    output_tokens: float
    is_streamed: bool


class Api:
    """Requests and input are debited at the start, output as it is produced; running streams may take the bucket into debt."""

    def __init__(self, limits: tuple[float, float, float], burst_s: float, now: float) -> None:
        self.limits = limits
        self.buckets = [TokenBucket(limit, limit * burst_s, now) for limit in limits]
        self.used = [0.0, 0.0, 0.0]
        self.throttled = 0
        self.outside_share = 0.0

    def refill(self, now: float) -> None:
        for bucket, limit in zip(self.buckets, self.limits, strict=True):
            elapsed_s = max(0.0, now - bucket.updated_at)
            bucket.refill(now)
            bucket.debit(self.outside_share * limit * elapsed_s)

    def halve(self) -> None:
        """Half of every limit from now on; bursts are as many seconds of it as before."""
        first, second, third = (limit / 2.0 for limit in self.limits)
        self.limits = (first, second, third)
        for bucket, limit in zip(self.buckets, self.limits, strict=True):
            bucket.set_rate(limit, bucket.burst / 2.0, bucket.updated_at)

    def start(self, request: Request, now: float) -> bool:
        self.refill(now)
        requests, tokens, output = self.buckets
        if requests.level < 1.0 or tokens.level < request.input_tokens or output.level <= 0.0:
            self.throttled += 1
            return False
        requests.debit(1.0)
        tokens.debit(request.input_tokens)
        self.used[0] += 1.0
        self.used[1] += request.input_tokens
        return True

    def produce(self, tokens: float, now: float) -> None:
        self.refill(now)
        self.buckets[2].debit(tokens)
        self.used[2] += tokens

    def headers(self, now: float) -> list[tuple[float, float]]:
        """(limit a second, remaining), tokens rounded to thousands."""
        self.refill(now)
        readings = []
        for index, bucket in enumerate(self.buckets):
            remaining = max(0.0, bucket.level)
            readings.append((self.limits[index], float(int(remaining)) if index == 0 else 1000.0 * round(remaining / 1000.0)))
        return readings


@dataclass
class LoopProxy:
    name: str
    limiter: GroupLimiter
    queue: deque[Request] = field(default_factory=deque)
    offered: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    used: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    samples: dict[int, tuple[Sample, float]] = field(default_factory=dict)
    assignment: Assignment | None = None
    sequence: int = 0
    reported_at: float = 0.0
    urgent_at: float = -10.0
    good: int = 0
    throttled: int = 0
    latency_sum_s: float = 0.0
    in_flight: int = 0


class ClosedLoop:
    """Steps by events; ``run`` advances the clock. Everything random comes from one seed."""

    def __init__(self, *, proxies: int, demand_per_s: float, burst_s: float, seed: int = 1, settings: FleetSettings | None = None) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.settings = settings or FleetSettings()
        self.fleet = Fleet(self.settings)
        self.fleet.set_quota(quota())
        self.fleet.set_workload(workload(), config(workload()))
        self.fleet.begin(1, -100.0)
        self.api = Api((10.0, 10_000.0, 2000.0), burst_s, 0.0)
        self.demand_per_s = demand_per_s
        baseline = PolicyRates(0.5, 1000.0, 53.0)
        self.proxies = [LoopProxy(f"pod-{index}", GroupLimiter(baseline, 0.0)) for index in range(proxies)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()
        self._at(0.0, self._tick)
        for index, proxy in enumerate(self.proxies):
            self._at(0.01 * index, lambda proxy=proxy: self._poll(proxy))  # type: ignore[misc]
            self._arrive_later(proxy)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._serial), action))

    # -- applications

    def _arrive_later(self, proxy: LoopProxy) -> None:
        rate = self.demand_per_s / len(self.proxies)
        self._at(self.now + self.random.expovariate(rate), lambda: self._arrive(proxy))

    def _arrive(self, proxy: LoopProxy) -> None:
        output = min(4000.0, 350.0 * exp(self.random.gauss(0.0, 0.8)))
        request = Request(self.now, 300.0 * exp(self.random.gauss(0.0, 0.5)), output, self.random.random() < 0.5)
        for index, amount in enumerate((1.0, request.input_tokens, 480.0)):
            proxy.offered[index] += amount
        proxy.queue.append(request)
        self._admit(proxy)
        if proxy.queue and self.now - proxy.urgent_at > 5.0:
            self._report_urgently(proxy)
        self._arrive_later(proxy)

    # -- proxies

    def _admit(self, proxy: LoopProxy) -> None:
        while proxy.queue and self.now - proxy.queue[0].arrived_at > MAX_WAIT_S:
            proxy.queue.popleft()
        while proxy.queue:
            head = proxy.queue[0]
            if not proxy.limiter.try_admit(head.input_tokens, self.now, head.is_streamed):
                return
            proxy.queue.popleft()
            self._send(proxy, head)

    def _send(self, proxy: LoopProxy, request: Request) -> None:
        if not self.api.start(request, self.now):
            proxy.throttled += 1
            proxy.limiter.refund(request.input_tokens, self.now, entered_at=self.now, is_streamed=request.is_streamed)
            proxy.limiter.pause(self.now + 1.0)
            proxy.queue.appendleft(request)
            self._at(self.now + 1.0, lambda: self._admit(proxy))
            self._report_urgently(proxy)
            return
        proxy.in_flight += 1
        proxy.used[0] += 1.0
        proxy.used[1] += request.input_tokens
        headers = self.api.headers(self.now)
        sent_at = self.now
        seconds = request.output_tokens / TOKENS_PER_S
        if request.is_streamed:
            self._at(self.now + 0.2, lambda: self._see(proxy, headers, sent_at))
        chunk = 10.0 if request.is_streamed else 60.0
        chunks = max(1, int(request.output_tokens / chunk))
        for index in range(chunks):
            at = self.now + TTFT_S + seconds * (index + 1) / chunks
            self._at(at, lambda: self._produce(proxy, request, request.output_tokens / chunks))
        self._at(self.now + TTFT_S + seconds + 1e-6, lambda: self._finish(proxy, request, headers, sent_at))

    def _produce(self, proxy: LoopProxy, request: Request, tokens: float) -> None:
        self.api.produce(tokens, self.now)
        if request.is_streamed:
            proxy.used[2] += tokens
            proxy.limiter.produced(tokens, self.now)

    def _finish(self, proxy: LoopProxy, request: Request, headers: list[tuple[float, float]], sent_at: float) -> None:
        proxy.in_flight -= 1
        proxy.good += 1
        proxy.latency_sum_s += self.now - sent_at
        if request.is_streamed:
            proxy.limiter.leave(self.now)
        else:
            proxy.used[2] += request.output_tokens
            proxy.limiter.leave_whole(request.output_tokens, sent_at, self.now)
            self._see(proxy, headers, sent_at)
        self._admit(proxy)

    def _see(self, proxy: LoopProxy, headers: list[tuple[float, float]], sent_at: float) -> None:
        for index, (limit, remaining) in enumerate(headers):
            sample = Sample(limit, remaining, sent_at)
            if proxy.limiter.see_level(index, sample, self.now):
                self._report_urgently(proxy)
            if index not in proxy.samples or proxy.samples[index][0].sent_at <= sent_at:
                proxy.samples[index] = (sample, sent_at)

    # -- the exchange

    def _report(self, proxy: LoopProxy, *, is_urgent: bool) -> None:
        interval_s = max(0.001, self.now - proxy.reported_at)
        proxy.reported_at = self.now
        proxy.sequence += 1
        ended = proxy.good
        use = GroupUse(
            wants=_rates(proxy.offered, interval_s),
            used=_rates(proxy.used, interval_s),
            holds=_wire(proxy.limiter.lease),
            queued=len(proxy.queue),
            in_flight=proxy.in_flight,
            latency_s=proxy.latency_sum_s / ended if ended else 0.0,
        )
        report = Report(
            instance=proxy.name,
            workload=key(),
            sequence=proxy.sequence,
            revision=1,
            is_urgent=is_urgent,
            interval_s=interval_s,
            groups={GROUP: use},
            samples=[
                LevelSample(
                    group=GROUP,
                    dimension=DIMENSIONS[index],
                    limit_per_minute=sample.limit_per_s * 60.0,
                    remaining=sample.remaining,
                    age_s=self.now - sent_at,
                )
                for index, (sample, sent_at) in proxy.samples.items()
            ],
            results=[ModelResults(model=PRIMARY, codes={"200": ended, "429": proxy.throttled}, throttles={"RateLimited": proxy.throttled})],
        )
        proxy.offered, proxy.used = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        proxy.good = proxy.throttled = 0
        proxy.latency_sum_s = 0.0
        self.fleet.accept(report, self.now)
        if self.fleet.next_tick_at(self.now) <= self.now:
            self._decide()

    def _report_urgently(self, proxy: LoopProxy) -> None:
        if self.now - proxy.urgent_at < 0.5:
            return
        proxy.urgent_at = self.now
        self._at(self.now + 0.1, lambda: self._speak(proxy, is_urgent=True))

    def _speak(self, proxy: LoopProxy, *, is_urgent: bool) -> None:
        self._report(proxy, is_urgent=is_urgent)
        self._listen(proxy)

    def _poll(self, proxy: LoopProxy) -> None:
        self._speak(proxy, is_urgent=False)
        self._at(self.now + self.settings.report_interval_s, lambda: self._poll(proxy))

    def _listen(self, proxy: LoopProxy) -> None:
        proxy.assignment = self.fleet.assignment_for(proxy.name, self.now)
        lease = proxy.assignment.leases.get(GROUP)
        if lease is not None:
            limits, full_s = _policy(lease.limits), _policy(lease.full_s)
            proxy.limiter.set_lease(_policy(lease.rates), self.now, limits=limits, full_s=full_s)
            self._admit(proxy)

    def _tick(self) -> None:
        self._decide()
        for proxy in self.proxies:
            self._admit(proxy)
        self._at(self.now + 0.1, self._sweep)

    def _sweep(self) -> None:
        """What timers do in the proxy: whoever waits for a bucket is looked at again."""
        for proxy in self.proxies:
            self._admit(proxy)
        if self.fleet.next_tick_at(self.now) <= self.now:
            self._decide()
        self._at(self.now + 0.02, self._sweep)

    def _decide(self) -> None:
        self.fleet.tick(self.now)
        pushes = self.fleet.take_pushes()
        for proxy in self.proxies:
            if proxy.name in pushes:
                self._listen(proxy)


def _rates(amounts: list[float], interval_s: float) -> Rates:
    return Rates(requests=amounts[0] / interval_s, input_tokens=amounts[1] / interval_s, output_tokens=amounts[2] / interval_s)


def _wire(rates: PolicyRates) -> Rates:
    return Rates(requests=rates.requests, input_tokens=rates.input_tokens, output_tokens=rates.output_tokens)


def _policy(rates: Rates) -> PolicyRates:
    return PolicyRates(rates.requests, rates.input_tokens, rates.output_tokens)
