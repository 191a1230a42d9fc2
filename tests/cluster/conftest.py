"""A real Kubernetes for the tests: the local cluster, or one of your own.

`CLAUDEOPS_TEST_KUBECONFIG` (and `CLAUDEOPS_TEST_CONTEXT`) name a cluster of your own, into which the images must have been loaded.
Otherwise the local cluster is used: brought up if it is not, and then ended with the tests.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.cluster.evidence import describe
from tests.cluster.kubernetes import Cluster
from tests.cluster.stage import Stage, staged
from tools.localcluster.box import find_init
from tools.localcluster.cgroup import detect_cgroups
from tools.localcluster.kubectl import find_kubectl
from tools.localcluster.layout import Layout
from tools.localcluster.lifecycle import down
from tools.localcluster.process import find_by_command_line
from tools.localcluster.progress import Progress

REPOSITORY = Path(__file__).parents[2]
MANIFESTS = (("-f", "crds"), ("-k", "deploy"), ("-k", "deploy/simulator"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with a node and our images, the same for all tests: use a namespace of your own."""
    kubectl = find_kubectl(Progress(quiet=True))
    if own := os.environ.get("CLAUDEOPS_TEST_KUBECONFIG"):
        yield Cluster(kubectl, Path(own), context=os.environ.get("CLAUDEOPS_TEST_CONTEXT"))
        return
    layout = Layout(os.environ.get("CLAUDEOPS_CLUSTER", "default"))
    was_up = find_init(layout) is not None
    argv = [sys.executable, "-m", "tools.localcluster", "--name", layout.name, "up"]
    with contextlib.ExitStack() as stack:
        if not was_up:
            stack.callback(end_for_good, layout)
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"no cluster to test on (CLAUDEOPS_TEST_KUBECONFIG names one of your own):\n{done.stderr}", pytrace=False)
        yield Cluster(kubectl, layout.kubeconfig, layout=layout)


def end_for_good(layout: Layout) -> None:
    """Ends the cluster as `kill -9` does, then holds `down` to its promise: nothing stays behind."""
    if init := find_init(layout):
        init.send(signal.SIGKILL)
    down(layout)
    assert_gone(layout)


def assert_gone(layout: Layout) -> None:
    """Of the cluster there is no process, no file but what is kept, no mount and no control group."""
    assert find_by_command_line(str(layout.init_spec)) == []
    assert not layout.box.exists() and not layout.kubeconfig.exists()
    assert str(layout.box) not in Path("/proc/mounts").read_text()
    assert [parent for parent in detect_cgroups().parents if (parent / layout.cgroup).exists()] == []


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with controller, injector and simulator of this tree running in it.

    On a cluster of your own they are removed in the end, unless they were there before.
    """
    is_lent = cluster.layout is None and not cluster.kubectl("get", "namespace", "claudeops-system", "--ignore-not-found")
    for words in MANIFESTS:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", words[0], str(REPOSITORY / words[1]))
        cluster.wait_for(lambda: cluster.kubectl("get", "--raw", "/apis/claudeops.dev/v1alpha1"), what="the resource types")
    deployments = ("claudeops-system/claudeops-controller", "claudeops-system/claudeops-injector", "claude-simulator/simulator")
    for namespace, name in (deployment.split("/") for deployment in deployments):
        # The tag of an image stays when its content changes: what ran before must be started anew.
        cluster.kubectl("-n", namespace, "rollout", "restart", f"deployment/{name}")
    for namespace, name in (deployment.split("/") for deployment in deployments):
        cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s", timeout_s=130)
    yield cluster
    if is_lent:
        for words in reversed(MANIFESTS):
            cluster.kubectl("delete", "--ignore-not-found", words[0], str(REPOSITORY / words[1]), timeout_s=180)


@pytest.fixture(scope="session")
def stage(operator: Cluster) -> Iterator[Stage]:
    """Applications under load with a simulator of their own, shared by the fault tests."""
    with staged(operator) as ready:
        yield ready


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure that concerns the operator come the pods, the newest events and the last lines of its logs."""
    report = yield
    if report.failed and isinstance(operated := getattr(item, "funcargs", {}).get("operator"), Cluster):
        report.sections.append(("cluster", describe(operated)))
    return report
