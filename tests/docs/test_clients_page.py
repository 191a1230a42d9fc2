"""``docs/clients.md`` says what the code does: every figure on it is the constant's."""

from __future__ import annotations

from pathlib import Path

import pytest

from claudeops.sidecar.pipeline import MAX_BODY_BYTES
from claudeops.wire import body, intake, server

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "clients.md").read_text().split())


@pytest.mark.parametrize(
    "words",
    [
        f"| head | {server.MAX_HEAD_BYTES} bytes | 431 |",
        f"| body | {MAX_BODY_BYTES} bytes;",
        f"| time for a head | {intake.ARRIVAL_TICKS} s | 408 |",
        f"may rest for {intake.ARRIVAL_TICKS} s in all, and gets time back by coming: {intake.ARRIVAL_BYTES_PER_TICK} bytes are a second",
        f"| idle | {server.IDLE_TICKS} s between",
        f"one chunked body | {body.SPARE_MAX_BYTES} bytes, {body.CHUNK_LINE_MAX_BYTES} a line |",
    ],
)
def test_every_figure_is_the_one_in_force(words: str) -> None:
    assert words in PAGE
