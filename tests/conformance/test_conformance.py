"""Through the proxy, an application gets what the API says: the same bodies and the same headers, with every SDK."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.live_simulator import live_simulator
from tests.sdk import SDK_VERSIONS, sdk_environment
from tests.standalone.running import running

from claudeops.simulator import SimulatorConfig

pytestmark = pytest.mark.sdk

SESSION = Path(__file__).with_name("session.py")
TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
KEY = "sk-ant-sim-conformance"
MANIFESTS = """\
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeQuota
metadata: {{name: default}}
spec:
  tier: Scale
  upstream: {{baseUrl: "{url}", allowPlaintext: true}}
---
apiVersion: v1
kind: Secret
metadata: {{name: key}}
stringData: {{api-key: {key}}}
---
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeWorkload
metadata: {{name: application}}
spec:
  credentials: {{secretRef: {{name: key, key: api-key}}}}
  model: {{name: claude-sonnet-5-5, clientChoice: Allowed}}
  endpoints: [Batches, Files]
  resilience:
    retry: {{maxAttempts: 1}}
    breaker: {{consecutiveThrottles: 1000, minimumRequests: 100000}}
"""
"""A workload that changes nothing: what the application sends is what the API gets, once."""


def _scenarios() -> list[str]:
    """Read from the source: the session runs only where there is an SDK."""
    for node in ast.parse(SESSION.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "SCENARIOS":
            assert isinstance(node.value, ast.Tuple)
            return [element.id for element in node.value.elts if isinstance(element, ast.Name)]
    raise AssertionError("no SCENARIOS")


class Sides(NamedTuple):
    api: str
    proxy: str


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """A simulator that answers equal requests equally, and a proxy in front of it."""
    folder = tmp_path_factory.mktemp("conformance")
    transcripts = {path.stem: path.read_text() for path in TRANSCRIPTS.glob("*.sse")}
    configuration = SimulatorConfig(has_fixed_ids=True, speed=1000, tier="Scale", transcripts=transcripts)
    with live_simulator(configuration) as simulator:
        (folder / "manifests.yaml").write_text(MANIFESTS.format(url=simulator.url, key=KEY))
        with running("-f", str(folder), "--port", "0", folder=folder) as started:
            yield Sides(simulator.url, started.wait_until_ready("default/application")["default/application"][0])


@pytest.fixture(scope="module", params=SDK_VERSIONS)
def report(request: pytest.FixtureRequest, sides: Sides) -> dict[str, Any]:
    """What one SDK saw: every scenario at both sides, in one process."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(SESSION), sides.api, sides.proxy, KEY]
    done = subprocess.run(command, env=sdk_environment(request.param), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["version"] == request.param
    return found


@pytest.mark.parametrize("scenario", _scenarios())
def test_the_proxy_passes_on_what_the_api_says(report: dict[str, Any], scenario: str) -> None:
    seen = report["scenarios"][scenario]
    assert not seen["failed"], seen["failed"]
    assert seen["exchanges"] > 0
    assert seen["differences"] == [], "\n".join(seen["differences"])
    assert seen["outcomes"] == [], "\n".join(seen["outcomes"])


def test_the_api_receives_what_the_application_sends(report: dict[str, Any]) -> None:
    """Bodies byte for byte (by their hash), and the headers' names and the values that the API's log keeps."""
    requests = report["requests"]
    assert requests["count"] > 40
    assert (requests["lost"], requests["added"]) == ([], [])
