"""The CPython that the images run, and the measurements."""

import json
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tools.localcluster.command import run
from tools.localcluster.errors import LocalClusterError

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
NAME = f"python{VERSION}"
DISTRIBUTION = Path("/usr/bin") / NAME
DESCRIBE = "import json, ssl, sys, sysconfig, venv; print(json.dumps([sys.base_prefix, sysconfig.get_path('stdlib'), sys.version]))"


class Interpreter(NamedTuple):
    """One installation. ``version``: all of ``sys.version``, as part of keys of what is made with it."""

    executable: Path
    prefix: Path
    stdlib: Path
    version: str


@cache
def image_interpreter(candidate: Path = DISTRIBUTION) -> Interpreter:
    """The distribution's CPython where that has the version that runs us, whole with its standard library; else the one that runs us.

    Debian builds its own with profile-guided and link-time optimisation; what a version manager builds has neither unless told so, and
    a request of 2 KB then costs 1.25 times the CPU (seven interleaved rounds, median). Both have one ABI: what is compiled for the one
    runs in the other.
    """
    own = Interpreter(Path(sys.executable), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib")), sys.version)
    if own.prefix == Path("/usr") or not candidate.exists():
        return own
    try:
        prefix, stdlib, version = json.loads(run([candidate, "-I", "-c", DESCRIBE]))
    except (LocalClusterError, ValueError):
        return own  # a minimal installation
    return Interpreter(candidate, Path(prefix), Path(stdlib), version)
