from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.policy.queue import AdmissionQueue, Ticket


def test_class_then_turn_then_deadline() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    queue.push("background", 1.0, priority=1, session=b"z")
    queue.push("a2", 9.0, session=b"a")
    queue.push("a1 later", 8.0, session=b"a")
    queue.push("b", 20.0, session=b"b")
    queue.push("c", 5.0, session=b"c")
    assert queue.first() == "c"
    assert queue.drain() == ["c", "a2", "b", "a1 later", "background"]
    assert (queue.first(), queue.pop(), len(queue)) == (None, None, 0)


def test_what_a_429_sent_back_goes_first() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    queue.push("a", 5.0)
    queue.push("again", 50.0, is_first=True)
    assert queue.drain() == ["again", "a"]


def test_one_greedy_session_waits_for_the_others() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    for index in range(20):
        queue.push(f"greedy{index}", 1.0, session=b"greedy")
    queue.push("modest", 100.0, session=b"modest")
    assert [queue.pop(), queue.pop()] == ["greedy0", "modest"]


def test_a_long_queue_is_not_overtaken_for_ever_by_newcomers() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    for index in range(5):
        queue.push(f"old{index}", 10.0, session=b"old")
    served = []
    for round_ in range(30):
        queue.push(f"new{round_}", 20.0 + round_, session=b"new%d" % round_)
        served.append(queue.pop())
    assert "old4" in served


def test_expiry_takes_out_what_is_due_and_nothing_else() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    for name, deadline in (("late", 9.0), ("soon", 2.0), ("sooner", 1.0)):
        queue.push(name, deadline, session=name.encode())
    assert queue.next_deadline() == 1.0
    assert queue.expire(0.5) == []
    assert queue.expire(2.0) == ["sooner", "soon"]
    assert queue.drain() == ["late"]
    assert queue.next_deadline() is None


def test_a_cancelled_item_is_gone_at_once_and_only_once() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    ticket = queue.push("a", 5.0)
    assert queue.cancel(ticket)
    assert not queue.cancel(ticket)
    assert len(queue) == 0
    queue.push("b", 5.0)
    assert queue.drain() == ["b"]


def test_those_who_left_take_no_room() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue()
    queue.push("stays", 5.0, session=b"s")
    for _ in range(1000):
        ticket = queue.push("leaves", 9.0, session=b"s")
        queue.cancel(ticket)
        assert ticket.item is None
    assert len(queue.heap) <= 2 + 64
    assert queue.drain() == ["stays"]
    assert not queue.sessions


@settings(max_examples=30)
@given(
    backlogs=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    served=st.integers(0, 60),
    deadlines=st.randoms(use_true_random=False),
)
def test_a_newcomer_waits_for_two_of_each_session_at_most_however_long_their_queues_are(
    backlogs: list[int], served: int, deadlines: Random
) -> None:
    queue: AdmissionQueue[bytes] = AdmissionQueue()
    for session, backlog in enumerate(backlogs):
        for _ in range(backlog):
            queue.push(b"old", deadlines.random(), session=b"%d" % session)
    for _ in range(served):
        queue.pop()
    queue.push(b"new", 1e9, session=b"newcomer")
    order = queue.drain()
    assert order.index(b"new") <= 2 * len(backlogs)


moves = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "push", "pop", "cancel", "expire", "first"]),
        st.integers(0, 2),
        st.integers(0, 3),
        st.floats(0.0, 10.0),
    ),
    max_size=120,
)


@settings(max_examples=30)
@given(moves=moves)
def test_every_item_leaves_exactly_once_and_nothing_is_left_behind(moves: list[tuple[str, int, int, float]]) -> None:
    queue: AdmissionQueue[int] = AdmissionQueue()
    tickets: dict[int, Ticket[int]] = {}
    now, serial = 0.0, 0

    def gone(item: int | None) -> None:
        if item is not None:
            del tickets[item]

    for what, priority, session, amount in moves:
        now += amount / 5.0
        if what in ("push", "first"):
            serial += 1
            tickets[serial] = queue.push(serial, now + amount, priority=priority, session=b"s%d" % session, is_first=what == "first")
        elif what == "pop":
            gone(queue.pop())
        elif what == "cancel" and tickets:
            item = next(iter(tickets))
            assert queue.cancel(tickets[item])
            gone(item)
        elif what == "expire":
            for item in queue.expire(now):
                gone(item)
            assert all(ticket.deadline > now for ticket in tickets.values())
        assert len(queue) == len(tickets)
    assert sorted(queue.drain()) == sorted(tickets)
    assert not queue.heap
    assert not queue.sessions
