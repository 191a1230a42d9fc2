"""The interpreter of the images: the distribution's where it is whole, else the one that runs us."""

import subprocess
import sys
from pathlib import Path

import pytest
from tools.images.interpreter import DISTRIBUTION, image_interpreter


def script(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("text", ["echo no module named ssl >&2; exit 1", "echo something else", "exit 0"])
def test_a_minimal_or_broken_installation_is_passed_over(text: str, tmp_path: Path) -> None:
    assert image_interpreter(script(tmp_path, text)).executable == Path(sys.executable)


def test_without_the_distributions_the_images_get_the_one_that_runs_us(tmp_path: Path) -> None:
    assert image_interpreter(tmp_path / "none").version == sys.version


def test_what_is_taken_has_our_version_and_its_standard_library() -> None:
    taken = image_interpreter()
    said = subprocess.run([taken.executable, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == taken.version
    assert taken.version.split(".")[:2] == sys.version.split(".")[:2]
    assert (taken.stdlib / "os.py").exists()
    if sys.base_prefix == "/usr":
        assert taken.executable == Path(sys.executable)
    elif DISTRIBUTION.exists():
        assert taken.executable == DISTRIBUTION
