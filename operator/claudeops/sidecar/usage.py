"""Token usage, from a JSON body or from the events of a stream."""

from __future__ import annotations

from claudeops.sidecar.wireformat import DecodeError, ErrorBody, UsageJson, decode_error, decode_event

TAIL_MAX_BYTES = 65_536
_HARMLESS = (b"event: message_start", b"event: ping")


class Usage:
    """What one answer used, as far as it is known."""

    __slots__ = ("cache_read", "input", "is_known", "output", "write_1h", "write_5m")

    def __init__(self) -> None:
        self.input = 0
        self.output = 0
        self.cache_read = 0
        self.write_5m = 0
        self.write_1h = 0
        self.is_known = False

    @property
    def uncached(self) -> int:
        """What counts against the input limit."""
        return self.input + self.write_5m + self.write_1h

    @property
    def total_input(self) -> int:
        """The whole prompt."""
        return self.input + self.write_5m + self.write_1h + self.cache_read

    def update(self, seen: UsageJson) -> None:
        """Absent fields keep their first value."""
        self.is_known = True
        if seen.input_tokens is not None:
            self.input = seen.input_tokens
        if seen.output_tokens is not None:
            self.output = seen.output_tokens
        if seen.cache_read_input_tokens is not None:
            self.cache_read = seen.cache_read_input_tokens
        if seen.cache_creation is not None:
            self.write_5m = seen.cache_creation.ephemeral_5m_input_tokens
            self.write_1h = seen.cache_creation.ephemeral_1h_input_tokens
        elif seen.cache_creation_input_tokens is not None and self.write_1h == 0:
            self.write_5m = seen.cache_creation_input_tokens


class EventReader:
    """Reads a stream beside the relay: usage, errors, the first content; and says which bytes may be relayed.

    Only whole events are given out, so that a stream that breaks off can be ended by an ``error`` event of ours; an event of more
    than 64 KiB is given out as it comes. A stream with CRLF line ends is given out as it comes too.
    """

    __slots__ = ("error", "has_begun", "has_content", "is_cut", "is_finished", "is_inside", "is_raw", "tail", "usage")

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
        self.is_raw = False
        self.error: ErrorBody | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of one read; returns what to relay now."""
        if self.is_raw:
            self._feed_raw(data)
            return data
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
        tail, self.tail = self.tail, b""
        if tail and not self.is_finished and tail.rstrip().endswith(b"}"):
            self._scan(tail)
        return tail if self.is_finished and not self.is_raw else b""

    def _keep(self, data: bytes) -> bytes:
        """No event ends in here."""
        if b"\r\n" in data[:256]:
            self.is_raw = True
            self._feed_raw(data)
            return data
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

    def _feed_raw(self, data: bytes) -> None:
        text = self.tail + data.replace(b"\r", b"")
        end = text.rfind(b"\n\n") + 2
        self.tail = text[end:][-TAIL_MAX_BYTES:] if end > 1 else text[-TAIL_MAX_BYTES:]
        self.is_inside = self.tail != b""
        if end > 1:
            self._scan(text[:end])

    def _scan(self, data: bytes) -> None:
        if not self.has_content and data.find(b"event: content_block_") >= 0:
            self.has_content = self.has_begun = True
        self._scan_messages(data)
        if data.startswith(b"event: error") or data.find(b"\nevent: error") >= 0:
            self._read_error(data)
        elif not self.has_begun:
            self.has_begun = any(event and not event.startswith(_HARMLESS) for event in data.split(b"\n\n"))

    def _scan_messages(self, data: bytes) -> None:
        at = data.find(b"event: message_")
        while at >= 0:
            stop = data.find(b"\n\n", at)
            stop = len(data) if stop < 0 else stop
            if at == 0 or data[at - 1] == 10:
                self._read_message(data[at:stop])
            at = data.find(b"event: message_", stop)

    def _read_message(self, event: bytes) -> None:
        if event.startswith(b"event: message_stop"):
            self.is_finished = True
            return
        at = event.find(b"\ndata:")
        if at < 0:
            return
        try:
            parsed = decode_event(event[at + 6 :])
        except DecodeError:
            return
        if parsed.message is not None and parsed.message.usage is not None:
            self.usage.update(parsed.message.usage)
        if parsed.usage is not None:
            self.usage.update(parsed.usage)
        if event.startswith(b"event: message_delta"):
            self.has_begun = True

    def _read_error(self, data: bytes) -> None:
        self.has_begun = self.is_finished = True
        at = data.find(b"\ndata:", data.find(b"event: error"))
        stop = data.find(b"\n\n", at)
        try:
            self.error = decode_error(data[at + 6 : stop if stop >= 0 else len(data)]).error
        except DecodeError:
            self.error = ErrorBody("api_error", "the stream's error event cannot be read")
