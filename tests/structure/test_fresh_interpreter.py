"""What an interpreter of its own loads and says."""

from __future__ import annotations

import os
import subprocess
import sys


def test_the_catalogue_loads_nothing_heavy() -> None:
    code = "import sys, claudeops.catalogue as c; c.load_catalogue(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("yaml", "pydantic", "asyncio", "importlib.resources", "pkg_resources", "kubernetes"):
        assert f"'{heavy}'" not in loaded


def test_a_missing_extra_is_named_with_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['kopf'] = None; sys.modules['aiohttp'] = None; sys.modules['kubernetes'] = None\n"
    code += "from claudeops.cli import main; sys.exit(main(['controller', '--help']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'claudeops[controller]'" in done.stderr


def test_completion_offers_the_commands() -> None:
    env = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "COMP_LINE": "claudeops si",
        "COMP_POINT": "12",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
    }
    done = subprocess.run([sys.executable, "-m", "claudeops", "si"], env=env, capture_output=True, text=True, check=False)
    assert {"sidecar", "simulate"} >= set(done.stdout.replace("\x0b", " ").split()) != set()


def test_a_pod_s_proxy_loads_nothing_that_it_does_not_use() -> None:
    code = "import sys, claudeops.cli, claudeops.sidecar.command, claudeops.sidecar.lifecycle; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"argparse", "prometheus_client", "h2", "http.server", "http.client", "email", "urllib.request", "yaml"} == set()
