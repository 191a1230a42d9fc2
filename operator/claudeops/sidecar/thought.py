"""Who wrote a thinking block. Nothing in the block says so, but only the model that wrote it takes it back.

Blocks of the primary model are the rule and are not remembered; those that a fallback wrote are, by their signature, until so many
younger ones exist. That needs no session, and holds for those that have no id too.
"""

from __future__ import annotations

from typing import Final

from claudeops.sidecar.wireformat import UNREADABLE, ThoughtJson, decode_thought_event, decode_thoughts

BLOCKS_MAX: Final = 65_536
THINKING_TYPES: Final[tuple[str, ...]] = ("thinking", "redacted_thinking")
LINE_MAX_BYTES: Final = 262_144
_MARKS: Final[tuple[bytes, ...]] = (b"signature", b'"redacted_thinking"')


class ThoughtAuthors:
    """Thinking block → the fallback model that wrote it.

    Eight bytes of hash stand for a signature. Two generations: when the younger one is full the older is forgotten; what is
    asked for becomes young again, so that a conversation that goes on forgets none of its blocks before all of them.
    """

    __slots__ = ("has_any", "old", "young")

    def __init__(self) -> None:
        self.has_any = False
        self.young: dict[int, str] = {}
        self.old: dict[int, str] = {}

    def learn(self, mark: str, model: str) -> None:
        """The block with this signature (or redacted data) was written by `model`."""
        if mark:
            self._keep(hash(mark), model)

    def author(self, mark: str) -> str | None:
        """The fallback that wrote the block; None: the primary did, as far as is known."""
        if not mark:
            return None
        key = hash(mark)
        found = self.young.get(key)
        if found is None:
            found = self.old.pop(key, None)
            if found is not None:
                self._keep(key, found)
        return found

    def learn_answer(self, body: bytes, model: str) -> None:
        """A whole answer of `model`."""
        if not any(mark in body for mark in _MARKS):
            return
        try:
            blocks = decode_thoughts(body).content
        except UNREADABLE:
            return
        for block in blocks:
            if block.type in THINKING_TYPES:
                self.learn(_mark(block), model)

    def learn_line(self, line: bytes, model: str) -> None:
        """One line of an event stream of `model`."""
        if not line.startswith(b"data:") or not any(mark in line for mark in _MARKS):
            return
        try:
            event = decode_thought_event(line[5:])
        except UNREADABLE:
            return
        block, delta = event.content_block, event.delta
        if block is not None and block.type in THINKING_TYPES:
            self.learn(_mark(block), model)
        if delta is not None and delta.type == "signature_delta":
            self.learn(_mark(delta), model)

    def _keep(self, key: int, model: str) -> None:
        self.has_any = True
        self.young[key] = model
        if len(self.young) >= BLOCKS_MAX // 2:
            self.old, self.young = self.young, {}


class ThoughtReader:
    """Reads one stream of a fallback beside the relay, whatever pieces it comes in."""

    __slots__ = ("authors", "model", "rest")

    def __init__(self, authors: ThoughtAuthors, model: str) -> None:
        self.authors = authors
        self.model = model
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Bytes of one read. A line that is longer than any signature is passed over."""
        if self.rest:
            data = self.rest + data
        end = data.rfind(b"\n") + 1
        self.rest = data[end:] if len(data) - end <= LINE_MAX_BYTES else b""
        if any(mark in data for mark in _MARKS):
            for line in data[:end].splitlines():
                self.authors.learn_line(line, self.model)


def _mark(block: ThoughtJson) -> str:
    """What tells the block from others; empty where there is nothing."""
    return block.signature or block.data or ""
