"""Token usage, from a JSON body or from the events of a stream."""

from __future__ import annotations

from typing import Final, NamedTuple

from claudeops.catalogue.price import STANDARD, Terms, Tokens
from claudeops.sidecar.spelling import TAIL_MAX_BYTES, Respelling, is_usual
from claudeops.sidecar.wireformat import (
    UNREADABLE,
    ErrorBody,
    IterationJson,
    MessageJson,
    Raw,
    UsageJson,
    ValidationError,
    decode_error,
    decode_event,
    decode_iterations,
    decode_message,
    decode_refusal,
    decode_server_tools,
    decode_stop_details,
)

BILLED_REFUSALS: Final = frozenset(("bio", "frontier_llm", "reasoning_extraction"))
"""Categories of refusals that are billed though they come before any output (anthropic-api.md section 8)."""
_MESSAGE: Final = b"event: message_"
_HARMLESS: Final[tuple[bytes, ...]] = (b"event: message_start", b"event: ping", b":")
"""A comment is no event."""


class Round(NamedTuple):
    """One of ``usage.iterations``. ``kind``: message, compaction, advisor_message, fallback_message; ``model``: "" if not named."""

    kind: str
    model: str
    tokens: Tokens

    @property
    def prompt(self) -> int:
        """The whole prompt of this round."""
        return self.tokens.prompt

    @property
    def is_declined(self) -> bool:
        """Where another model served after all: a refusal before output."""
        return self.kind == "message" and self.tokens.output == 0


class Extras:
    """What few answers have."""

    __slots__ = ("is_refused", "refusal", "rounds", "web_searches")

    def __init__(self) -> None:
        self.rounds: tuple[Round, ...] = ()
        """``usage.iterations``, where they are listed; the top-level fields leave some of them out."""
        self.web_searches = 0
        self.is_refused = False
        """The model has refused before its first block of content."""
        self.refusal = ""
        """The category; "" if it has none."""

    @property
    def is_unbilled(self) -> bool:
        """A refusal before output that the API does not bill."""
        return self.is_refused and self.refusal not in BILLED_REFUSALS


NO_EXTRAS: Final = Extras()


class Usage:
    """What one answer used, as far as it is known."""

    __slots__ = (
        "cache_read", "extras", "first_prompt", "guessed", "input", "is_known", "model", "output", "terms", "write_1h", "write_5m",
    )  # fmt: skip

    def __init__(self) -> None:
        self.input = self.output = self.cache_read = self.write_5m = self.write_1h = 0
        self.is_known = False
        """The API has said something of it."""
        self.model = ""
        """Who answered, as the answer names it; "" while nothing is known."""
        self.first_prompt = 0
        """The whole prompt as it was first counted, 0 if that is not known: the rounds of a server-tool loop are counted on top."""
        self.terms = STANDARD
        """As far as the answer names them: whether the prompt is long is not among them."""
        self.extras = NO_EXTRAS
        self.guessed: int | None = None
        """The answer broke off: so much of ``output`` is an estimate, and everything where nothing is known."""

    @property
    def uncached(self) -> int:
        """What counts against the input limit."""
        return self.input + self.write_5m + self.write_1h

    @property
    def total_input(self) -> int:
        """The whole prompt."""
        return self.input + self.write_5m + self.write_1h + self.cache_read

    @property
    def tokens(self) -> Tokens:
        """By kind."""
        return Tokens(self.input, self.output, self.cache_read, self.write_5m, self.write_1h)

    def update(self, seen: UsageJson) -> None:
        """Absent fields keep their first value."""
        self.is_known = True
        tokens = seen.input_tokens
        if tokens is not None:
            self.input = tokens
        tokens = seen.output_tokens
        if tokens is not None:
            self.output = tokens
        tokens = seen.cache_read_input_tokens
        if tokens is not None:
            self.cache_read = tokens
        if seen.cache_creation_input_tokens or seen.cache_creation is not None:
            self._update_writes(seen)
        if len(seen.server_tool_use) or len(seen.iterations):
            self._update_extras(seen)

    def read_message(self, message: MessageJson) -> None:
        """A whole answer, or that of ``message_start``: only there the terms are named."""
        self.model = message.model
        seen = message.usage
        if seen is None:
            return
        self.update(seen)
        self.first_prompt = self.input + self.write_5m + self.write_1h + self.cache_read
        if self.extras is not NO_EXTRAS:
            rounds = self.extras.rounds
            self.first_prompt = rounds[0].prompt if rounds else 0 if self.extras.web_searches else self.first_prompt
        if seen.service_tier is not None or seen.speed is not None or seen.inference_geo is not None:
            self.terms = _terms_of(seen)

    def refuse(self, details: Raw, *, has_content: bool) -> None:
        """The model has refused; before its first block of content that is no output to pay for."""
        extras = self._own_extras()
        extras.is_refused = not has_content
        try:
            found = decode_stop_details(details) if len(details) else None
        except UNREADABLE:
            found = None
        extras.refusal = "" if found is None or found.category is None else found.category

    def guess(self, output: int) -> None:
        """The end of the answer will not come: it has produced about this much."""
        more = max(0, output - self.output)
        self.guessed = more if self.guessed is None else self.guessed + more
        self.output += more

    def _own_extras(self) -> Extras:
        if self.extras is NO_EXTRAS:
            self.extras = Extras()
        return self.extras

    def _update_writes(self, seen: UsageJson) -> None:
        """The 5m/1h split comes only once; a total that grows later has grown by 5m writes (server tools)."""
        split, total = seen.cache_creation, seen.cache_creation_input_tokens
        if split is not None:
            self.write_5m, self.write_1h = split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens
            if total is None or total <= self.write_5m + self.write_1h:
                return
        if total is not None:
            self.write_1h = min(self.write_1h, total)
            self.write_5m = total - self.write_1h

    def _update_extras(self, seen: UsageJson) -> None:
        try:
            tools = decode_server_tools(seen.server_tool_use) if len(seen.server_tool_use) else None
            rounds = decode_iterations(seen.iterations) if len(seen.iterations) else None
        except UNREADABLE:
            return  # a form that is not known yet: the top-level fields stand
        if tools is not None and tools.web_search_requests:
            self._own_extras().web_searches = tools.web_search_requests
        if rounds:
            self._own_extras().rounds = tuple(_round(one) for one in rounds)


