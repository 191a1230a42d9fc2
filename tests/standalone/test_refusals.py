"""What cannot be run is said before anything runs, with the place and what to do."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from tests.standalone.running import EXAMPLE, running

from claudeops.cli import main


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "manifests"))


def test_a_port_that_is_taken_is_named_with_the_flag(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with running("-f", str(EXAMPLE), "--port", str(port), folder=tmp_path) as started:
            assert started.process.wait(90) == 1
            started.end()
            assert started.complaint.startswith(f"claudeops run: --port: port {port} of 127.0.0.1 cannot be had")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_is_said_with_every_way_to_give_one(
    manifests: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (manifests / "secret.yaml").unlink()
    assert main(["run", "--check", "-f", str(manifests)]) == 1
    said = capsys.readouterr().err
    assert f"{manifests}/workloads.yaml:9: ClaudeWorkload shop/support-bot: no API key" in said
    assert [word for word in ("ANTHROPIC_API_KEY", "--key-file", "--simulator", "Secret shop/claude-key") if word not in said] == []
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-sim-environment")
    assert main(["run", "--check", "-f", str(manifests)]) == 0
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert main(["run", "--check", "--simulator", "-f", str(manifests)]) == 0
    (manifests / "key").write_text("two\nlines\n")
    assert main(["run", "--check", "--key-file", str(manifests / "key"), "-f", str(manifests)]) == 1
    said = capsys.readouterr().err
    assert "--key-file" in said and "two" not in said.replace(str(manifests), "")


def test_every_complaint_is_listed_at_once(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (manifests / "profile.yaml").unlink()
    (manifests / "broken.yaml").write_text("kind: [\n")
    assert main(["run", "-f", str(manifests), "-f", str(manifests / "missing")]) == 1
    assert f"{manifests}/missing: no such file or folder" in capsys.readouterr().err
    assert main(["run", "-f", str(manifests)]) == 1
    said = capsys.readouterr().err
    assert f"{manifests}/broken.yaml:2: no YAML" in said
    assert said.count("spec.sampling.profileRef: SamplingProfile careful does not exist") == 2


def test_what_does_not_fit_but_may_stay_is_a_note(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quota = manifests / "quota.yaml"
    quota.write_text(quota.read_text().replace("group: sonnet-4.x", "group: sonet-4.x"))
    assert main(["run", "--check", "-f", str(manifests)]) == 0
    said = capsys.readouterr()
    assert "note: ClaudeQuota prod: spec.limits names the model group sonet-4.x, which the catalogue does not know" in said.err
    assert f"note: {manifests}/workloads.yaml" in said.err and "declares no limits for the model group sonnet-4.x" in said.err
    assert "all can be used" in said.out


def test_a_folder_without_a_workload_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(EXAMPLE / "quota.yaml", tmp_path)
    assert main(["run", "-f", str(tmp_path)]) == 1
    assert f"no ClaudeWorkload in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "70000"], ["--proxies", "0"], ["--grace", "-1"], ["--set", "no_such=1"]])
def test_a_flag_that_cannot_be_used_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", str(EXAMPLE), *words]) == 1
    assert words[0] in capsys.readouterr().err
