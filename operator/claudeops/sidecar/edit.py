"""The body with the stages' edits: every other member keeps its bytes and its place."""

from __future__ import annotations

from claudeops.sidecar.wireformat import ABSENT, UNREADABLE, Raw, RequestJson, decode_members, encode

REMOVE = b""
"""Leave the member out."""
LARGE_BYTES = 4096
BEGINNING_BYTES = 64
"""A search for all of a large value would compare it byte by byte."""


def edited(body: bytes, edits: dict[str, bytes], asked: RequestJson | None = None) -> bytes:
    """``edits``: member → new JSON, or REMOVE; ``a.b`` is member ``b`` of member ``a``, which is made if it is not there.

    White space between top-level members goes, and of duplicate keys the last one stays; nothing else changes. ``asked``: what was
    read of the body; with it a large value that is to be replaced is not parsed once more.
    """
    if asked is not None and len(body) > LARGE_BYTES:
        replaced = asked.system if "system" in edits else asked.tools if "tools" in edits else ABSENT
        if 2 * len(replaced) > len(body):
            body = _without(body, memoryview(replaced))
    members = decode_members(body)
    for name, value in edits.items():
        if "." in name:
            _edit_inside(members, name, value)
        elif value:
            members[name] = Raw(value)
        else:
            members.pop(name, None)
    return encode(members)


def _without(body: bytes, value: memoryview) -> bytes:
    """The body with 0 for a value that is more than half of it: no JSON value that large stands there twice, or overlaps itself."""
    start, at = bytes(value[:BEGINNING_BYTES]), -1
    while (at := body.find(start, at + 1)) >= 0:
        if body.startswith(value, at):
            return b"%b0%b" % (body[:at], body[at + len(value) :])
    return body


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
