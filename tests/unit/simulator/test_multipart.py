"""Forms: what was put in comes out, and what is no form is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.simulator.multipart import MalformedForm, Part, parse_form

KIND = "multipart/form-data; boundary="
NAMES = st.text("abcdefghij_-", min_size=1, max_size=8)


def written(parts: list[Part], boundary: str) -> bytes:
    lines = []
    for part in parts:
        shown = f'; filename="{part.filename}"' if part.filename else ""
        kind = f"\r\nContent-Type: {part.kind}" if part.kind else ""
        lines.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"{shown}{kind}\r\n\r\n'.encode() + part.data + b"\r\n"
        )
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(Part, NAMES, NAMES, st.sampled_from(["", "text/plain", "image/png"]), st.binary(max_size=60)), min_size=1, max_size=4
    )
)
def test_every_part_comes_out_as_it_was_put_in(parts: list[Part]) -> None:
    body = written(parts, "frontier-0123456789")
    assert parse_form(KIND + "frontier-0123456789", body) == parts
    assert parse_form(KIND + '"frontier-0123456789"; charset=utf-8', bytearray(body)) == parts


def test_a_boundary_inside_a_file_is_data_unless_it_begins_a_line() -> None:
    part = Part("file", "x", "", b"x--edge is not the end, nor is \n--edge")
    assert parse_form(KIND + "edge", written([part], "edge")) == [part]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/mixed; boundary=x", ""])
def test_another_content_type_is_no_form(kind: str) -> None:
    with pytest.raises(MalformedForm):
        parse_form(kind, b"--x--")
