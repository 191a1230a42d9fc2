"""Single flight: identical non-streaming requests that are under way at the same time share one call to the API.

The first of them *leads*: it walks on alone, and what it writes goes to all. Who comes later *follows*: it waits here, holds no place in
admission, and is counted as a request of its own, with its own duration. Tokens and cost are counted once, with the call.

* Nobody joins once the answer has begun, or the configuration has changed since.
* A follower's patience is the call's: the latest deadline of all holds. So does the best class.
* A client that leaves takes nobody with it. If it led, a follower takes its place; when all are gone the call is given up.
* What the call comes to, all get: the answer, the API's refusal after every retry, or ours. A refusal by policy is the leader's alone.
* A call that walks again and would now be sent in another form (another model) lets its followers walk again too: those who are still
  identical meet again.
"""

from __future__ import annotations

from collections.abc import Callable

from claudeops.sidecar.answer import PARKED, Answer
from claudeops.sidecar.call import Call
from claudeops.sidecar.edit import edited
from claudeops.sidecar.fingerprint import fingerprint
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.settle import GONE, settle_answer
from claudeops.sidecar.stage.route import give_up_probe
from claudeops.sidecar.wireformat import UNREADABLE
from claudeops.wire.server import ServerConnection
from claudeops.wire.transit import Recipient, Transit

Key = tuple[bytes, tuple[str, ...], bool]
"""Fingerprint, what was adjusted (the answer's head names it), HTTP/1.0 (it frames answers in another way)."""


class Flights:
    """Those of one runtime. ``walk_again`` starts a call's walk from route; ``renew`` is told of calls that have become more patient, or
    of a better class than they were."""

    __slots__ = ("open", "renew", "runtime", "walk_again")

    def __init__(self, runtime: Runtime, *, walk_again: Callable[[Call], None], renew: Callable[[Call, int], None]) -> None:
        self.runtime = runtime
        self.renew = renew
        self.walk_again = walk_again
        self.open: dict[Key, Flight] = {}
        """Those that may be joined."""

    # -- stages

    def identify(self, call: Call, runtime: Runtime) -> Answer | None:
        """What would be sent, before our own cache marks, as a fingerprint; none for what is not shared."""
        assert runtime.config is not None
        if runtime.config.single_flight == "Off" or call.is_streamed or not call.caller.may_share:
            call.fingerprint = b""
            return None
        try:
            body = b"".join(edited(call.body, call.edits, call.asked)) if call.edits else call.body
        except UNREADABLE as error:  # in a member that no stage has read
            return Answer("bad_request", f"the request body is not JSON: {error}")
        call.fingerprint = fingerprint(call.head, body)
        return None

    def join(self, call: Call, runtime: Runtime) -> Answer | None:
        """Follow a call that is under way, or lead the next."""
        flight = call.flight
        if flight is None and not call.fingerprint:
            return None
        key = (call.fingerprint, call.adjusted, call.head.is_http10)
        if flight is not None:
            return self._fly_on(flight, key)
        found = self.open.get(key)
        if found is None:
            self.open[key] = Flight(self, call, key)
            return None
        assert runtime.config is not None
        if len(found.followers) >= runtime.config.limits.queue.max_length:
            return None
        give_up_probe(call)
        found.take(call)
        return PARKED

    def _fly_on(self, flight: Flight, key: Key) -> Answer | None:
        """The leader walks again: after a configuration, tier or breaker has changed, or for another attempt."""
        is_same = flight.key == key
        self.close(flight)
        flight.key = key
        if key[0] and key not in self.open:
            self.open[key] = flight
        if not is_same:
            for follower in flight.release():
                if follower.tiers == flight.call.tiers:
                    follower.floor = flight.call.floor  # what has failed for one has failed for all
                self.walk_again(follower)
        return None

    # -- for the pipeline

    def close(self, flight: Flight) -> None:
        """Nobody joins it any more."""
        if self.open.get(flight.key) is flight:
            del self.open[flight.key]

    def close_all(self) -> None:
        """The configuration has changed: what is under way is of the old one."""
        self.open.clear()

    def leave(self, call: Call) -> list[Call]:
        """The call is to be ended by other means. Returns those who followed it, who are now on their own; none if it followed itself."""
        flight = call.flight
        if flight is None:
            return []
        if flight.call is not call:
            call.flight = None
            flight.followers.pop(call, None)
            return []
        followers = flight.release()
        flight.land()
        return followers


