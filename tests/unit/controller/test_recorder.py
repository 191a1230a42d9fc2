"""Events without floods."""

from claudeops.controller.kind import EVENT, Ref
from claudeops.controller.notice import condition_notices
from claudeops.controller.recorder import BURST, REFILL_S, REPEAT_WINDOW_S, EventFilter

REF = Ref(EVENT, "shop", "bot.1")


def test_an_object_has_a_burst_and_then_one_event_in_five_minutes() -> None:
    events = EventFilter()
    assert sum(events.may_post("uid", 0.0) for _ in range(100)) == BURST
    assert not events.may_post("uid", REFILL_S - 1)
    assert events.may_post("uid", REFILL_S + 1)
    assert events.may_post("other", 0.0)


def test_the_same_event_again_is_counted_into_its_series() -> None:
    events, key = EventFilter(), ("uid", "Reason", "note")
    assert events.seen(key, 0.0) is None
    events.remember(key, REF, 0.0)
    series = events.seen(key, 10.0)
    assert series is not None and (series.count, series.ref) == (2, REF)
    assert events.seen(("uid", "Reason", "another note"), 10.0) is None


def test_a_series_ends_when_nothing_happens_for_ten_minutes() -> None:
    events, key = EventFilter(), ("uid", "Reason", "note")
    events.remember(key, REF, 0.0)
    assert events.seen(key, REPEAT_WINDOW_S + 1) is None


def condition(kind: str, status: str, reason: str = "Because", message: str = "m") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def said(before: list[dict[str, str]], after: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(notice.type, notice.reason) for notice in condition_notices(before, after)]


def test_an_unchanged_condition_is_no_event() -> None:
    now = [condition("FallbackActive", "True", "BreakerOpen")]
    assert said(now, now) == []


def test_a_flip_and_its_end_are_events() -> None:
    primary, flipped = condition("FallbackActive", "False", "Primary"), condition("FallbackActive", "True", "BreakerOpen")
    assert said([primary], [flipped]) == [("Warning", "BreakerOpen")]
    assert said([flipped], [primary]) == [("Normal", "Primary")]
    assert said([], [primary]) == []


def test_ready_speaks_of_problems_and_their_end_but_not_of_progress() -> None:
    ready, progress = condition("Ready", "True", "Converged"), condition("Ready", "False", "Progressing")
    missing = condition("Ready", "False", "QuotaNotFound")
    assert said([ready], [progress]) == said([progress], [ready]) == said([], [ready]) == []
    assert said([], [missing]) == [("Warning", "QuotaNotFound")]
    assert said([missing], [ready]) == [("Normal", "Ready")]


def test_contended_replicas_are_an_event() -> None:
    assert said([condition("CappedByQuota", "False")], [condition("CappedByQuota", "Unknown", "ReplicasContended")]) == [
        ("Warning", "ReplicasContended")
    ]
