"""The small form of the soak: the long one is ``python -m bench.soak``."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_nothing_is_left_of_mixed_requests_and_faults() -> None:
    command = [sys.executable, "-m", "bench.soak", "--requests", "1600", "--workers", "24", "--growth-mib", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("PASS")
