"""The demonstration's first act, alone: it needs neither a cluster nor a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.demo.opening import TITLE, Opening
from tools.demo.screen import Screen


def test_the_opening_plays_by_itself_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    opening = Opening(Screen(is_live=False))
    try:
        opening.tell()
    finally:
        opening.close()
    (result,) = opening.results
    assert result["happened"], result
    assert (result["step"], result["figures"]["directly"], result["figures"]["throughTheProxy"]) == (TITLE, 400, 200)
    assert list(tmp_path.iterdir()) == []
