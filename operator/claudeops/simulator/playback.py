"""A transcript being played back: its events at the answer's speed, or the same answer as one JSON document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from claudeops.simulator.call import Call
from claudeops.simulator.pace import Pace
from claudeops.simulator.production import INSTANT_S, STREAM_LINES
from claudeops.simulator.reply import JSON_LINES, Answer, Problem
from claudeops.simulator.transcript import Transcript
from claudeops.simulator.world import World


class Playback:
    """One running playback. ``on_end`` is called once, when it is over or the client has left."""

    def __init__(self, call: Call, world: World, transcript: Transcript, pace: Pace) -> None:
        self._call = call
        self._world = world
        self._transcript = transcript
        self._gap_s = world.config.tokens_per_event / pace.tokens_per_s
        self._begin_s = call.started_s + pace.ttft_s
        self._events = iter(transcript.events)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.on_end: Callable[[], None] = lambda: None

    def start_stream(self) -> None:
        """Write the head at once, then event after event."""
        self._call.connection.on_gone = self._leave
        self._call.connection.begin_stream(STREAM_LINES + self._call.lines(has_ratelimits=True))
        self._timer = self._loop.call_at(self._begin_s, self._continue)

    def _continue(self) -> None:
        self._timer = None
        for event in self._events:
            self._call.connection.write_chunk(event)
            if self._gap_s >= INSTANT_S:
                self._timer = self._loop.call_later(self._gap_s, self._continue)
                return
        book(self._call, self._transcript)
        self.on_end()
        self._call.connection.end_stream()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.on_end()


def book(call: Call, transcript: Transcript) -> None:
    """Count the output that the transcript says it produced."""
    if call.group is not None:
        call.group.produce(transcript.output_tokens)


def whole_answer(call: Call, transcript: Transcript) -> Answer | Problem:
    """The transcript for a client that does not stream."""
    document = transcript.document()
    if isinstance(document, Problem):
        return document
    book(call, transcript)
    return Answer(msgspec.json.encode(document), JSON_LINES)
