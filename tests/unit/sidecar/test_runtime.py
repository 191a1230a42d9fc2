"""What holds in a proxy: configuration, leases, flips; all by a clock of the test's own."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from claudeops.errors import InvalidResource
from claudeops.exchange import Assignment, Flip, Lease
from claudeops.exchange import Rates as LeaseRates
from claudeops.policy.rates import Rates as PolicyRates
from claudeops.policy.slo import SloWindow
from claudeops.proxyconfig import (
    Connections,
    ControllerAddress,
    Limits,
    ModelChoice,
    Objective,
    ProxyConfig,
    Rates,
    Upstream,
    WorkloadKey,
)
from claudeops.sidecar.runtime import NO_MAX_IN_FLIGHT, ORGANIZATIONS_MAX, Runtime

PRIMARY, FALLBACK, GROUP = "claude-sonnet-4-6", "claude-haiku-5-5", "sonnet-4.x"
CONTROLLER = ControllerAddress(url="https://exchange.invalid", server_name="exchange", ca_bundle="x", audience="a")
RATES = LeaseRates(requests=10.0, input_tokens=20_000.0, output_tokens=3_000.0)


def document(**parts: Any) -> ProxyConfig:
    blocks: dict[str, Any] = {
        "revision": 1,
        "workload": WorkloadKey(namespace="shop", name="bot"),
        "upstream": Upstream(base_url="http://upstream.invalid:8080"),
        "model": ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,)),
    }
    return ProxyConfig(**(blocks | parts))


def runtime(config: ProxyConfig | None = None) -> Runtime:
    made = Runtime(lambda: 0.0, wall_clock=lambda: 1e9, rng=Random(1))
    if config is not None:
        made.apply_config(config, 0.0)
    return made


def assign(target: Runtime, now: float, **parts: Any) -> None:
    blocks: dict[str, Any] = {"epoch": 1, "version": 1, "leases": {GROUP: Lease(rates=RATES)}}
    target.apply_assignment(Assignment(**(blocks | parts)), sent_at=now, now=now)


def held(target: Runtime) -> float:
    return target.groups[GROUP].limiter.lease.requests


def test_an_unknown_model_is_refused_and_the_last_good_document_stays() -> None:
    target = runtime(document())
    with pytest.raises(InvalidResource, match="claude-nonsense"):
        target.apply_config(document(revision=2, model=ModelChoice(name="claude-nonsense")), 1.0)
    assert target.config is not None
    assert target.config.revision == 1
    assert target.tiers[0].id == PRIMARY


@pytest.mark.parametrize("upstream", [Upstream(base_url="https://x", ca_bundle="nonsense"), Upstream(base_url="http://x:99999")])
def test_an_unusable_upstream_is_refused_and_the_last_good_document_stays(upstream: Upstream) -> None:
    target = runtime(document())
    with pytest.raises(InvalidResource):
        target.apply_config(document(revision=2, upstream=upstream), 1.0)
    assert target.target is not None
    assert target.target.address.host == "upstream.invalid"


def test_a_new_configuration_keeps_models_and_counters_and_empties_compiled_policies() -> None:
    target = runtime(document())
    model = target.tiers[0]
    model.counters[0].retries["529"] = 3
    model.adjustments[("x",)] = None  # type: ignore[assignment]
    target.apply_config(document(revision=2), 1.0)
    assert target.tiers[0] is model
    assert model.counters[0].retries == {"529": 3}
    assert model.adjustments == {}


def test_a_lease_is_fresh_then_reduced_then_the_baseline() -> None:
    limits = Limits(baseline={GROUP: Rates(requests_per_minute=120, input_tokens_per_minute=60_000, output_tokens_per_minute=6_000)})
    target = runtime(document(controller=CONTROLLER, limits=limits))
    assert (held(target), target.lease_phase.value) == (2.0, "Baseline")
    assign(target, 100.0, leases={GROUP: Lease(rates=RATES, is_contended=True)})
    assert (held(target), target.lease_phase.value) == (10.0, "Fresh")
    target.refresh_leases(114.9)
    assert held(target) == 10.0
    target.refresh_leases(115.1)
    assert (held(target), target.lease_phase.value) == (7.0, "Reduced")
    target.refresh_leases(716.0)
    assert (held(target), target.lease_phase.value) == (2.0, "Baseline")
    assign(target, 720.0)
    assert (held(target), target.lease_phase.value) == (10.0, "Fresh")


def test_a_lease_that_its_controller_takes_back_is_the_baselines_at_once_and_a_new_ones_silence_is_not() -> None:
    limits = Limits(baseline={GROUP: Rates(requests_per_minute=120, input_tokens_per_minute=60_000, output_tokens_per_minute=6_000)})
    target = runtime(document(controller=CONTROLLER, limits=limits))
    assign(target, 0.0)
    assign(target, 1.0, epoch=2, leases={})
    assert (held(target), target.lease_phase.value) == (10.0, "Fresh")
    assign(target, 2.0, epoch=2)
    assign(target, 3.0, epoch=2, version=2, leases={})
    assert (held(target), target.lease_phase.value) == (2.0, "Baseline")


def test_an_uncontended_lease_is_cut_to_recent_use_when_it_expires() -> None:
    target = runtime(document(controller=CONTROLLER))
    assign(target, 0.0)
    target.groups[GROUP].recent_use = PolicyRates(2.0, 5_000.0, 500.0)
    target.refresh_leases(20.0)
    assert held(target) == pytest.approx(1.4)


def test_without_a_controller_the_maximum_is_shared_by_the_replicas_that_may_be() -> None:
    limits = Limits(maximum=Rates(requests_per_minute=600), max_replicas=5)
    assert held(runtime(document(limits=limits))) == pytest.approx(2.0)
    assert held(runtime(document())) > 1e5, "nothing bounds it"


def test_max_in_flight_is_the_assignments_else_this_proxys_part() -> None:
    target = runtime(document(limits=Limits(max_in_flight=10, max_replicas=4), controller=CONTROLLER))
    assert target.max_in_flight == 2
    assign(target, 0.0, max_in_flight=7, connections=3)
    assert (target.max_in_flight, target.connections) == (7, 3)
    target.refresh_leases(16.0)
    assert target.max_in_flight == 2, "the lease is over"


def test_a_bound_that_is_taken_out_of_the_workload_bounds_no_longer() -> None:
    target = runtime(document(limits=Limits(max_in_flight=10), controller=CONTROLLER))
    assign(target, 0.0, max_in_flight=7)
    target.apply_config(document(revision=2, controller=CONTROLLER), 1.0)
    assign(target, 2.0)
    assert target.max_in_flight == NO_MAX_IN_FLIGHT


def test_flips_are_seen_once_and_told_to_the_request_path() -> None:
    target = runtime(document())
    told: list[str] = []
    target.on_change = lambda: told.append("change")
    target.on_room = lambda: told.append("room")
    assign(target, 0.0, flips=[Flip(model=PRIMARY, may_probe=True)])
    assert (target.tiers[0].is_flipped, target.tiers[0].may_probe) == (True, True)
    assign(target, 1.0, flips=[Flip(model=PRIMARY)])
    assert (target.tiers[0].is_flipped, target.tiers[0].may_probe) == (True, False)
    assign(target, 2.0)
    assert not target.tiers[0].is_flipped
    assert told == ["change", "room", "change"]


def test_a_model_that_is_met_later_is_flipped_too() -> None:
    target = runtime(document(model=ModelChoice(name=PRIMARY, client_choice="Allowed")))
    assign(target, 0.0, flips=[Flip(model=FALLBACK)])
    found = target.model(FALLBACK, 1.0)
    assert found is not None
    assert found.is_flipped
    assert target.model("claude-nonsense", 1.0) is None


def test_objectives_whose_threshold_changes_start_new_windows_and_the_others_go_on() -> None:
    latency = Objective(indicator="Latency", threshold_s=1.0, objective_percent=95.0)
    first = Objective(indicator="TimeToFirstToken", threshold_s=1.0, objective_percent=95.0)
    target = runtime(document(objectives=(latency, first)))
    of_latency, of_first = target.slos
    stricter = Objective(indicator="Latency", threshold_s=1.0, objective_percent=99.0)
    other = Objective(indicator="TimeToFirstToken", threshold_s=2.0, objective_percent=95.0)
    steps: list[tuple[tuple[Objective, ...], list[SloWindow | None]]] = [
        ((latency, first), [of_latency, of_first]),
        ((first, stricter), [of_first, of_latency]),
        ((other, latency), [None, of_latency]),
        ((latency,), [of_latency]),
        ((latency, latency), [of_latency, None]),
        ((), []),
        ((latency,), [None]),
    ]
    for revision, (objectives, windows) in enumerate(steps, start=2):
        target.apply_config(document(revision=revision, objectives=objectives), float(revision))
        assert len({id(window) for window in target.slos}) == len(windows)
        assert [found if found in (of_latency, of_first) else None for found in target.slos] == windows


def test_the_window_is_handed_over_once() -> None:
    target = runtime()
    target.window.latency.add(0.5)
    assert target.take_window().latency.total == 1
    assert target.take_window().latency.total == 0


def test_the_pool_has_the_size_of_the_assignment_else_the_configured_one() -> None:
    target = runtime(document(connections=Connections(max=40), controller=CONTROLLER))
    assign(target, 0.0)
    assert target.connections == 40
    target.apply_config(document(revision=2, connections=Connections(max=30), controller=CONTROLLER), 1.0)
    assert target.connections == 30, "the controller has not said anything else"
    assign(target, 2.0, connections=7)
    target.apply_config(document(revision=3, connections=Connections(max=20), controller=CONTROLLER), 3.0)
    assert target.connections == 7
    assign(target, 4.0)
    assert target.connections == 20


def test_the_organization_that_answered_last_is_the_last_one_also_where_a_wrong_key_was_put_right() -> None:
    target = runtime()
    for name in ("ours", "theirs", "ours"):
        target.see_organization(name, f"{name}-space")
    assert (list(target.organization_ids), list(target.workspace_ids)) == (["theirs", "ours"], ["theirs-space", "ours-space"])
    for number in range(2 * ORGANIZATIONS_MAX):
        target.see_organization(f"org-{number}", "")
    assert len(target.organization_ids) == ORGANIZATIONS_MAX and list(target.organization_ids)[-1] == f"org-{2 * ORGANIZATIONS_MAX - 1}"
