"""pip, wherever Python keeps it; Debian's Python has none until a package brings it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from .cache import cached, digest
from .command import run
from .errors import LocalClusterError


def pip(words: Sequence[str | Path]) -> str:
    """Run pip with the interpreter that runs us, from its own installation or from a cached virtual environment."""
    return run([*_pip_command(), "--disable-pip-version-check", "--no-input", *words])


def virtualenv(name: str, requirements: Path, *, python: Path = Path(sys.executable)) -> Path:
    """The interpreter of a cached virtual environment that holds exactly the locked requirements. ``python``: of our own version."""

    def build(folder: Path) -> None:
        run([python, "-m", "venv", "--without-pip", folder])
        site = next((folder / "lib").glob("python3*/site-packages"))
        pip(["install", "-q", "--require-hashes", "--no-deps", "--target", site, "-r", requirements])

    return cached(f"venv-{name}", digest(requirements, sys.version, str(python)), build) / "bin" / "python"


def _pip_command() -> list[str | Path]:
    try:
        run([sys.executable, "-m", "pip", "--version"])
    except LocalClusterError:
        return [cached("venv-pip", digest(sys.version, sys.executable), _build_pip) / "bin" / "python", "-m", "pip"]
    return [sys.executable, "-m", "pip"]


def _build_pip(folder: Path) -> None:
    try:
        run([sys.executable, "-m", "venv", folder])
    except LocalClusterError as error:
        raise LocalClusterError(f"this Python has neither pip nor venv (Debian: apt-get install python3-venv)\n{error}") from error
