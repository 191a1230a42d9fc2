"""``python -m bench``: every measurement that needs no cluster, one after the other."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("bench.memory", "bench.proxy_cpu", "bench.failover", "bench.quota")


def main() -> int:
    """0 when each of them ran to its end."""
    code = 0
    for module in MODULES:
        print(f"==> {module}", flush=True)
        code = subprocess.run([sys.executable, "-m", module], check=False).returncode or code
    return code


if __name__ == "__main__":
    sys.exit(main())
