"""The servers' configuration files parse, and say what the product's tests rely on."""

import json
import tomllib
from pathlib import Path

import pytest
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.initspec import InitSpec, Server, bound_source, build_spec, read_spec
from tools.localcluster.layout import Layout
from tools.localcluster.settings import cni_config, containerd_config, corefile, kubelet_config, proxy_config

CNI = Path("/cni")


def test_containerd_1_is_told_the_pause_image_and_not_to_touch_oom_scores() -> None:
    document = tomllib.loads(containerd_config(1, cni_bin=CNI, cni_conf=CNI))
    cri = document["plugins"]["io.containerd.grpc.v1.cri"]
    assert (document["version"], cri["sandbox_image"], cri["restrict_oom_score_adj"]) == (2, "claudeops-pause:dev", True)
    assert cri["cni"] == {"bin_dir": "/cni", "conf_dir": "/cni"}


def test_containerd_2_is_told_the_same_in_its_own_words() -> None:
    plugins = tomllib.loads(containerd_config(2, cni_bin=CNI, cni_conf=CNI))["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"] == {"sandbox": "claudeops-pause:dev"}
    assert plugins["io.containerd.cri.v1.runtime"]["restrict_oom_score_adj"] is True
    assert plugins["io.containerd.cri.v1.runtime"]["cni"] == {"bin_dirs": ["/cni"], "conf_dir": "/cni"}


def test_the_kubelet_runs_on_both_kinds_of_control_groups_and_sees_changes_at_once() -> None:
    document = json.loads(kubelet_config(Layout("one")))
    assert document["failCgroupV1"] is False
    assert document["cgroupRoot"].startswith("/claudeops-one-")
    assert (document["syncFrequency"], document["configMapAndSecretChangeDetectionStrategy"]) == ("1s", "Watch")


def test_pods_get_no_masquerading_and_the_proxy_leaves_the_machines_conntrack_alone() -> None:
    assert json.loads(cni_config())["plugins"][0]["ipMasq"] is False
    assert set(json.loads(proxy_config(Layout()))["conntrack"].values()) == {0, "0s"}


def test_the_name_server_forwards_to_nobody() -> None:
    assert "forward" not in corefile(Path("/k"))


def test_a_clusters_name_is_checked_before_it_becomes_a_path() -> None:
    with pytest.raises(LocalClusterError, match="name"):
        Layout("../x")


def test_two_clusters_share_no_path_that_either_removes() -> None:
    one, two = Layout(), Layout("two")
    assert not {one.box, one.pki, one.kubeconfig, one.cgroup} & {two.box, two.pki, two.kubeconfig, two.cgroup}


def test_the_same_name_in_another_cache_folder_is_another_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Layout().cgroup
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert Layout().cgroup != here


def spec() -> InitSpec:
    forwarder = Server("forwarder", ("relay",), inherited_fds=(7,))
    return build_spec(Layout(), programs=Path("/programs"), containerd="/usr/bin/containerd", forwarder=forwarder)


def test_the_spec_survives_its_file(tmp_path: Path) -> None:
    spec().write(tmp_path / "init.json")
    assert read_spec(tmp_path / "init.json") == spec()


def test_only_what_serves_the_api_starts_before_it_answers() -> None:
    assert [server.name for server in spec().servers if not server.needs_api] == ["forwarder", "etcd", "containerd", "kube-apiserver"]


def test_the_box_has_no_default_route() -> None:
    assert not [words for words in spec().network if "default" in words or "0.0.0.0/0" in words]


def test_bound_folders_have_sources_of_their_own() -> None:
    assert bound_source(Path("/b"), "/var/lib") == Path("/b/fs/var-lib")
