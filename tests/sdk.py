"""The real ``anthropic`` SDKs that the tests speak with, each in a folder of its own under the user's cache.

``python -m tests.sdk`` installs them all beforehand; a test that needs one gets it by ``sdk_path(version)``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLD, MIDDLE, NEW = SDK_VERSIONS = ("0.125.0", "1.17.0", "2.12.0")


def cache_folder() -> Path:
    """Where installed SDKs are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "claudeops" / "sdk"


def sdk_path(version: str) -> Path:
    """A folder for PYTHONPATH that holds this version of the SDK; installed when it is not there yet.

    Raises RuntimeError with pip's own words when it cannot be installed.
    """
    folder = cache_folder() / f"{version}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            install(version, folder)
    return folder


def install(version: str, folder: Path) -> None:
    """pip install into a new folder, which appears under its name only when it is whole."""
    print(f"installing anthropic {version} into {folder} (once)", file=sys.stderr, flush=True)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ["-q", "--disable-pip-version-check", "--target", str(unfinished)]
    command = [sys.executable, "-m", "pip", "install", *options, f"anthropic=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pip cannot install anthropic {version}: {done.stderr.strip()}")
    unfinished.rename(folder)


def sdk_environment(version: str) -> dict[str, str]:
    """An environment for a subprocess that sees this SDK, and no credentials or proxies of the user's."""
    foreign = ("ANTHROPIC_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    return kept | {"PYTHONPATH": str(sdk_path(version)), "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    for wanted in SDK_VERSIONS:
        sdk_path(wanted)