class Flight(Transit):
    """One shared call. To the leader's connection it is the transit, to the leading call the client."""

    __slots__ = ("call", "connection", "flights", "followers", "key")

    def __init__(self, flights: Flights, call: Call, key: Key) -> None:
        super().__init__()
        connection = call.client
        assert isinstance(connection, ServerConnection)
        self.flights = flights
        self.call = call
        self.key = key
        self.connection = connection
        """The leader's."""
        self.followers: dict[Call, None] = {}
        call.flight = self
        call.client = Audience(self)
        connection.transit = self

    def take(self, call: Call) -> None:
        """One more follower."""
        call.flight = self
        self.followers[call] = None
        leader = self.call
        priority = leader.caller.priority
        if call.caller.priority < priority:
            leader.caller = call.caller
        if call.deadline > leader.deadline or leader.caller.priority != priority:
            leader.deadline = max(leader.deadline, call.deadline)
            self.flights.renew(leader, priority)
        if call.body == leader.body:
            call.body = leader.body  # held once

    def release(self) -> list[Call]:
        """The followers, who follow no longer."""
        followers = list(self.followers)
        self.followers = {}
        for follower in followers:
            follower.flight = None
        return followers

    def land(self) -> None:
        """The leader is an ordinary call again."""
        self.flights.close(self)
        self.call.flight = None
        self.call.client = self.connection
        if self.connection.transit is self:
            self.connection.transit = self.call

    def end(self) -> list[Call]:
        """The answer is out, or cut: the followers are counted, and over."""
        followers = self.release()
        self.land()
        leader, runtime = self.call, self.flights.runtime
        now = runtime.clock()
        for follower in followers:
            follower.is_over = True
            follower.status = leader.status
            follower.answer_head = leader.answer_head
            follower.attempts, follower.is_again = 1, True  # answered by the API, but not by an attempt of its own
            settle_answer(follower, runtime, now)
            if leader.status == 200:
                leader.model.used.shared.add(leader.usage.tokens)
        return followers

    # -- from the leader's connection

    def client_gone(self) -> None:
        call = self.call
        heir = next(iter(self.followers), None)
        if heir is None:
            self.land()
            call.client_gone()
            return
        del self.followers[heir]
        connection = heir.client
        assert isinstance(connection, ServerConnection)
        self.connection = connection
        connection.transit = self
        call.head, call.arrived_at, call.session = heir.head, heir.arrived_at, heir.session
        self.flights.renew(call, call.caller.priority)
        heir.flight = None
        heir.is_over = True
        heir.status = GONE  # whichever of the two is counted so: they asked the same
        settle_answer(heir, self.flights.runtime, self.flights.runtime.clock())

    def client_slow(self, is_slow: bool) -> None:
        if not self.followers:
            self.call.client_slow(is_slow)

    def check(self) -> None:
        self.call.check()


class Audience(Recipient):
    """All clients of one flight. A slow reader does not hold up the others: what it has not taken waits in its socket's buffer."""

    __slots__ = ("flight",)

    def __init__(self, flight: Flight) -> None:
        self.flight = flight

    def write(self, data: bytes) -> None:
        self.flight.flights.close(self.flight)
        self.flight.connection.write(data)
        for follower in self.flight.followers:
            follower.client.write(data)

    def write_parts(self, *parts: bytes) -> None:
        self.flight.flights.close(self.flight)
        self.flight.connection.write_parts(*parts)
        for follower in self.flight.followers:
            follower.client.write_parts(*parts)

    def finish(self) -> None:
        flight = self.flight
        followers = flight.end()
        flight.connection.finish()
        for follower in followers:
            follower.client.finish()

    def abort(self) -> None:
        flight = self.flight
        followers = flight.end()
        flight.connection.abort()
        for follower in followers:
            follower.client.abort()
