"""Running other programs, with their words in the error when they fail."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LocalClusterError

TAIL_LINES = 15


def run(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
    """Run to the end and give standard output. Raises LocalClusterError with the end of what the program said."""
    words = [str(word) for word in argv]
    if not shutil.which(words[0]):
        raise LocalClusterError(f"{words[0]} is not installed")
    done = subprocess.run(
        ending_with_us(words),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-TAIL_LINES:])
        raise LocalClusterError(f"{' '.join(words[:6])} ended with code {done.returncode}:\n{said}")
    return done.stdout


def ending_with_us(argv: Sequence[str]) -> list[str]:
    """The same command, which the kernel kills when the thread that started it ends, however that ends."""
    return [*(["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []), *argv]
