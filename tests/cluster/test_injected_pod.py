"""Injected pods in a real API server: valid, and admitted to a namespace of Pod Security level restricted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonpatch
import pytest
from tests.cluster.kubernetes import Cluster
from tests.unit.api.objects import SMALLEST
from tests.unit.translate.pods import GOLDEN_PODS

from claudeops.api import parse_workload
from claudeops.translate.injection import Patched, inject_pod
from claudeops.translate.proxy_container import InjectionSettings

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that admits nothing but restricted pods."""
    with cluster.namespace("injected-pod-tests", labels={"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


@pytest.mark.parametrize("name", sorted(GOLDEN_PODS))
def test_an_injected_pod_is_admitted_under_the_restricted_level(cluster: Cluster, namespace: str, name: str) -> None:
    decision = inject_pod(
        GOLDEN_PODS[name],
        namespace=namespace,
        workload=parse_workload(SMALLEST["ClaudeWorkload"]),
        settings=InjectionSettings(image="claudeops-sidecar:dev"),
    )
    assert isinstance(decision, Patched)
    pod = jsonpatch.apply_patch(GOLDEN_PODS[name], list(decision.json_patch))
    pod["metadata"]["labels"].pop("claudeops.dev/workload")  # the installed webhook must not be asked here
    stored = json.loads(cluster.kubectl("create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-", stdin=json.dumps(pod)))
    assert stored["spec"]["initContainers"][0]["name"] == "claudeops-sidecar"
    expected = "Guaranteed" if name == "guaranteed" else "Burstable"
    assert stored["status"]["qosClass"] == expected
