"""What is cached is found by its inputs, and is never half there."""

from pathlib import Path

import pytest
from tools.localcluster.cache import KEPT_PER_KIND, cached, digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_it_is_built_once() -> None:
    calls = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "made").write_text("x")

    assert cached("kind", "key", build) == cached("kind", "key", build)
    assert len(calls) == 1


def test_a_build_that_fails_leaves_nothing_that_could_be_taken_for_it() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ValueError

    with pytest.raises(ValueError):
        cached("kind", "key", fail)
    built = cached("kind", "key", lambda folder: (folder / "whole").touch())
    assert [path.name for path in built.iterdir()] == ["whole"]


def test_old_entries_go(own_cache: Path) -> None:
    for number in range(KEPT_PER_KIND + 3):
        cached("kind", f"key{number}", lambda folder: None)
    assert len([path for path in (own_cache / "claudeops/kind").iterdir() if not path.name.startswith(".")]) == KEPT_PER_KIND


def test_the_digest_of_a_folder_sees_names_and_contents_but_no_bytecode(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = digest(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("x")
    assert digest(folder) == first
    (folder / "a").rename(folder / "b")
    assert digest(folder) != first


def test_the_digest_keeps_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
