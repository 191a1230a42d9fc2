"""Control groups of both kinds, as trees of plain files."""

import os
from pathlib import Path

import pytest
from tools.localcluster.cgroup import detect_cgroups
from tools.localcluster.errors import LocalClusterError

V1 = ("cpu,cpuacct", "memory", "cpuset", "pids", "systemd")


def hierarchy(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").write_text("1\n")
    if "cpuset" in names:
        (root / "cpuset/cpuset.cpus").write_text("0-1\n")
        (root / "cpuset/cpuset.mems").write_text("0\n")
    return root


def unified(root: Path, *, available: str = "cpuset cpu io memory pids", enabled: str = "") -> Path:
    root.mkdir(exist_ok=True)
    (root / "cgroup.controllers").write_text(available)
    (root / "cgroup.subtree_control").write_text(enabled)
    return root


def test_a_v1_machine_gets_a_group_in_every_hierarchy_with_its_cpus(tmp_path: Path) -> None:
    tree = detect_cgroups(hierarchy(tmp_path, *V1))
    tree.create("box")
    assert tree.version == 1
    assert all((tmp_path / name / "box").is_dir() for name in V1)
    assert (tmp_path / "cpuset/box/cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "cpuset/box/cpuset.mems").read_text() == "0\n"


def test_the_pods_weigh_as_much_as_on_a_node_of_their_own(tmp_path: Path) -> None:
    tree = detect_cgroups(hierarchy(tmp_path, *V1))
    (tmp_path / "cpu,cpuacct/cpu.shares").write_text("1024\n")
    tree.create("box")
    assert int((tmp_path / "cpu,cpuacct/box/cpu.shares").read_text()) == 1024 * (os.cpu_count() or 1)
    assert not (tmp_path / "memory/box/cpu.shares").exists()


def test_a_hierarchy_with_two_names_is_counted_once(tmp_path: Path) -> None:
    hierarchy(tmp_path, *V1)
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    assert len(detect_cgroups(tmp_path).parents) == len(V1)


def test_a_v2_machine_gets_one_group_and_its_controllers(tmp_path: Path) -> None:
    tree = detect_cgroups(unified(tmp_path, enabled="cpu memory pids"))
    tree.create("box")
    assert tree.version == 2
    assert (tmp_path / "box").is_dir()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset"


def test_a_v2_machine_without_a_needed_controller_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match=r"version 2.*lack cpuset, pids"):
        detect_cgroups(unified(tmp_path, available="cpu memory"))


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="lack cpu, memory, cpuset, pids"):
        detect_cgroups(tmp_path)


def test_a_machine_without_control_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="no control groups"):
        detect_cgroups(tmp_path / "none")


def test_removal_takes_groups_that_pods_left_in_it(tmp_path: Path) -> None:
    tree = detect_cgroups(hierarchy(tmp_path, "cpu", "memory", "cpuset", "pids"))
    (tmp_path / "memory/box/kubepods/burstable").mkdir(parents=True)
    tree.remove("box")
    assert not (tmp_path / "memory/box").exists()


def test_removal_of_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    tree = detect_cgroups(unified(tmp_path))
    tree.remove("box")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cgroup.controllers", "cgroup.subtree_control"]
