"""The fault script: who is met, how often, for how long."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.table import every

from claudeops.errors import InvalidResource
from claudeops.simulator.fault import Fault, FaultScript, Subject

SUBJECT = Subject("claude-sonnet-4-5-20250929", "sonnet-4.x", "10.1.2.3", "sk-ant-sim-abcd")


def script(*faults: Fault, now_s: float = 0.0) -> FaultScript:
    made = FaultScript(seed=1)
    made.replace(faults, now_s)
    return made


def met(*faults: Fault, now_s: float = 0.0, is_stream: bool = False) -> str | None:
    found = script(*faults).pick(SUBJECT, now_s, is_stream=is_stream)
    return None if found is None else found.kind


@every(
    "filters",
    [
        {},
        {"model": "claude-sonnet-4-5"},
        {"model": "claude-sonnet-4-5-20250929"},
        {"model": "sonnet-4.x"},
        {"client": "10.1.2.3"},
        {"client": "10.1.0.0/16"},
        {"key": "abcd"},
        {"model": "sonnet-4.x", "client": "10.0.0.0/8", "key": "sk-ant-sim-abcd"},
    ],
)
def test_matching_filters(filters: dict[str, Any]) -> None:
    assert met(Fault("overloaded", **filters)) == "overloaded"


@pytest.mark.parametrize("filters", [{"model": "claude-sonnet-4-6"}, {"model": "opus-5"}, {"client": "10.2.0.0/16"}, {"key": "abce"}])
def test_filters_that_do_not_match(filters: dict[str, Any]) -> None:
    assert met(Fault("overloaded", **filters)) is None


def test_a_client_without_an_address_matches_no_network() -> None:
    subject = msgspec.structs.replace(SUBJECT, client="")
    assert script(Fault("reset", client="10.0.0.0/8")).pick(subject, 0, is_stream=False) is None


def test_the_first_match_wins() -> None:
    assert met(Fault("overloaded", model="opus-5"), Fault("throttle"), Fault("error500")) == "throttle"


def test_a_count_is_used_up() -> None:
    made = script(Fault("overloaded", count=2))
    assert [made.pick(SUBJECT, 0, is_stream=False) is not None for _ in range(3)] == [True, True, False]
    assert made.active(0) == []


def test_a_time_runs_out() -> None:
    made = script(Fault("overloaded", for_s=10), Fault("error500", until=105), now_s=100)
    assert [active.ends_at for active in made.active(100)] == [110, 105]
    assert [active.fault.kind for active in made.active(106)] == ["overloaded"]
    assert made.active(110) == []


def test_the_earlier_end_holds() -> None:
    made = script(Fault("overloaded", for_s=10, until=103), now_s=100)
    assert made.active(100)[0].ends_at == 103


def test_chance_meets_about_its_share_and_only_hits_count() -> None:
    made = script(Fault("overloaded", probability=0.25))
    hits = sum(made.pick(SUBJECT, 0, is_stream=False) is not None for _ in range(2000))
    assert 420 < hits < 580
    assert made.active(0)[0].hits == hits


def test_the_same_seed_meets_the_same_requests() -> None:
    rows = [[script(Fault("reset", probability=0.5)).pick(SUBJECT, 0, is_stream=False) is None for _ in range(1)] for _ in range(2)]
    assert rows[0] == rows[1]


def test_stream_errors_meet_streams_only() -> None:
    assert met(Fault("stream_error"), is_stream=False) is None
    assert met(Fault("stream_error"), is_stream=True) == "stream_error"


def test_outside_shares_add_up_by_group_and_meet_no_request() -> None:
    made = script(Fault("outside_share", share=0.3), Fault("outside_share", share=0.2, model="claude-sonnet-4-6", for_s=5))
    assert made.outside_share("sonnet-4.x", 0) == pytest.approx(0.5)
    assert made.outside_share("opus-5", 0) == pytest.approx(0.3)
    assert made.outside_share("sonnet-4.x", 6) == pytest.approx(0.3)
    assert made.pick(SUBJECT, 0, is_stream=True) is None


@every(
    "document",
    [
        b'{"kind": "explode"}',
        b'{"kind": "reset", "who": 1}',
        b'{"kind": "reset", "probability": 1.5}',
        b'{"kind": "reset", "model": "gpt"}',
        b'{"kind": "reset", "client": "ten"}',
        b'{"kind": "outside_share", "share": -1}',
        b'{"kind": "slow", "factor": 0}',
        b"{}",
    ],
)
def test_a_wrong_fault_is_refused(document: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, InvalidResource)):
        msgspec.json.decode(document, type=Fault)
