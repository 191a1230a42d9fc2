"""The referee's books."""

from __future__ import annotations

import msgspec
import pytest

from claudeops.catalogue import RateLimits
from claudeops.simulator.limiter import GroupLimiter, Levels
from claudeops.simulator.referee import MOST_NAMES, GroupRecord, LoggedRequest, Referee, Totals, share_of_limit

LIMITS = RateLimits(600, 600_000, 120_000)
ENTRY = LoggedRequest(
    at=0.0,
    method="POST",
    path="/v1/messages",
    model="m",
    key="abcd",
    client="10.0.0.1",
    code=200,
    stream=False,
    api_version="2023-06-01",
    user_agent="",
    sampling={},
    max_tokens=1,
    effort=None,
    thinking=None,
    cache_control_count=0,
    stainless={},
    header_names=[],
)


def test_each_second_has_its_row_and_they_add_up() -> None:
    record = GroupRecord("acme", "opus-5")
    for now_s, tokens in ((100.1, 10), (100.9, 20), (102.0, 40)):
        record.admitted(now_s, tokens, 5, 3)
        record.produced(now_s, 2.5)
    record.throttled(102.5, "input")
    view = record.view(None, 100, 103, seconds=60)
    assert [(row.at, row.requests, row.input_tokens, row.output_tokens, row.throttled) for row in view.timeline] == [
        (100, 2, 30, 5.0, 0),
        (102, 1, 40, 2.5, 1),
    ]
    assert (view.used.requests, view.used.input_tokens, view.used.output_tokens) == (3, 70, 7.5)
    assert (view.used.cache_read_tokens, view.used.cache_written_tokens) == (15, 9)
    assert view.used.throttled_by == {"input": 1}
    assert (view.limits, view.levels, view.share_of_limit) == (None, None, None)


def test_the_timeline_is_a_ring_of_ten_minutes() -> None:
    record = GroupRecord("acme", "opus-5")
    for second in range(700):
        record.admitted(second, 1, 0, 0)
    assert [row.at for row in record.view(None, 0, 700, seconds=600).timeline] == list(range(101, 700))
    assert len(record.view(None, 0, 700, seconds=10).timeline) == 9
    assert record.view(None, 0, 700, seconds=0).timeline == []


def test_a_view_does_not_change_afterwards() -> None:
    record = GroupRecord("acme", "opus-5")
    record.throttled(1, "input")
    view = record.view(None, 0, 1, seconds=60)
    record.throttled(1, "input")
    assert (view.used.throttled, view.used.throttled_by, view.timeline[0].throttled) == (1, {"input": 1}, 1)


def test_what_others_take_is_booked_apart() -> None:
    record, limiter = GroupRecord("acme", "opus-5"), GroupLimiter(LIMITS, 5, 0)
    limiter.set_outside_share(0.5)
    record.taken_outside(10, limiter, 2.0)
    used = record.view(limiter, 0, 10, seconds=60).used
    assert (used.outside_requests, used.outside_input_tokens, used.outside_output_tokens) == (10, 10_000, 2_000)
    assert used.requests == 0


def test_the_busiest_minute_is_that_of_sixty_seconds_on_end() -> None:
    record = GroupRecord("acme", "opus-5")
    for second, tokens in ((0, 10), (59, 20), (60, 5), (90, 1), (300, 24)):
        record.admitted(second, tokens, 0, 0)
        record.produced(second, tokens / 2)
    assert record.view(None, 0, 300, seconds=60).busiest_minute == Levels(3, 30, 15)


def test_what_no_client_was_told_is_counted() -> None:
    record = GroupRecord("acme", "opus-5")
    record.unreported(7)
    record.unreported(5)
    used = record.view(None, 0, 1, seconds=60).used
    assert (used.unreported_requests, used.unreported_output_tokens) == (2, 12)


def test_shares_are_use_over_what_the_limits_allowed() -> None:
    totals = Totals(requests=300, input_tokens=60_000, output_tokens=120_000)
    assert share_of_limit(totals, LIMITS, 60) == Levels(0.5, 0.1, 1.0)
    assert share_of_limit(totals, LIMITS, 120) == Levels(0.25, 0.05, 0.5)


def test_answers_are_counted_by_code_model_key_and_client() -> None:
    referee = Referee(0)
    referee.answered(ENTRY)
    referee.answered(msgspec.structs.replace(ENTRY, code=429, client="10.0.0.2"))
    tables = referee.tables()
    assert tables["by_code"] == {"200": 1, "429": 1}
    assert tables["by_model"] == {"m": {"200": 1, "429": 1}}
    assert tables["by_key"] == {"abcd": {"200": 1, "429": 1}}
    assert tables["by_client"] == {"10.0.0.1": {"200": 1}, "10.0.0.2": {"429": 1}}


def test_invented_names_do_not_fill_the_memory() -> None:
    referee = Referee(0)
    for number in range(MOST_NAMES + 50):
        referee.answered(msgspec.structs.replace(ENTRY, model=f"m{number}"))
    assert len(referee.by_model) == MOST_NAMES + 1
    assert referee.by_model["other"] == {"200": 50}


@pytest.mark.parametrize(
    ("limit", "model", "key", "found"),
    [(9, None, None, 3), (1, None, None, 1), (9, "n", None, 1), (9, None, "xx-abcd", 3), (9, "n", "zzzz", 0)],
)
def test_recent_requests_can_be_filtered(limit: int, model: str | None, key: str | None, found: int) -> None:
    referee = Referee(0)
    for name in ("m", "n", "m"):
        referee.answered(msgspec.structs.replace(ENTRY, model=name))
    assert len(referee.recent(limit, model, key)) == found
