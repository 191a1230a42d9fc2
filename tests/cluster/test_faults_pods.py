"""Pods that end, pods that may not start, and pods that started without their proxy."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.kubernetes import Cluster, KubectlError
from tests.cluster.stage import NAMESPACE, Stage, Traffic, workload
from tests.cluster.tenant import RESTRICTED, SLEEP

pytestmark = pytest.mark.cluster

STREAMS = 50
SYSTEM = "claudeops-system"
PROXY = "claudeops-sidecar"
WEBHOOK = ("mutatingwebhookconfiguration", "claudeops-injector")
TERMINATE = "import os, signal; os.kill(1, signal.SIGTERM)"


def begin_streams(stage: Stage, traffic: Traffic) -> None:
    """Until fifty streams run, none of which has ended."""
    traffic.tell("/streams", count=STREAMS)
    counts = stage.cluster.wait_for(
        lambda: found if (found := traffic.counts())["streams"].get("begun") == STREAMS else None, what="streams"
    )
    assert counts["streams"] == {"begun": STREAMS}


def labelled_pod(label: str | None, **spec: Any) -> str:
    container = {"name": "app", "image": "claudeops-example:dev", "args": ["-c", SLEEP], "securityContext": RESTRICTED}
    labels = {"claudeops.dev/workload": label} if label else {}
    metadata = {"name": "probe", "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}})


def admit(cluster: Cluster, pod: str) -> dict[str, Any]:
    """The pod as the API server would store it. Raises KubectlError with its refusal."""
    stored: dict[str, Any] = json.loads(cluster.kubectl("create", "--dry-run=server", "-n", NAMESPACE, "-o", "json", "-f", "-", stdin=pod))
    return stored


def has_proxy(pod: dict[str, Any]) -> bool:
    return any(container["name"] == PROXY for container in pod["spec"].get("initContainers", []))


def is_refused(cluster: Cluster, pod: str) -> bool:
    try:
        return not admit(cluster, pod)
    except KubectlError:
        return True


def test_a_proxy_that_is_told_to_end_finishes_fifty_streams_and_starts_again(stage: Stage) -> None:
    with stage.traffic("streamer") as traffic:
        begin_streams(stage, traffic)
        stage.cluster.kubectl("-n", NAMESPACE, "exec", stage.pod("streamer"), "-c", PROXY, "--", "python3", "-c", TERMINATE)
        stage.cluster.wait_for(lambda: traffic.state().get("isDraining"), 5, what="the drain")
        refused = traffic.tell("/ask")["refusals"][-1]
        assert (refused["status"], refused["reason"], refused["retryAfter"]) == (503, "draining", "1")
        assert refused["body"]["error"]["type"] == "api_error"
        counts = stage.wait_idle(traffic)
        assert counts["streams"] == {"begun": STREAMS, "whole": STREAMS}
        stage.cluster.wait_for(lambda: traffic.state().get("isDraining") is False, 40, what="the proxy again")
        stage.cluster.wait_for(lambda: traffic.tell("/ask")["outcomes"].get("ok", 0) > 0, what="a good answer")


def test_a_deleted_pod_ends_only_when_its_fifty_streams_have(stage: Stage) -> None:
    pod = stage.pod("streamer")
    with stage.traffic("streamer") as traffic, following(stage, pod) as log:
        begin_streams(stage, traffic)
        stage.cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--wait=false")
        said, _ = log.communicate(timeout=30)
    counts = json.loads(said.splitlines()[-1])
    assert counts["ending"] == STREAMS, "the streams ran when the pod was told to end"
    assert counts["streams"] == {"begun": STREAMS, "whole": STREAMS}


@contextlib.contextmanager
def following(stage: Stage, pod: str) -> Iterator["subprocess.Popen[str]"]:
    """What the application prints, to its end."""
    argv = stage.cluster.command("-n", NAMESPACE, "logs", "-f", pod, "-c", "app")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "label, spec, message",
    [
        ("bot", {"hostNetwork": True}, "hostNetwork: true shares 127.0.0.1 with every pod of the node.* remove hostNetwork, or the label"),
        ("bot", {"shareProcessNamespace": True}, "would let the application read the proxy's API key: remove shareProcessNamespace"),
        ("nobody", {}, "ClaudeWorkload t-faults/nobody does not exist: create it, or remove the label"),
    ],
)
def test_a_pod_that_cannot_be_served_is_refused_with_the_way_out(stage: Stage, label: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(KubectlError, match=message):
        admit(stage.cluster, labelled_pod(label, **spec))


def test_without_the_injector_labelled_pods_are_refused_and_start_by_themselves_when_it_is_back(stage: Stage) -> None:
    cluster = stage.cluster
    with stage.absent("claudeops-injector", namespace=SYSTEM):
        with pytest.raises(KubectlError, match=r'failed calling webhook "pods\.claudeops\.dev"'):
            admit(cluster, labelled_pod("bot"))
        assert not has_proxy(admit(cluster, labelled_pod(None)))
        stage.tenant.apply(stage.tenant.deployment("late", workload="bot"))
        events = ("events", "--field-selector=reason=FailedCreate")
        cluster.wait_for(lambda: "claudeops-injector" in str(cluster.get_json(*events, namespace=NAMESPACE)), what="the event")
    try:
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/late", "--timeout=60s", timeout_s=70)
        assert has_proxy(cluster.get_json("pod", stage.pod("late"), namespace=NAMESPACE))
    finally:
        cluster.delete("deployment", "late", namespace=NAMESPACE)


def test_pods_that_started_without_a_proxy_are_named_with_the_line_that_puts_it_in(stage: Stage) -> None:
    cluster, tenant = stage.cluster, stage.tenant
    scaling = {"mode": "Fixed", "targetRef": {"kind": "Deployment", "name": "bare"}, "max": 1}
    tenant.apply(workload(tenant, "bare", scaling=scaling))
    tenant.wait_ready("NoProxies", "bare")
    try:
        with no_webhook(cluster):
            tenant.apply(tenant.deployment("bare", workload="bare"))
            pod = stage.pod("bare")
        assert not has_proxy(cluster.get_json("pod", pod, namespace=NAMESPACE))

        def is_missing(status: str) -> dict[str, Any] | None:
            found = tenant.condition("InjectionMissing", "bare")
            return found if found.get("status") == status else None

        missing = cluster.wait_for(lambda: is_missing("True"), what="InjectionMissing")
        assert pod in missing["message"]
        line = missing["message"].partition("To put it in: ")[2]
        assert line == "kubectl -n t-faults rollout restart deployment/bare"
        cluster.kubectl(*line.split()[1:])
        cluster.wait_for(lambda: is_missing("False"), what="the condition to go")
        assert has_proxy(cluster.get_json("pod", stage.pod("bare"), namespace=NAMESPACE))
    finally:
        cluster.delete("deployment/bare", "claudeworkload/bare", namespace=NAMESPACE)


@contextlib.contextmanager
def no_webhook(cluster: Cluster) -> Iterator[None]:
    """While in the block, nobody looks at labelled pods. Then the webhook is as it was."""
    stored = cluster.get_json(*WEBHOOK)
    kept = {key: stored["metadata"][key] for key in ("name", "labels")}
    unknown = labelled_pod("nobody")
    cluster.delete(*WEBHOOK)
    try:
        cluster.wait_for(lambda: not is_refused(cluster, unknown), what="the end of the webhook")
        yield
    finally:
        cluster.kubectl("create", "-f", "-", stdin=json.dumps({**stored, "metadata": kept}))
        cluster.wait_for(lambda: is_refused(cluster, unknown), what="the webhook")
