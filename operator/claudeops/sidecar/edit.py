"""The body with the stages' edits: every other member keeps its bytes and its place."""

from __future__ import annotations

from claudeops.sidecar.wireformat import DecodeError, Raw, decode_members, encode

REMOVE = b""
"""Leave the member out."""


def edited(body: bytes, edits: dict[str, bytes]) -> bytes:
    """``edits``: member → new JSON, or REMOVE; ``a.b`` is member ``b`` of member ``a``, which is made if it is not there.

    White space between top-level members goes, and of duplicate keys the last one stays; nothing else changes.
    """
    members = decode_members(body)
    for name, value in edits.items():
        if "." in name:
            _edit_inside(members, name, value)
        elif value:
            members[name] = Raw(value)
        else:
            members.pop(name, None)
    return encode(members)


def _edit_inside(members: dict[str, Raw], name: str, value: bytes) -> None:
    outer, _, inner = name.partition(".")
    try:
        nested = decode_members(members[outer])
    except (KeyError, DecodeError):
        nested = {}
    if value:
        nested[inner] = Raw(value)
    else:
        nested.pop(inner, None)
    if nested:
        members[outer] = Raw(encode(nested))
    else:
        members.pop(outer, None)
