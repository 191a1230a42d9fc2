"""From counters that only grow to reports of what is new."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.catalogue.price import Tokens
from claudeops.exchange import Assignment, Lease, Rates, Report, decode_report, encode_message
from claudeops.policy.level import Sample
from claudeops.policy.rates import OUTPUT
from claudeops.proxyconfig import ControllerAddress, ModelChoice, Objective, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.group import COUNT_TOKENS, GroupRuntime
from claudeops.sidecar.model import FALLBACK, PRIMARY, ModelRuntime
from claudeops.sidecar.report import CELLS_MAX, OLDEST_S, Position, ReportDesk, Taken
from claudeops.sidecar.runtime import Runtime

MODEL = "claude-sonnet-5-5"
CONFIG = ProxyConfig(
    revision=3,
    workload=WorkloadKey(namespace="support", name="bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    controller=ControllerAddress(url="https://exchange:8443/v1/exchange", server_name="exchange", ca_bundle="", audience="a"),
    model=ModelChoice(name=MODEL, fallbacks=("claude-sonnet-4-6",)),
    objectives=(
        Objective(indicator="TimeToFirstToken", threshold_s=1.0, objective_percent=95),
        Objective(indicator="Latency", threshold_s=9.0, objective_percent=99),
    ),
)
AT = Position(epoch=0, version=0, config=CONFIG, config_hash="abc")


class Bench:
    """A runtime with the configuration in force, and its desk, at a time of the test's own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.runtime = Runtime(lambda: self.now, wall_clock=lambda: 1_800_000_000.0 + self.now)
        self.runtime.apply_config(CONFIG, self.now)
        self.desk = ReportDesk(self.runtime, "uid-1", self.now, open_connections=lambda: 6)
        model = self.runtime.model(MODEL, self.now)
        assert model is not None
        self.model: ModelRuntime = model
        self.group: GroupRuntime = model.group

    def make(self, after_s: float = 5.0, *, position: Position = AT, is_urgent: bool = False) -> tuple[Report, Taken]:
        self.now += after_s
        report, taken = self.desk.make(position, self.now, is_urgent=is_urgent)
        assert decode_report(encode_message(report)) == report
        return report, taken


def test_a_report_says_who_speaks_and_what_is_in_force() -> None:
    bench = Bench()
    report, _ = bench.make(position=Position(4, 9, CONFIG, "abc"), is_urgent=True)
    assert (report.instance, report.workload, report.revision, report.config_hash) == ("uid-1", CONFIG.workload, 3, "abc")
    assert (report.epoch, report.version, report.is_urgent, report.lease_state) == (4, 9, True, "Baseline")
    assert (report.open_connections, report.interval_s) == (6, 5.0)
    assert not report.is_draining


def test_each_report_has_a_higher_sequence_than_the_one_before() -> None:
    bench = Bench()
    numbers = [bench.make()[0].sequence for _ in range(3)]
    assert numbers == sorted(set(numbers)) and numbers[0] > 0


def test_demand_and_use_are_rates_over_the_time_since_the_last_report() -> None:
    bench = Bench()
    bench.make()
    counters = bench.group.counters
    counters.offered_requests, counters.offered_input, counters.offered_output = 20, 4000.0, 1000.0
    counters.used_requests, counters.used_input, counters.used_output = 10, 2000.0, 500.0
    counters.admitted, counters.shed, counters.ended, counters.latency_sum_s = 11, 3, 4, 8.0
    bench.group.in_flight = 2
    use = bench.make(after_s=10.0)[0].groups[bench.group.name]
    assert use.wants == Rates(requests=2.0, input_tokens=400.0, output_tokens=100.0)
    assert use.used == Rates(requests=1.0, input_tokens=200.0, output_tokens=50.0)
    assert (use.admitted, use.shed, use.in_flight, use.latency_s) == (11, 3, 2, 2.0)
    idle = bench.make()[0].groups[bench.group.name]
    assert (idle.wants, idle.used, idle.shed, idle.latency_s) == (Rates(), Rates(), 0, 0.0)


def test_the_small_pools_are_no_model_groups_and_are_not_reported() -> None:
    bench = Bench()
    bench.runtime.group(COUNT_TOKENS, bench.now)
    assert COUNT_TOKENS not in bench.make()[0].groups


def test_what_holds_is_the_lease_in_force() -> None:
    bench = Bench()
    lease = Lease(rates=Rates(requests=5.0, input_tokens=6.0, output_tokens=7.0), is_contended=True)
    bench.runtime.apply_assignment(Assignment(epoch=1, version=1, leases={bench.group.name: lease}), sent_at=bench.now, now=bench.now)
    report, _ = bench.make()
    assert report.groups[bench.group.name].holds == lease.rates
    assert report.lease_state == "Fresh"


def test_results_of_both_tiers_of_a_model_are_one() -> None:
    bench = Bench()
    primary, fallback = bench.model.counters[PRIMARY], bench.model.counters[FALLBACK]
    primary.upstream.update({200: 3, 429: 2})
    fallback.upstream.update({200: 1, 0: 1})
    primary.throttles["RateLimited"] = 2
    primary.throttles_above_level = 1
    primary.retry_after_s = 25.0
    primary.requests[(200, "")] = 4
    fallback.requests[(429, "quota")] = 5
    bench.model.used.standard.add(Tokens(input=20, cache_read=70, cache_write_5m=10))
    bench.runtime.fallback_requests = 5
    report, _ = bench.make()
    (results,) = report.results
    assert (results.model, results.codes, results.throttles) == (MODEL, {"200": 4, "429": 2, "0": 1}, {"RateLimited": 2})
    assert (results.throttles_above_level, results.retry_after_s) == (1, 12.5)
    assert (report.requests, report.fallback_requests, report.cache_read_tokens, report.cacheable_tokens) == (9, 5, 70, 100)
    assert bench.make()[0].results == []


