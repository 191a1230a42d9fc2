"""`python -m tools.compile`: build the compiled form and print its folder; `... tests/sidecar -q`: run pytest with these words on it."""

import os
import subprocess
import sys

from tools.localcluster.errors import LocalClusterError

from .build import REPOSITORY, site


def main(words: list[str]) -> int:
    """The exit code."""
    try:
        folder = site()
    except LocalClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not words:
        print(folder)
        return 0
    # The first is for the tests' own process, whose path pytest's settings begin with; the second for those that they start.
    command = [sys.executable, "-m", "pytest", "-o", f"pythonpath={folder} .", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder), "CLAUDEOPS_COMPILED": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
