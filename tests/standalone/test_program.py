"""`claudeops run … -- COMMAND`: the proxies are there for one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.standalone.running import EXAMPLE

ASK = """
import json, os, sys, urllib.request
body = {"model": "x", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello?"}]}
headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": os.environ["ANTHROPIC_API_KEY"]}
request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(body).encode(), headers)
print(json.load(urllib.request.urlopen(request))["model"], sys.argv[1:])
sys.exit(7)
"""


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "claudeops", "run", "-f", str(EXAMPLE), "--simulator", "--port", "0", *words]
    return subprocess.run(
        command, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)}, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_command_finds_its_proxy_and_its_exit_code_is_the_run_s(tmp_path: Path) -> None:
    done = run("--workload", "support-bot", "--", sys.executable, "-c", ASK, "-f", "--check", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, "claude-sonnet-5-5 ['-f', '--check']\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--", "true"],
            "--workload: there are several workloads: name the one that the command is, of shop/support-bot, shop/invoice-reader",
        ),
        (["--workload", "bot", "--", "true"], "--workload: no workload is called 'bot'"),
        (["--workload", "support-bot", "--", "/no/such"], "-- COMMAND: /no/such cannot be started: No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_run_is_said(words: list[str], complaint: str, tmp_path: Path) -> None:
    done = run(*words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []
