"""Reads the body of a message batch in parts and gives out its items one by one: ``{"requests":[{item},{item},...]}``.

Only one item is held at a time, so a batch of 256 MB costs as much memory as its largest item. Between items the grammar is read
here, and strictly, so that no later reader can see other items than these; what an item holds is for whoever decodes it.

Speed: one search in C takes everything up to the next bracket, so Python runs once for each bracket, not for each byte.
"""

from __future__ import annotations

import re

from claudeops.sidecar.wireformat import UNREADABLE, decode_value

ITEM_MAX_BYTES = 32 * 1024 * 1024
"""The API's limit for one Messages request."""
MEMBER_MAX_BYTES = 65_536
"""Of a member that is not ``requests``: the API has none today."""
DEPTH_MAX = 256
_QUOTE, _COLON, _COMMA, _OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b'":,[]{}'
_INERT = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
"""Everything that opens and closes nothing: whole strings, and what is between them."""
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[^ \t\r\n,\]}]*+")

_START, _FIRST_MEMBER, _MEMBER, _KEY, _BEFORE_VALUE, _VALUE, _OTHER = range(7)
_FIRST_ITEM, _NEXT_ITEM, _ITEM, _BEHIND_ITEM, _BEHIND_MEMBER, _END = range(7, 13)
_NEXT = {
    _START: {_OPEN_OBJECT: _FIRST_MEMBER},
    _FIRST_MEMBER: {_QUOTE: _KEY, _CLOSE_OBJECT: _END},
    _MEMBER: {_QUOTE: _KEY},
    _BEFORE_VALUE: {_COLON: _VALUE},
    _FIRST_ITEM: {_OPEN_OBJECT: _ITEM, _CLOSE_LIST: _BEHIND_MEMBER},
    _NEXT_ITEM: {_OPEN_OBJECT: _ITEM},
    _BEHIND_ITEM: {_COMMA: _NEXT_ITEM, _CLOSE_LIST: _BEHIND_MEMBER},
    _BEHIND_MEMBER: {_COMMA: _MEMBER, _CLOSE_OBJECT: _END},
    _END: {},
}
"""State → byte → state, white space apart."""


class NotABatch(ValueError):
    """The bytes are not a batch, or one of its parts is too large; the message is for the client."""


class BatchReader:
    """``for item in reader.feed(part)``, and ``reader.end()`` when the body is whole. Both raise NotABatch; the reader is done then."""

    __slots__ = ("count", "item_max_bytes", "kept", "key", "scanner", "state")

    def __init__(self, item_max_bytes: int = ITEM_MAX_BYTES) -> None:
        self.item_max_bytes = item_max_bytes
        self.state = _START
        self.scanner = ValueScanner()
        self.kept = bytearray()
        """What the parts before had of the value under way."""
        self.key = ""
        self.count = 0
        """Items given out so far."""

    def feed(self, data: bytes) -> list[bytes]:
        """The items that end in these bytes, each whole."""
        items: list[bytes] = []
        at = 0
        while at < len(data):
            if self.state in (_KEY, _OTHER, _ITEM):
                at = self._read_value(data, at, items)
                continue
            at = _end(_SPACE, data, at)
            if at < len(data):
                at = self._step(data, at)
        return items

    def end(self) -> None:
        """The body is whole: so must be the batch."""
        if self.state != _END:
            raise NotABatch("the body ends before the batch does")

    def _step(self, data: bytes, at: int) -> int:
        """One byte of punctuation, or the first of a value."""
        byte = data[at]
        if self.state == _VALUE:
            return self._begin_member(byte, at)
        state = _NEXT[self.state].get(byte)
        if state is None:
            raise NotABatch(self._complaint(byte))
        self.state = state
        if state in (_KEY, _ITEM):
            self.scanner.begin(byte)
            return at
        return at + 1

    def _begin_member(self, byte: int, at: int) -> int:
        if self.key != "requests":
            self.state = _OTHER
            self.scanner.begin(byte)
            return at
        if byte != _OPEN_LIST:
            raise NotABatch("requests: must be a list of {custom_id, params}")
        self.state = _FIRST_ITEM
        return at + 1

    def _read_value(self, data: bytes, at: int, items: list[bytes]) -> int:
        """Bytes of a key, an item or another member."""
        begun = len(self.kept)
        end = self.scanner.scan(data, at + 1 if self.scanner.is_at_begin else at)
        stop = len(data) if end < 0 else end
        self._check_size(begun + stop - at)
        if end < 0:
            self.kept += data[at:]
            return stop
        value = data[at:stop]
        if begun:
            self.kept += value
            value = bytes(self.kept)
            self.kept = bytearray()
        self._take(value, items)
        return stop

    def _take(self, value: bytes, items: list[bytes]) -> None:
        if self.state == _ITEM:
            self.count += 1
            self.state = _BEHIND_ITEM
            items.append(value)
            return
        try:
            decoded = decode_value(value)
        except UNREADABLE as error:
            raise NotABatch(f"the body is not JSON: {error}") from error
        if self.state == _KEY:
            self.key = str(decoded)
            self.state = _BEFORE_VALUE
        else:
            self.state = _BEHIND_MEMBER

    def _check_size(self, size_bytes: int) -> None:
        if self.state == _ITEM:
            if size_bytes > self.item_max_bytes:
                raise NotABatch(f"requests.{self.count}: larger than {self.item_max_bytes // 1_048_576} MB")
        elif size_bytes > MEMBER_MAX_BYTES:
            raise NotABatch("a member beside requests is too large")

    def _complaint(self, byte: int) -> str:
        if self.state in (_FIRST_ITEM, _NEXT_ITEM):
            return f"requests.{self.count}: must be an object with custom_id and params"
        return f"the body is not a batch: {chr(byte)!r} is not what JSON has there"


class ValueScanner:
    """Finds where one JSON value ends, in bytes that come in parts. Whether it is valid inside is for whoever decodes it."""

    __slots__ = ("depth", "is_at_begin", "is_escaped", "is_in_string", "is_scalar")

    def __init__(self) -> None:
        self.depth = 0
        self.is_at_begin = False
        self.is_escaped = False
        self.is_in_string = False
        self.is_scalar = False

    def begin(self, byte: int) -> None:
        """`byte` is the value's first; scan goes on behind it."""
        self.is_in_string = byte == _QUOTE
        self.depth = 1 if byte in (_OPEN_OBJECT, _OPEN_LIST) else 0
        self.is_scalar = self.depth == 0 and not self.is_in_string
        self.is_escaped = False
        self.is_at_begin = True

    def scan(self, data: bytes, at: int) -> int:
        """Where the value ends; -1 if that is not in these bytes. Raises NotABatch for absurd nesting."""
        self.is_at_begin = False
        if self.is_scalar:
            end = _end(_SCALAR, data, at)
            return end if end < len(data) else -1
        while True:
            if self.is_in_string:
                at = self._scan_string(data, at)
                if at < 0 or self.depth == 0:
                    return at
            at = _end(_INERT, data, at)
            if at == len(data):
                return -1
            at += 1
            if self._nest(data[at - 1]):
                return at

    def _nest(self, byte: int) -> bool:
        """A quote or a bracket: is it the value's last?"""
        if byte == _QUOTE:
            self.is_in_string = True
        elif byte in (_OPEN_OBJECT, _OPEN_LIST):
            self.depth += 1
            if self.depth > DEPTH_MAX:
                raise NotABatch(f"nested deeper than {DEPTH_MAX}")
        else:
            self.depth -= 1
            return self.depth == 0
        return False

    def _scan_string(self, data: bytes, at: int) -> int:
        """Behind the string's closing quote; -1 if that is not in these bytes."""
        if self.is_escaped and at < len(data):
            self.is_escaped = False
            at += 1
        at = _end(_STRING_REST, data, at)
        if at == len(data):
            return -1
        if data[at] == _QUOTE:
            self.is_in_string = False
            return at + 1
        self.is_escaped = True
        return -1


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where a pattern that matches always, if need be nothing, ends."""
    match = pattern.match(data, at)
    assert match is not None
    return match.end()
