"""Simulators on real sockets, and one session of every SDK against one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.live_simulator import live_simulator
from tests.sdk import SDK_VERSIONS, sdk_environment

from claudeops.simulator import Simulator, SimulatorConfig

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
SESSION = Path(__file__).with_name("sdk_session.py")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A fast simulator with short answers and the limits of the Build tier."""
    with live_simulator(SimulatorConfig(speed=1000, output_median_tokens=40, today=date(2026, 11, 22))) as running:
        yield running


@pytest.fixture(scope="session", params=SDK_VERSIONS)
def sdk_version(request: pytest.FixtureRequest) -> str:
    """Each SDK in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def sessions() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """``sdk_session.py`` under every SDK, each with a simulator of its own, all at the same time."""
    transcripts = {path.stem: path.read_text(encoding="utf-8") for path in TRANSCRIPTS.glob("*.sse")}
    with ExitStack() as stack:
        running = {}
        for version in SDK_VERSIONS:
            simulator = stack.enter_context(
                live_simulator(
                    SimulatorConfig(speed=500, output_median_tokens=60, transcripts=transcripts, spend_limits_usd={"usage_tier": 1000})
                )
            )
            command = [sys.executable, "-W", "ignore::DeprecationWarning", str(SESSION), simulator.url]
            streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            running[version] = stack.enter_context(subprocess.Popen(command, env=sdk_environment(version), **streams))
        yield running


@pytest.fixture(scope="session")
def outcomes(sdk_version: str, sessions: dict[str, subprocess.Popen[str]]) -> dict[str, Any]:
    """What happened to each scenario of ``sdk_session.py`` under this SDK."""
    process = sessions[sdk_version]
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(output)
    return found
