"""What stands between the upstream and the relay, for the few answers that need it.

It undoes a compression that nobody asked for, and notes which thinking blocks a fallback writes.
"""

from __future__ import annotations

from claudeops.sidecar.coding import CODINGS, Decoder, head_coding, without_coding
from claudeops.sidecar.thought import ThoughtReader


class Tap:
    """Fed with every piece of one answer's body, in order."""

    __slots__ = ("decoder", "head", "is_opaque", "thoughts")

    def __init__(self, head: bytes, decoder: Decoder | None, thoughts: ThoughtReader | None, *, is_opaque: bool) -> None:
        self.head = head
        """The answer's, as it holds for what is relayed."""
        self.decoder = decoder
        self.thoughts = thoughts
        self.is_opaque = is_opaque
        """It comes in a coding that is not known here: all one can do is pass it on."""

    @property
    def failure(self) -> str:
        """Why the answer cannot be read; empty as long as it can."""
        return "" if self.decoder is None else self.decoder.failure

    def feed(self, data: bytes) -> bytes:
        """The bytes to relay."""
        if self.decoder is not None:
            data = self.decoder.feed(data)
        if self.thoughts is not None:
            self.thoughts.feed(data)
        return data


def open_tap(head: bytes, thoughts: ThoughtReader | None) -> Tap | None:
    """For an answer with this head; None where its body can simply pass."""
    coding = head_coding(head)
    if not coding and thoughts is None:
        return None
    decoder = Decoder(coding) if coding in CODINGS else None
    if decoder is not None:
        head = without_coding(head)
    return Tap(head, decoder, thoughts, is_opaque=coding != b"" and decoder is None)
