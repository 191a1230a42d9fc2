"""``multipart/form-data``: the parts of an uploaded form. Slices of one buffer; nothing is copied but what is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_NAME = re.compile(rb'\bname="([^"]*)"|\bname=([^;\s]+)', re.IGNORECASE)
_FILENAME = re.compile(rb'\bfilename="((?:[^"\\]|\\.)*)"|\bfilename=([^;\s]+)', re.IGNORECASE)
_KIND = re.compile(rb"^content-type:\s*([^;\r\n]+)", re.IGNORECASE | re.MULTILINE)
_DISPOSITION = re.compile(rb"^content-disposition:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class Part(msgspec.Struct, frozen=True):
    """One field of a form. ``filename`` and ``kind`` (its media type) are empty where the form says nothing."""

    name: str
    filename: str
    kind: str
    data: bytes


class MalformedForm(ValueError):
    """The body is not the form that its content type says."""


def parse_form(content_type: str, body: bytes | bytearray) -> list[Part]:
    """All parts of a form, in order. Raises MalformedForm."""
    kind, _, parameters = content_type.partition(";")
    found = re.search(r'boundary="?([^";,\s]+)"?', parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        raise MalformedForm("content-type must be multipart/form-data with a boundary")
    return [_part(body, begin, end) for begin, end in _spans(body, b"--" + found[1].encode("latin-1"))]


def _spans(body: bytes | bytearray, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Where each part's head begins and its data ends."""
    at = body.find(delimiter)
    if at < 0:
        raise MalformedForm("the form has no boundary")
    while body[at + len(delimiter) : at + len(delimiter) + 2] != b"--":
        begin = at + len(delimiter) + 2
        at = body.find(b"\r\n" + delimiter, begin)
        if at < 0:
            raise MalformedForm("the form does not end")
        yield begin, at
        at += 2


def _part(body: bytes | bytearray, begin: int, end: int) -> Part:
    data_at = body.find(b"\r\n\r\n", begin, end)
    if data_at < 0:
        raise MalformedForm("a part of the form has no head")
    head = bytes(body[begin:data_at])
    disposition = _DISPOSITION.search(head)
    if disposition is None:
        raise MalformedForm("a part of the form has no name")
    kind = _KIND.search(head)
    return Part(
        _first(_NAME.search(disposition[1])),
        _first(_FILENAME.search(disposition[1])),
        "" if kind is None else kind[1].decode("latin-1").strip(),
        bytes(body[data_at + 4 : end]),
    )


def _first(found: re.Match[bytes] | None) -> str:
    """The group that matched, as text."""
    return "" if found is None else next(group for group in found.groups() if group is not None).decode("utf-8", "replace")
