"""The fingerprint of a request: equal for two requests only if the API may give both the same answer.

Over the bytes that would be sent (after policy), the serving model among them, and the request line and headers that go along.
Left aside is only what is known to change no answer: the order of the body's members, prompt-cache marks, and the headers by which a
client tells who it is and how often it tried. Everything else counts, unknown headers and members too. What is not compact JSON
(white space, a name given twice, an escaped name) is taken byte for byte, since parsers may differ about it.

It knows nothing of sessions: ``metadata.user_id`` counts because it is part of the body.
"""

from __future__ import annotations

from hashlib import blake2b

from claudeops.sidecar.wireformat import UNREADABLE, Member, Raw, decode_list, decode_members, encode
from claudeops.wire.http1 import RequestHead

DIGEST_BYTES = 16
SAYS_NOTHING = frozenset({b"user-agent", b"traceparent", b"tracestate", b"baggage"})
STAINLESS = b"x-stainless-"
_MARK = b'"cache_control"'
_MARKED_MEMBERS = ("system", "tools", "messages")


def fingerprint(head: RequestHead, body: bytes) -> bytes:
    """Sixteen bytes. `body` is what would be sent; a body that is no JSON object counts as it is."""
    digest = blake2b(_head_key(head), digest_size=DIGEST_BYTES)
    members = _compact_members(body)
    if members is None:
        digest.update(b"raw")
        digest.update(body)
        return digest.digest()
    members.pop("cache_control", None)
    for name in sorted(members):
        value = bytes(members[name])
        if name in _MARKED_MEMBERS and _MARK in value:
            value = _without_marks(value)
        label = name.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b%d:" % (len(label), label, len(value)))
        digest.update(value)
    return digest.digest()


def _head_key(head: RequestHead) -> bytes:
    """Request line and headers, each with its length; lines of one name keep their order."""
    fields: list[tuple[bytes, bytes]] = []
    for line in head.forward.split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name and name not in SAYS_NOTHING and not name.startswith(STAINLESS):
            fields.append((name, value.strip(b" \t")))
    fields.sort(key=lambda field: field[0])
    parts = [head.method, head.target, *(part for field in fields for part in field)]
    return b"".join(b"%d:%b" % (len(part), part) for part in parts) + b";"


def _compact_members(body: bytes) -> Member | None:
    """The body's members; None unless they say all that the body says, in the one way of saying it."""
    try:
        members = decode_members(body)
    except UNREADABLE:
        return None
    return members if len(encode(members)) == len(body) else None


def _without_marks(value: bytes) -> bytes:
    """A list of blocks (or of turns with blocks) without their prompt-cache marks."""
    try:
        blocks = decode_list(value)
    except UNREADABLE:
        return value
    if len(encode(blocks)) != len(value):
        return value
    return encode([_unmarked(block) for block in blocks])


def _unmarked(block: Member) -> Member:
    kept = {name: value for name, value in block.items() if name != "cache_control"}
    content = bytes(kept.get("content", b""))
    if _MARK in content:
        kept["content"] = Raw(_without_marks(content))
    return kept
