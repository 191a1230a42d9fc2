"""Simulators on real sockets, and one session of every SDK against one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live_simulator import live_simulator
from tests.sdk import SDK_VERSIONS, sdk_environment

from claudeops.simulator import Simulator, SimulatorConfig

SESSION = Path(__file__).with_name("sdk_session.py")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A fast simulator with short answers and the limits of the Build tier."""
    with live_simulator(SimulatorConfig(speed=1000, output_median_tokens=40)) as running:
        yield running


@pytest.fixture(scope="session", params=SDK_VERSIONS)
def sdk_version(request: pytest.FixtureRequest) -> str:
    """Each SDK in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def outcomes(sdk_version: str) -> dict[str, Any]:
    """What happened to each scenario of ``sdk_session.py`` under this SDK."""
    with live_simulator(SimulatorConfig(speed=500, output_median_tokens=60)) as running:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", str(SESSION), running.url]
        done = subprocess.run(command, env=sdk_environment(sdk_version), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
