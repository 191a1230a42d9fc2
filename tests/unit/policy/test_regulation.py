"""Capacity, water-fill, shares and limiter wired together against a small event-driven model of the API: the quota regulator's proof."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import exp
from random import Random

import pytest

from claudeops.policy.backoff import pause_s
from claudeops.policy.capacity import REQUEST_CAPACITY, CapacityParameters, CapacityState, Observation, step_capacity
from claudeops.policy.level import Sample
from claudeops.policy.limiter import GroupLimiter
from claudeops.policy.rates import Rates
from claudeops.policy.safety import SafetyParameters, SafetyState, Throttling, step_safety
from claudeops.policy.shares import DemandMeter, WorkloadShare, lease_shares, probe_rate, proxy_demand
from claudeops.policy.waterfill import Claim, waterfill

LIMIT = (10.0, 10_000.0, 2_000.0)
"""600 requests, 600,000 input and 120,000 output tokens a minute: output binds."""
TTFT_S, TOKENS_PER_S, STEP_S, REPORT_S = 0.8, 60.0, 0.25, 5.0


class Api:
    """Three coupled buckets of `burst_s` seconds; output is debited as produced, running streams are never cut."""

    def __init__(self, burst_s: float) -> None:
        self.burst_s = burst_s
        self.limit = list(LIMIT)
        self.level = [limit * burst_s for limit in LIMIT]
        self.at = 0.0
        self.used = [0.0, 0.0, 0.0]
        self.accepted = self.refused = 0

    def refill(self, now: float) -> None:
        for d in range(3):
            self.level[d] = min(self.limit[d] * self.burst_s, self.level[d] + (now - self.at) * self.limit[d])
        self.at = now

    def take(self, dimension: int, amount: float) -> None:
        self.level[dimension] -= amount
        self.used[dimension] += amount

    def ask(self, input_tokens: float, now: float) -> bool:
        self.refill(now)
        if self.level[0] < 1.0 or self.level[1] < input_tokens or self.level[2] <= 0.0:
            self.refused += 1
            return False
        self.take(0, 1.0)
        self.take(1, input_tokens)
        self.accepted += 1
        return True

    def samples(self, now: float) -> tuple[Sample, Sample, Sample]:
        """The headers: tokens rounded to the nearest thousand."""
        self.refill(now)
        rounded = [max(0.0, self.level[0]), *(max(0.0, round(level, -3)) for level in self.level[1:])]
        return tuple(Sample(self.limit[d], float(int(rounded[d])), now) for d in range(3))  # type: ignore[return-value]


@dataclass
class Proxy:
    name: str
    limiter: GroupLimiter
    meters: DemandMeter
    held: Rates
    queue: list[tuple[float, float]] = field(default_factory=list)
    samples: list[tuple[Sample, Sample, Sample]] = field(default_factory=list)
    throttles: int = 0


class Run:
    """`proxies` proxies of one workload offer `times` what the output limit can carry; half of the answers are not streamed."""

    def __init__(self, *, burst_s: float, proxies: int = 3, times: float = 4.0, seed: int = 1) -> None:
        self.rng = Random(seed)
        self.api = Api(burst_s)
        start = Rates(0.5, 1000.0, 53.0)
        self.proxies = [Proxy(f"p{i}", GroupLimiter(start, 0.0), DemandMeter(0.0), start) for i in range(proxies)]
        self.capacity = [CapacityState(), CapacityState(), CapacityState()]
        self.safety = SafetyState()
        self.reported: dict[str, tuple[float, int]] = {}
        self.inbox: list[tuple[Sample, Sample, Sample]] = []
        self.recent: list[tuple[float, int]] = []
        self.refusals: list[float] = []
        self.offered_per_s = times * LIMIT[2] / 480.0
        self.events: list[tuple[float, int, str, tuple[object, ...]]] = []
        self.sequence = 0
        self.charges: list[tuple[float, float]] = []

    def at(self, when: float, kind: str, *what: object) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (when, self.sequence, kind, what))

    def play(self, seconds: float) -> None:
        if not self.sequence:
            self.at(0.0, "decide")
            for index, proxy in enumerate(self.proxies):
                self.at(0.01 * index, "arrive", proxy)
                self.at(0.1 + REPORT_S * index / len(self.proxies), "report", proxy)
        while self.events and self.events[0][0] < seconds:
            now, _, kind, what = heapq.heappop(self.events)
            getattr(self, kind)(now, *what)

    def arrive(self, now: float, proxy: Proxy) -> None:
        proxy.meters.offer(1.0)
        if len(proxy.queue) < 60:
            proxy.queue.append((1500.0 * exp(self.rng.gauss(0.0, 0.6)), 350.0 * exp(self.rng.gauss(0.0, 0.8))))
        self.at(now + self.rng.expovariate(self.offered_per_s / len(self.proxies)), "arrive", proxy)
        self.pump(now, proxy)

    def pump(self, now: float, proxy: Proxy) -> None:
        while proxy.queue:
            input_tokens, output = proxy.queue[0]
            is_streamed = self.sequence % 2 == 0
            if not proxy.limiter.try_admit(input_tokens, now, is_streamed):
                return
            proxy.queue.pop(0)
            accepted = self.api.ask(input_tokens, now)
            samples = self.api.samples(now)
            if accepted:
                if is_streamed:
                    self.see(proxy, samples, now)
                self.at(now + TTFT_S + STEP_S, "produce", proxy, output, now, is_streamed, output, samples)
            else:
                self.refusals.append(now)
                proxy.throttles += 1
                self.see(proxy, samples, now)
                proxy.limiter.refund(input_tokens, now, entered_at=now, is_streamed=is_streamed)
                proxy.limiter.pause(now + pause_s(1.0, self.rng))
                proxy.queue.insert(0, (input_tokens, output))
                self.report(now, proxy, False)

    def see(self, proxy: Proxy, samples: tuple[Sample, Sample, Sample], now: float) -> None:
        for dimension, sample in enumerate(samples):
            proxy.limiter.see_level(dimension, sample, now)
        proxy.samples.append(samples)

    def produce(self, now: float, proxy: Proxy, *what: object) -> None:
        left, began, is_streamed, total, samples = what
        tokens = min(float(left), TOKENS_PER_S * STEP_S)  # type: ignore[arg-type]
        self.api.refill(now)
        self.api.take(2, tokens)
        if is_streamed:
            proxy.limiter.produced(tokens, now)
        rest = left - tokens  # type: ignore[operator]
        if rest > 0.0:
            self.at(now + STEP_S, "produce", proxy, rest, began, is_streamed, total, samples)
            return
        if is_streamed:
            proxy.limiter.leave(now)
        else:
            self.see(proxy, samples, now)  # type: ignore[arg-type]
            proxy.limiter.leave_whole(total, began, now)  # type: ignore[arg-type]
        self.pump(now, proxy)

    def report(self, now: float, proxy: Proxy, is_regular: bool = True) -> None:
        self.reported[proxy.name] = (proxy.meters.rate_per_s(now), len(proxy.queue))
        self.inbox += proxy.samples
        proxy.samples = []
        self.recent += [(now, 1)] * proxy.throttles
        proxy.throttles = 0
        if is_regular:
            self.at(now + REPORT_S, "report", proxy)

    def decide(self, now: float) -> None:
        self.at(now + 1.0, "decide")
        for proxy in self.proxies:
            self.pump(now, proxy)
        self.recent = [(when, count) for when, count in self.recent if now - when < 5.0]
        is_fresh = all(state.is_fresh for state in self.capacity)
        seen = Throttling(requests_5s=50, throttles_5s=len(self.recent), retry_after_s=1.0, has_fresh_headers=is_fresh)
        self.safety = step_safety(self.safety, seen, now, dt_s=1.0, parameters=SafetyParameters())
        inbox, self.inbox = self.inbox, []
        leases: dict[str, list[float]] = {proxy.name: [] for proxy in self.proxies}
        for dimension in range(3):
            observation = Observation(
                dt_s=1.0,
                declared_per_s=LIMIT[dimension],
                samples=tuple(samples[dimension] for samples in inbox),
                is_queued=any(queued for _, queued in self.reported.values()),
                weight=self.safety.weight,
                is_distrusted=self.safety.is_distrusted(now),
                is_cut=self.safety.is_cut(now, SafetyParameters()),
            )
            parameters = REQUEST_CAPACITY if dimension == 0 else CapacityParameters()
            state = self.capacity[dimension] = step_capacity(self.capacity[dimension], observation, now, parameters)
            for name, lease in self.share(dimension, state.capacity).items():
                leases[name].append(lease)
        limits = Rates(*(state.limit_per_s for state in self.capacity))
        full_s = Rates(*(state.full_s for state in self.capacity))
        for proxy in self.proxies:
            if len(leases[proxy.name]) == 3:
                proxy.held = Rates(*leases[proxy.name])
                proxy.limiter.set_lease(proxy.held, now, limits=limits, full_s=full_s)

    def share(self, dimension: int, capacity: float) -> dict[str, float]:
        cost = (1.0, 1500.0 * exp(0.18), 482.0)[dimension]
        probe = probe_rate(capacity, len(self.proxies))
        demands = {name: proxy_demand(rate, queued, cost, probe) for name, (rate, queued) in self.reported.items()}
        fill = waterfill(capacity, [Claim("w", sum(demands.values()))])
        held = {proxy.name: proxy.held.as_tuple()[dimension] for proxy in self.proxies}
        shares = lease_shares(capacity, [WorkloadShare(fill.grants["w"], demands)], held, probe)
        self.charges.append((sum(share.charge for share in shares.values()), self.api.limit[dimension]))
        return {name: share.lease for name, share in shares.items()}


def settled(run: Run, from_s: float = 20.0, to_s: float = 120.0) -> tuple[float, float]:
    """(share of the output limit used, share of requests refused) between two times."""
    run.play(from_s)
    used, accepted, refused = run.api.used[2], run.api.accepted, run.api.refused
    run.play(to_s)
    total = run.api.accepted - accepted + run.api.refused - refused
    return (run.api.used[2] - used) / (LIMIT[2] * (to_s - from_s)), (run.api.refused - refused) / total


@pytest.mark.parametrize("seed", [1, 2])
def test_three_proxies_at_four_times_the_limit_use_it_all_and_are_hardly_refused(seed: int) -> None:
    run = Run(burst_s=5.0, seed=seed)
    used, refused = settled(run)
    assert used >= 0.95
    assert refused <= 0.002
    assert all(charge <= 1.1 * limit * 1.0001 for charge, limit in run.charges)


def test_a_halved_limit_is_followed_without_a_storm() -> None:
    run = Run(burst_s=5.0, seed=1)
    run.play(60.0)
    run.api.limit[2] /= 2.0
    run.api.level[2] = min(run.api.level[2], run.api.limit[2] * run.api.burst_s)
    before = len(run.refusals)
    run.play(100.0)
    used = run.api.used[2]
    run.play(160.0)
    assert len(run.refusals) - before <= 6
    assert (run.api.used[2] - used) / (60.0 * run.api.limit[2]) == pytest.approx(1.0, abs=0.05)