def _round(seen: IterationJson) -> Round:
    own = Usage()
    own.update(seen)
    return Round(seen.type, seen.model or "", own.tokens)


def _terms_of(seen: UsageJson) -> Terms:
    tier = seen.service_tier
    if seen.speed != "fast" and seen.inference_geo != "us" and (tier is None or tier == "standard"):
        return STANDARD
    return Terms(is_us=seen.inference_geo == "us", is_fast=seen.speed == "fast", is_batch=tier == "batch", is_priority=tier == "priority")


_decode_message: Final = decode_message  # compiled, a name of this module's own is no dictionary lookup


def read_answer(usage: Usage, body: bytes) -> bool:
    """Take the usage out of a whole JSON answer; False if it is not JSON. JSON of another form is left unread: its cost is unknown."""
    try:
        message = _decode_message(body)
        usage.read_message(message)
        if message.stop_reason == "refusal":
            refusal = decode_refusal(body)
            usage.refuse(refusal.stop_details, has_content=bytes(refusal.content) not in (b"", b"[]", b"null"))
    except ValidationError:
        return True
    except UNREADABLE:
        return False
    return True


class EventReader:
    """Reads a stream beside the relay: usage, errors, the first content; and says which bytes may be relayed.

    Only whole events are given out, so that a stream that breaks off can be ended by an ``error`` event of ours; an event of more
    than 64 KiB is given out as it comes. A stream that is not spelled as the API spells it is given out as it comes too.
    """

    __slots__ = ("error", "has_begun", "has_content", "is_cut", "is_finished", "is_inside", "is_unusual", "respelling", "tail", "usage")

    def __init__(self, usage: Usage) -> None:
        self.usage = usage
        self.tail = b""
        self.has_begun = False
        """Something other than ``message_start`` and ``ping`` has come."""
        self.has_content = False
        self.is_finished = False
        """``message_stop`` or ``error`` has come."""
        self.is_inside = False
        """What was given out ends inside an event."""
        self.is_cut = False
        self.is_unusual = True
        """It is not known to be spelled as usual."""
        self.respelling: Respelling | None = None
        self.error: ErrorBody | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of one read; returns what to relay now."""
        if self.is_unusual:
            return self._feed_unusual(data)
        if self.is_inside:
            return self._feed_inside(data)
        if self.tail:
            data, self.tail = self.tail + data, b""
        if not data.endswith(b"\n\n"):
            end = data.rfind(b"\n\n") + 2
            if end == 1:
                return self._keep(data)
            self.tail = data[end:]
            data = data[:end]
        if self.has_content and data.startswith(b"event: content_block_delta\n") and data.find(b"\nevent: ") < 0:
            return data
        self._scan(data)
        return data

    def rest(self) -> bytes:
        """The stream is over: what was kept back, if it is a whole last event (some servers leave its blank line out) or comes
        behind the last one. Half an event is nobody's."""
        if self.respelling is not None:
            if not self.is_finished:
                self._scan(self.respelling.rest())
            return b""
        tail, self.tail = self.tail, b""
        if tail and not self.is_finished and tail.rstrip().endswith(b"}"):
            self._scan(tail)
        return tail if self.is_finished else b""

    def _keep(self, data: bytes) -> bytes:
        """No event ends in here."""
        if len(data) <= TAIL_MAX_BYTES:
            self.tail = data
            return b""
        self._scan(data)
        self.is_inside = True
        return data

    def _feed_inside(self, data: bytes) -> bytes:
        """Bytes within a large event; its end may be cut between two reads."""
        end = 1 if self.is_cut and data.startswith(b"\n") else data.find(b"\n\n") + 2
        if end == 1 and not (self.is_cut and data.startswith(b"\n")):
            self.is_cut = data.endswith(b"\n")
            return data
        self.is_inside = self.is_cut = False
        return data[:end] + (self.feed(data[end:]) if len(data) > end else b"")

    def _feed_unusual(self, data: bytes) -> bytes:
        """The beginning of a stream, and all of one that is spelled in another way."""
        respelling = self.respelling
        if respelling is None:
            data, self.tail = self.tail + data, b""
            found = is_usual(data)
            if found is None:
                self.tail = data
                return b""
            if found:
                self.is_unusual = False
                return self.feed(data)
            respelling = self.respelling = Respelling()
        events = respelling.feed(data)
        self.is_inside = respelling.tail != b""
        if events:
            self._scan(events)
        return data

    def _scan(self, data: bytes) -> None:
        if not self.has_content and data.find(b"event: content_block_") >= 0:
            self.has_content = self.has_begun = True
        at = data.rfind(_MESSAGE)  # searching backwards takes a third of the time
        if at >= 0:
            self._scan_messages(data, at)
        if data.startswith(b"event: error") or data.rfind(b"\nevent: error") >= 0:
            self._read_error(data)
        elif not self.has_begun:
            self.has_begun = any(event and not event.startswith(_HARMLESS) for event in data.split(b"\n\n"))

    def _scan_messages(self, data: bytes, at: int) -> None:
        """``at`` is where the last of them may begin."""
        found = []
        while at >= 0:
            if at == 0 or data[at - 1] == 10:
                found.append(at)
            at = data.rfind(_MESSAGE, 0, at)
        stop = 0
        for at in reversed(found):
            if at >= stop:
                stop = data.find(b"\n\n", at)
                stop = len(data) if stop < 0 else stop
                self._read_message(data[at:stop])

    def _read_message(self, event: bytes) -> None:
        if event.startswith(b"event: message_stop"):
            self.is_finished = True
            return
        at = event.find(b"\ndata:")
        if at < 0:
            return
        try:
            parsed = decode_event(event[at + 6 :].replace(b"\ndata:", b" "))  # it may stand in several lines
        except UNREADABLE:
            return
        usage = self.usage
        if parsed.message is not None:
            usage.read_message(parsed.message)
        if parsed.usage is not None:
            usage.update(parsed.usage)
        if parsed.delta is not None and parsed.delta.stop_reason == "refusal":
            usage.refuse(parsed.delta.stop_details, has_content=self.has_content)
        if event.startswith(b"event: message_delta"):
            self.has_begun = True

    def _read_error(self, data: bytes) -> None:
        self.has_begun = self.is_finished = True
        at = data.find(b"\ndata:", data.find(b"event: error"))
        stop = data.find(b"\n\n", at)
        try:
            self.error = decode_error(data[at + 6 : stop if stop >= 0 else len(data)].replace(b"\ndata:", b" ")).error
        except UNREADABLE:
            self.error = ErrorBody("api_error", "the stream's error event cannot be read")
