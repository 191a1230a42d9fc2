"""The body with the stages' edits: every other member keeps its bytes and its place, and a large one is not copied."""

from __future__ import annotations

from typing import Final

from claudeops.sidecar.wireformat import ABSENT, UNREADABLE, Raw, RequestJson, decode_members, encode
from claudeops.wire.transit import Part

Edit = bytes | tuple[Part, ...]
"""New JSON of a member, whole or in parts."""
REMOVE: Final = b""
"""Leave the member out."""
LARGE_BYTES: Final = 4096
BEGINNING_BYTES: Final = 64
"""A search for all of a large value would compare it byte by byte."""

_decode_members: Final = decode_members  # compiled, a name of this module's own is no dictionary lookup
_encode: Final = encode


def edited(body: bytes, edits: dict[str, Edit], asked: RequestJson | None = None) -> tuple[Part, ...]:
    """``edits``: member → new JSON, or REMOVE; ``a.b`` is member ``b`` of member ``a``, which is made if it is not there.

    White space between top-level members goes (to write it again would cost 0.5 to 0.8 µs of a 2 KB request), and of duplicate keys the
    last one stays; nothing else changes. ``asked``: what was read of the body; with it a large value that is to be replaced is not
    parsed once more. The parts refer to the body's own bytes.
    """
    is_large = len(body) > LARGE_BYTES
    if is_large and asked is not None:
        body = _without_replaced(body, edits, asked)
    members = _decode_members(body)
    for name, value in edits.items():
        if isinstance(value, tuple):
            members[name] = ABSENT if is_large else Raw(b"".join(value))
        elif "." in name:
            _edit_inside(members, name, value)
        elif value:
            members[name] = Raw(value)
        else:
            members.pop(name, None)
    return _parts(members, edits) if is_large else (_encode(members),)


def _parts(members: dict[str, Raw], edits: dict[str, Edit]) -> tuple[Part, ...]:
    """The bytes that ``encode`` would make, with large values as they lie in memory."""
    parts: list[Part] = []
    small: list[Part] = []
    before = b"{"
    for name, raw in members.items():
        small += (before, encode(name), b":")
        before = b","
        value = edits.get(name)
        for part in value if isinstance(value, tuple) else (memoryview(raw),):
            if len(part) > LARGE_BYTES:
                parts += (b"".join(small), part)
                small = []
            else:
                small.append(part)
    small.append(b"}" if members else b"{}")
    parts.append(b"".join(small))
    return tuple(parts)


def _without_replaced(body: bytes, edits: dict[str, Edit], asked: RequestJson) -> bytes:
    replaced = asked.system if "system" in edits else asked.tools if "tools" in edits else ABSENT
    return _without(body, memoryview(replaced)) if 2 * len(replaced) > len(body) else body


def _without(body: bytes, value: memoryview) -> bytes:
    """The body with 0 for a value in it that is more than half of it: no JSON value that large stands there twice, or overlaps itself.
    Where only one place begins as it does and has room for it, that is the place."""
    start = bytes(value[:BEGINNING_BYTES])
    end = len(body) - len(value) + len(start)
    at = body.find(start, 0, end)
    while (later := body.find(start, at + 1, end)) >= 0 and not body.startswith(value, at):
        at = later
    return b"%b0%b" % (body[:at], body[at + len(value) :])


def _edit_inside(members: dict[str, Raw], name: str, value: bytes) -> None:
    outer, _, inner = name.partition(".")
    try:
        nested = decode_members(members[outer])
    except (KeyError, *UNREADABLE):
        nested = {}
    if value:
        nested[inner] = Raw(value)
    else:
        nested.pop(inner, None)
    if nested:
        members[outer] = Raw(encode(nested))
    else:
        members.pop(outer, None)
