"""Sessions that stay on their fallback."""

from __future__ import annotations

from claudeops.sidecar.sticky import IDLE_S, LONGEST_S, NAME_MAX_BYTES, SESSIONS_MAX, StickySessions


def test_a_session_stays_until_it_was_idle_for_five_minutes() -> None:
    sessions = StickySessions()
    sessions.force(b"s", "haiku", 0.0)
    assert sessions.model_of(b"s", IDLE_S) == "haiku"
    assert sessions.model_of(b"s", 2 * IDLE_S) == "haiku"
    assert sessions.model_of(b"s", 3 * IDLE_S + 1.0) is None
    assert len(sessions) == 0


def test_a_session_stays_for_thirty_minutes_at_most() -> None:
    sessions = StickySessions()
    sessions.force(b"s", "haiku", 0.0)
    now = 0.0
    while sessions.model_of(b"s", now) is not None:
        now += 60.0
    assert LONGEST_S < now <= LONGEST_S + 60.0


def test_without_a_session_nothing_is_remembered_and_the_oldest_give_way() -> None:
    sessions = StickySessions()
    sessions.force(b"", "haiku", 0.0)
    assert len(sessions) == 0
    for number in range(SESSIONS_MAX + 5):
        sessions.force(b"%d" % number, "haiku", 0.0)
    assert len(sessions) == SESSIONS_MAX
    assert sessions.model_of(b"0", 1.0) is None
    assert sessions.model_of(b"5", 1.0) == "haiku"


def test_a_session_whose_fallback_cannot_serve_is_forgotten() -> None:
    sessions = StickySessions()
    sessions.force(b"s", "haiku", 0.0)
    sessions.forget(b"s")
    assert sessions.model_of(b"s", 1.0) is None


def test_a_session_with_a_long_name_is_sticky_too_and_takes_no_more_room() -> None:
    sessions = StickySessions()
    names = [b"x" * 100_000 + last for last in (b"1", b"2")]
    sessions.force(names[0], "haiku", 0.0)
    assert [sessions.model_of(name, 1.0) for name in names] == ["haiku", None]
    assert all(len(name) <= NAME_MAX_BYTES for name in sessions.entries)
    sessions.forget(names[0])
    assert len(sessions) == 0
