"""The parts of the local cluster that decide something without a cluster."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tools.localcluster import preflight
from tools.localcluster.cli import COMMANDS, build_parser, main
from tools.localcluster.command import run
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.forward import find_target
from tools.localcluster.layout import Layout
from tools.localcluster.process import identify
from tools.localcluster.progress import Progress
from tools.localcluster.servers import kubernetes_version


def test_a_process_is_not_mistaken_for_a_later_one_with_its_pid() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me.is_alive()
    assert not replace(me, start_ticks=me.start_ticks - 1).is_alive()


def test_a_missing_command_is_reported_by_name() -> None:
    with pytest.raises(LocalClusterError, match="no-such-program is not installed"):
        run(["no-such-program"])


def test_without_root_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LocalClusterError, match=r"needs root.*CONTEXT"):
        preflight.check_machine(tmp_path)


def test_a_cache_in_a_folder_that_the_box_hides_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "filesystem_of", lambda path: "ext4")
    with pytest.raises(LocalClusterError, match="/var/lib/me"):
        preflight.check_machine(Path("/var/lib/me"))


def test_the_file_system_of_a_path_that_is_not_there_yet_is_its_parents() -> None:
    assert preflight.filesystem_of(Path("/proc/nothing/here")) == "proc"


def test_missing_packages_are_named_when_they_cannot_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "missing_packages", lambda: ["runc", "nftables"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LocalClusterError, match="runc, nftables"):
        preflight.install_packages(Progress(quiet=True))


@pytest.mark.parametrize("name", ["web:80", "svc/web", "svc/:80", "node/web:80"])
def test_a_forwards_target_is_checked_before_anything_is_asked(name: str) -> None:
    with pytest.raises(LocalClusterError, match="neither"):
        find_target(Layout("none"), namespace="default", name=name)


def test_the_version_of_kubernetes_is_that_of_the_module() -> None:
    assert kubernetes_version().startswith("v1.")


def test_every_command_of_the_parser_has_its_function() -> None:
    choices = next(action.choices for action in build_parser()._actions if action.dest == "command")
    assert choices is not None
    assert set(choices) == set(COMMANDS)


def test_a_command_for_a_cluster_that_is_down_says_how_to_bring_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--name", "never-made", "kubeconfig"]) == 1
    assert "not up: python -m tools.localcluster up" in capsys.readouterr().err