def test_samples_carry_their_age_since_the_request_was_sent_and_old_ones_are_left_out() -> None:
    bench = Bench()
    bench.group.limiter.see_level(OUTPUT, Sample(limit_per_s=100.0, remaining=5500.0, sent_at=bench.now - 2.0), bench.now)
    (sample,) = bench.make(after_s=3.0)[0].samples
    assert (sample.group, sample.dimension, sample.limit_per_minute, sample.remaining) == (bench.group.name, "outputTokens", 6000.0, 5500.0)
    assert sample.age_s == pytest.approx(5.0)
    assert bench.make(after_s=60.0)[0].samples == []


def test_every_breaker_is_reported_as_it_is_now() -> None:
    bench = Bench()
    for index in range(5):
        bench.model.breaker.throttled(bench.now + index, bench.now + index)
    report, _ = bench.make(after_s=9.0)
    states = {breaker.model: breaker for breaker in report.breakers}
    assert states[MODEL].state == "Open" and states[MODEL].reason == "ConsecutiveThrottles"
    assert states[MODEL].since_s == pytest.approx(5.0)
    assert states["claude-sonnet-4-6"].state == "Closed"


def test_a_report_that_was_not_answered_gives_its_counts_and_its_time_to_the_next() -> None:
    bench = Bench()
    bench.group.counters.offered_requests = 10
    bench.model.counters[PRIMARY].upstream[429] = 3
    bench.runtime.window.latency.add(1.5)
    _, lost = bench.make()
    bench.desk.put_back(lost)
    bench.group.counters.offered_requests += 20
    report, _ = bench.make()
    assert report.interval_s == pytest.approx(10.0)
    assert report.groups[bench.group.name].wants.requests == pytest.approx(3.0)
    assert report.results[0].codes == {"429": 3}
    assert sum(count for _, count in report.sketches.latency) == 1
    assert bench.make()[0].sketches.latency == []


def test_the_429s_of_long_ago_are_dropped_and_do_not_mislead_a_controller_that_comes_back() -> None:
    bench = Bench()
    bench.model.counters[PRIMARY].upstream[429] = 3
    _, lost = bench.make(after_s=OLDEST_S + 1.0)
    bench.desk.put_back(lost)
    report, _ = bench.make()
    assert report.results == [] and report.interval_s == pytest.approx(5.0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["answered", "lost", "under way"])), max_size=12))
def test_whatever_gets_lost_each_count_is_reported_once(steps: list[tuple[int, str]]) -> None:
    bench = Bench()
    counters = bench.model.counters[PRIMARY]
    counters.upstream[200] = 0
    arrived, under_way = 0, []
    for count, fate in steps:
        counters.upstream[200] += count
        report, taken = bench.make(after_s=0.5)
        reported = sum(sum(results.codes.values()) for results in report.results)
        if fate == "lost":
            bench.desk.put_back(taken)
        elif fate == "under way":
            under_way.append(taken)
        else:
            arrived += reported
    for taken in under_way:
        bench.desk.put_back(taken)
    arrived += sum(sum(results.codes.values()) for results in bench.make()[0].results)
    assert arrived == sum(count for count, _ in steps)


def test_all_slo_cells_go_to_a_controller_that_has_not_confirmed_them_then_only_the_newest() -> None:
    bench = Bench()
    for cell in range(10):
        bench.runtime.slos[0].merge(cell, good=cell, total=10)
    bench.runtime.slos[1].merge(9, good=1, total=2)
    first, taken = bench.make()
    assert {(cell.indicator, cell.start) for cell in first.slo_cells} == {("TimeToFirstToken", n) for n in range(10)} | {("Latency", 9)}
    bench.desk.confirm(taken, epoch=4)
    at_four = Position(4, 1, CONFIG, "abc")
    second, taken = bench.make(position=at_four)
    assert sorted(cell.start for cell in second.slo_cells) == [8, 9, 9]
    bench.desk.confirm(taken, epoch=5)
    assert len(bench.make(position=Position(5, 1, CONFIG, "abc"))[0].slo_cells) == 11
    bench.desk.confirm(bench.make(position=Position(5, 1, CONFIG, "abc"))[1], epoch=5)
    assert len(bench.make(position=Position(5, 1, CONFIG, "abc"))[0].slo_cells) == 3
    bench.desk.forget_cells()
    assert len(bench.make(position=Position(5, 1, CONFIG, "abc"))[0].slo_cells) == 11


def test_more_cells_than_a_report_may_hold_lose_the_oldest() -> None:
    bench = Bench()
    for cell in range(150):
        for slo in bench.runtime.slos:
            slo.cells[cell] = [1, 1]
    cells = bench.make()[0].slo_cells
    assert len(cells) == CELLS_MAX and min(cell.start for cell in cells) == 150 - CELLS_MAX // 2


def test_recent_use_follows_what_was_really_used() -> None:
    bench = Bench()
    bench.group.counters.used_requests = 50
    bench.make(after_s=10.0)
    assert bench.group.recent_use.requests == pytest.approx(5.0)
    bench.make(after_s=10.0)
    assert bench.group.recent_use.requests == pytest.approx(5.0 / math.e)


def test_a_draining_proxy_says_so() -> None:
    bench = Bench()
    bench.runtime.start_drain()
    assert bench.make()[0].is_draining
