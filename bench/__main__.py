"""``python -m bench``: the proxy beside Envoy, and its memory; about ten minutes. The others need a cluster, peers or more time."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("bench.memory", "bench.proxy")


def main() -> int:
    """0 when each of them ran to its end; words are handed on to the comparison."""
    code = 0
    for module in MODULES:
        print(f"==> {module}", flush=True)
        words = sys.argv[1:] if module == "bench.proxy" else []
        code = subprocess.run([sys.executable, "-m", module, *words], check=False).returncode or code
    return code


if __name__ == "__main__":
    sys.exit(main())
