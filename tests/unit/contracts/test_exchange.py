"""The sidecar ↔ controller contract: what a report and an assignment look like, and that nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.contracts.test_proxyconfig import SMALLEST as CONFIG
from tests.unit.golden import check_golden
from tests.unit.table import every

from claudeops.errors import InvalidResource
from claudeops.exchange import (
    DIMENSIONS,
    Assignment,
    BreakerReport,
    Flip,
    GroupUse,
    Lease,
    LevelSample,
    ModelResults,
    Rates,
    Report,
    Sketches,
    SloCell,
    decode_assignment,
    decode_report,
    encode_message,
)
from claudeops.proxyconfig import WorkloadKey

GOLDEN = Path(__file__).parent / "golden"
WORKLOAD = WorkloadKey(namespace="shop", name="support-bot")
SMALLEST_REPORT = Report(instance="0b9f", workload=WORKLOAD, sequence=1, revision=0)
FULL_REPORT = Report(
    instance="0b9f6c1e-0000-4000-8000-000000000000",
    workload=WORKLOAD,
    sequence=42,
    revision=7,
    config_hash="0123456789ab",
    epoch=3,
    version=99,
    lease_state="Fresh",
    is_urgent=True,
    is_draining=True,
    has_key=False,
    interval_s=5.0,
    groups={
        "sonnet-5.5": GroupUse(
            wants=Rates(requests=10, input_tokens=20_000, output_tokens=3_000),
            used=Rates(requests=8, input_tokens=16_000, output_tokens=2_400),
            holds=Rates(requests=8, input_tokens=17_000, output_tokens=2_500),
            queued=12,
            shed=3,
            in_flight=7,
            admitted=40,
            latency_s=1.25,
        )
    },
    samples=[LevelSample(group="sonnet-5.5", dimension="inputTokens", limit_per_minute=600_000, remaining=480_000, age_s=0.8)],
    results=[
        ModelResults(
            model="claude-sonnet-5-5",
            codes={"200": 38, "429": 2, "0": 1},
            throttles={"RateLimited": 2},
            throttles_above_level=1,
            retry_after_s=12.5,
        )
    ],
    breakers=[BreakerReport(model="claude-sonnet-5-5", state="Open", reason="ConsecutiveThrottles", since_s=2.5, requests=20, errors=10)],
    requests=41,
    fallback_requests=4,
    open_connections=9,
    sketches=Sketches(latency=[[3, 1], [9, 40]], time_to_first_token=[[2, 41]], queue_wait=[[1, 41]]),
    slo_cells=[SloCell(indicator="Latency", start=5879333, good=39, total=41)],
    cache_read_tokens=1_000,
    cacheable_tokens=16_000,
    organization_ids=["org-a"],
    workspace_ids=["space-a"],
)
SMALLEST_ASSIGNMENT = Assignment(epoch=0, version=1)
FULL_ASSIGNMENT = Assignment(
    epoch=3,
    version=100,
    ttl_s=10.0,
    report_interval_s=2.0,
    leases={
        "sonnet-5.5": Lease(
            rates=Rates(requests=5, input_tokens=10_000, output_tokens=1_500),
            is_contended=True,
            limits=Rates(requests=10, input_tokens=10_000, output_tokens=2_000),
            full_s=Rates(requests=5, input_tokens=5, output_tokens=5),
        )
    },
    connections=12,
    max_in_flight=64,
    flips=[Flip(model="claude-sonnet-5-5", may_probe=True)],
    retry_budget_scale=0.5,
    config=CONFIG,
)
REPORTS = [("smallest", SMALLEST_REPORT), ("full", FULL_REPORT)]
ASSIGNMENTS = [("smallest", SMALLEST_ASSIGNMENT), ("full", FULL_ASSIGNMENT)]


@pytest.mark.parametrize(("name", "report"), REPORTS)
def test_a_report_keeps_its_shape(name: str, report: Report) -> None:
    check_golden(GOLDEN / f"report-{name}.json", json.loads(encode_message(report)))


@pytest.mark.parametrize(("name", "assignment"), ASSIGNMENTS)
def test_an_assignment_keeps_its_shape(name: str, assignment: Assignment) -> None:
    check_golden(GOLDEN / f"assignment-{name}.json", json.loads(encode_message(assignment)))


@pytest.mark.parametrize(("name", "report"), REPORTS)
def test_a_report_of_an_earlier_build_still_reads(name: str, report: Report) -> None:
    assert decode_report((GOLDEN / f"report-{name}.json").read_bytes()) == report


@pytest.mark.parametrize(("name", "assignment"), ASSIGNMENTS)
def test_an_assignment_of_an_earlier_build_still_reads(name: str, assignment: Assignment) -> None:
    assert decode_assignment((GOLDEN / f"assignment-{name}.json").read_bytes()) == assignment


@pytest.mark.parametrize("message", [FULL_REPORT, FULL_ASSIGNMENT], ids=["report", "assignment"])
def test_the_full_example_says_every_field(message: Report | Assignment) -> None:
    """A field that is added and not exemplified would have no golden file."""
    assert {name for name in _silent(message, "")} == {".protocol"}


def _silent(part: Any, path: str) -> list[str]:
    if isinstance(part, dict | list | tuple):
        values = part.values() if isinstance(part, dict) else part
        return [name for value in values for name in _silent(value, path)]
    if not isinstance(part, msgspec.Struct) or part is CONFIG:
        return []
    found: list[str] = []
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        found.extend([f"{path}.{field.name}"] if value == default else _silent(value, f"{path}.{field.name}"))
    return found


@every(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"protocol": 2}, "protocol"),
        ({"instance": ""}, "instance"),
        ({"leaseState": "Lost"}, "leaseState"),
        ({"groups": {"g": {"wants": {"requests": -1}}}}, "wants"),
        ({"samples": [{"group": "g", "dimension": "images", "limitPerMinute": 1, "remaining": 1, "ageS": 0}]}, "dimension"),
        ({"samples": [FULL_REPORT.samples[0]] * 201}, "samples"),
        ({"organizationIds": ["o"] * 9}, "organizationIds"),
        ({"workload": "shop/support-bot"}, "workload"),
        ({"groups": {"g": {"wants": {"requests": 1e308}}}}, "wants"),
        ({"groups": {"g": {"queued": 10**18}}}, "queued"),
        ({"results": [{"model": "m", "codes": {"529": 10**18}}]}, "codes"),
        ({"sketches": {"latency": [[1]]}}, "latency"),
        ({"sketches": {"latency": [[1, 10**18]]}}, "latency"),
    ],
)
def test_a_report_that_does_not_fit_is_refused_with_its_path(change: dict[str, Any], field: str) -> None:
    document = {**json.loads(encode_message(SMALLEST_REPORT)), **change}
    with pytest.raises(InvalidResource, match=field):
        decode_report(msgspec.json.encode(document))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"connections": 0}, "connections"),
        ({"retryBudgetScale": 1.5}, "retryBudgetScale"),
        ({"config": {"revision": 1}}, "config"),
        ({"leases": {"g": {}}}, "leases"),
    ],
)
def test_an_assignment_that_does_not_fit_is_refused_with_its_path(change: dict[str, Any], field: str) -> None:
    document = {**json.loads(encode_message(SMALLEST_ASSIGNMENT)), **change}
    with pytest.raises(InvalidResource, match=field):
        decode_assignment(json.dumps(document).encode())


def test_the_other_direction_is_not_understood() -> None:
    with pytest.raises(InvalidResource):
        decode_report(encode_message(FULL_ASSIGNMENT))
    with pytest.raises(InvalidResource):
        decode_assignment(encode_message(FULL_REPORT))


def test_the_dimensions_are_those_of_the_rates() -> None:
    assert set(DIMENSIONS) == {field.encode_name for field in msgspec.structs.fields(Rates)}
