"""What the controller decides for a whole fleet under traffic, and says of it: the flip to a fallback and back, 429s, silence, replicas.

With shortened time constants: those of the defaults are minutes.
"""

import contextlib
import functools
import json
import signal
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.kubernetes import Cluster
from tests.cluster.stage import NAMESPACE, Stage, Traffic, application, workload
from tools.localcluster.process import find_by_command_line

pytestmark = pytest.mark.cluster

SYSTEM = "claudeops-system"
CONTROLLER = "deployment/claudeops-controller"
PRIMARY, FALLBACK = "claude-sonnet-4-6", "claude-sonnet-4-5-20250929"
SHORT = (
    *("flip_hold_s=2", "flip_clean_window_s=1", "flip_interval_s=5", "throttled_hold_s=5"),
    *("scale_up_interval_s=1", "scale_down_interval_s=1", "scale_down_window_s=3", "replica_memory_s=1"),
)


@pytest.fixture(scope="module")
def swift(stage: Stage) -> Iterator[Stage]:
    """The stage under a controller whose time constants are short; it has its own again in the end."""
    found = stage.cluster.get_json("deployment", "claudeops-controller", namespace=SYSTEM)
    before = found["spec"]["template"]["spec"]["containers"][0]["args"]
    set_arguments(stage.cluster, [*before, *(f"--set={setting}" for setting in SHORT)])
    try:
        yield stage
    finally:
        set_arguments(stage.cluster, before)


def set_arguments(cluster: Cluster, arguments: list[str]) -> None:
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments}]
    cluster.kubectl("-n", SYSTEM, "patch", CONTROLLER, "--type=json", "-p", json.dumps(patch))
    cluster.kubectl("-n", SYSTEM, "rollout", "status", CONTROLLER, "--timeout=60s", timeout_s=70)


@dataclass(frozen=True)
class Fleet:
    """Two pods of one workload, each under traffic of its own."""

    stage: Stage
    name: str
    pods: dict[str, Traffic]

    def load(self, per_second: float) -> None:
        for traffic in self.pods.values():
            traffic.load(per_second)

    def forget(self) -> None:
        for traffic in self.pods.values():
            traffic.tell("/forget")

    def failures(self) -> dict[str, dict[str, int]]:
        return {pod: found for pod, traffic in self.pods.items() if (found := traffic.failures())}

    def wait_served(self, more: int) -> None:
        for traffic in self.pods.values():
            self.stage.wait_served(traffic, more)

    def wait_condition(self, kind: str, status: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
        return wait_condition(self.stage, self.name, kind, status, timeout_s=timeout_s)


def wait_condition(stage: Stage, name: str, kind: str, status: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = stage.tenant.condition(kind, name)
        return found if found.get("status") == status else None

    return stage.cluster.wait_for(look, timeout_s, what=f"{kind} {status}")


def has_event(stage: Stage, name: str, reason: str, text: str) -> Callable[[], bool]:
    def look() -> bool:
        about = [event for event in stage.tenant.events(reason) if event["involvedObject"]["name"] == name]
        return any(text in event["message"] for event in about)

    return look


@contextlib.contextmanager
def running(stage: Stage, name: str, *, replicas: int, **spec: Any) -> Iterator[None]:
    """While in the block, a workload of the stage's quota with pods of the traffic application."""
    stage.tenant.apply(workload(stage.tenant, name, **spec))
    stage.tenant.wait_ready("NoProxies", name)
    deployment = application(name)
    deployment["spec"]["replicas"] = replicas
    stage.tenant.apply(deployment)
    try:
        stage.cluster.wait_for(
            lambda: stage.tenant.status(name).get("proxies") == {"expected": replicas, "connected": replicas, "converged": replicas},
            60,
            what=f"{replicas} proxies of {name}",
        )
        yield
    finally:
        names = (f"deployment/{name}", f"claudeworkload/{name}")
        stage.cluster.kubectl("-n", NAMESPACE, "delete", *names, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def fleet(swift: Stage) -> Iterator[Fleet]:
    model = {"name": PRIMARY, "fallbacks": [{"model": FALLBACK}]}
    with running(swift, "pair", replicas=2, model=model), contextlib.ExitStack() as stack:
        items = swift.cluster.get_json("pods", "-l", "app=pair", namespace=NAMESPACE)["items"]
        names = [item["metadata"]["name"] for item in items]
        pods = {name: Traffic(stack.enter_context(swift.cluster.reach(NAMESPACE, f"pod/{name}:8080"))) for name in names}
        fleet = Fleet(swift, "pair", pods)
        swift.cluster.wait_for(lambda: _is_up(fleet), what="both applications reachable")
        yield fleet


def _is_up(fleet: Fleet) -> bool:
    try:
        return len([traffic.counts() for traffic in fleet.pods.values()]) == 2
    except OSError:
        return False


@contextlib.contextmanager
def fault(stage: Stage, **fault: Any) -> Iterator[Traffic]:
    """While in the block, the simulator has this fault; yields what looks into it."""
    with stage.cluster.reach(NAMESPACE, "svc/simulator:8080") as address:
        put_faults(address, [fault])
        try:
            yield Traffic(address)
        finally:
            put_faults(address, [])


def put_faults(address: str, faults: list[dict[str, Any]]) -> None:
    request = urllib.request.Request(f"http://{address}/_sim/faults", data=json.dumps(faults).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def test_when_the_primary_fails_the_fleet_flips_without_an_error_and_back_when_it_heals(fleet: Fleet) -> None:
    fleet.load(5)
    fleet.wait_served(10)
    fleet.forget()
    with fault(fleet.stage, kind="overloaded", model=PRIMARY) as simulator:
        flipped = fleet.wait_condition("FallbackActive", "True")
        assert flipped["reason"] == "BreakerOpen"
        assert FALLBACK in flipped["message"] and PRIMARY in flipped["message"]
        fleet.wait_served(10)
        asked = [request["model"] for request in simulator.look("/_sim/requests?limit=20")]
        assert asked.count(FALLBACK) > 2 * asked.count(PRIMARY)  # which is only probed
        fleet.stage.cluster.wait_for(has_event(fleet.stage, "pair", "BreakerOpen", FALLBACK), what="the event of the flip")
    healed = fleet.wait_condition("FallbackActive", "False", timeout_s=40)
    assert healed["reason"] == "Primary"
    fleet.stage.cluster.wait_for(has_event(fleet.stage, "pair", "Primary", "The primary model serves"), what="the event of the return")
    with fleet.stage.cluster.reach(NAMESPACE, "svc/simulator:8080") as address:
        fleet.stage.cluster.wait_for(
            lambda: {request["model"] for request in Traffic(address).look("/_sim/requests?limit=5")} == {PRIMARY}, what="the primary"
        )
    assert fleet.failures() == {}
    fleet.load(0)


def test_a_burst_of_429s_is_said_with_its_cause_and_forgotten(fleet: Fleet) -> None:
    fleet.load(5)
    with fault(fleet.stage, kind="throttle", count=3):
        throttled = fleet.wait_condition("Throttled", "True")
    assert throttled["reason"] not in {"", "NotThrottled"} and "429" in throttled["message"]
    fleet.stage.cluster.wait_for(has_event(fleet.stage, "pair", throttled["reason"], "429"), what="the event")
    assert fleet.wait_condition("Throttled", "False")["reason"] == "NotThrottled"
    fleet.load(0)


def test_a_proxy_that_falls_silent_is_named_with_likely_causes(fleet: Fleet) -> None:
    if fleet.stage.cluster.layout is None:
        pytest.skip("only on the local cluster can a process of a pod be stopped")
    pod = sorted(fleet.pods)[0]
    with stopped_proxy(fleet.stage, pod):
        said = fleet.wait_condition("TelemetryStale", "True", timeout_s=40)
        assert pod in said["message"] and "network policy" in said["message"]
    assert fleet.wait_condition("TelemetryStale", "False", timeout_s=40)["reason"] == "Reporting"


@contextlib.contextmanager
def stopped_proxy(stage: Stage, pod: str) -> Iterator[None]:
    """While in the block the pod's proxy stands still. Stopped from outside of its namespace, within which it is the first process."""
    uid = stage.cluster.get_json("pod", pod, namespace=NAMESPACE)["metadata"]["uid"]
    (proxy,) = [process for process in find_by_command_line("sidecar") if is_instance(process.pid, uid)]
    proxy.send(signal.SIGSTOP)
    try:
        yield
    finally:
        proxy.send(signal.SIGCONT)


def is_instance(pid: int, uid: str) -> bool:
    try:
        return f"CLAUDEOPS_INSTANCE={uid}" in Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return False


def test_an_external_scaler_is_followed_within_its_bounds(swift: Stage) -> None:
    scaling = {"mode": "External", "targetRef": {"kind": "Deployment", "name": "follower"}, "min": 1, "max": 3}
    swift.tenant.apply(workload(swift.tenant, "follower", scaling=scaling), swift.tenant.deployment("follower", workload="follower"))

    def has(count: int) -> bool:
        return bool(swift.cluster.get_json("deployment", "follower", namespace=NAMESPACE)["spec"]["replicas"] == count)

    try:
        swift.tenant.wait_ready("Converged", "follower")
        for asked, given in ((2, 2), (9, 3), (1, 1)):
            swift.cluster.kubectl("-n", NAMESPACE, "scale", "cw", "follower", f"--replicas={asked}")
            swift.cluster.wait_for(functools.partial(has, given), what=f"{given} replicas where {asked} were asked for")
    finally:
        swift.cluster.delete("deployment/follower", "claudeworkload/follower", namespace=NAMESPACE)


def test_an_adaptive_workload_grows_under_load_up_to_its_maximum(swift: Stage) -> None:
    target = {"kind": "Deployment", "name": "grower"}
    scaling = {"mode": "Adaptive", "targetRef": target, "min": 1, "max": 2, "targetInFlightPerReplica": 2}
    with running(swift, "grower", replicas=1, scaling=scaling), swift.traffic("grower") as traffic:
        traffic.load(10)
        swift.cluster.wait_for(lambda: swift.tenant.status("grower").get("replicas") == 2, what="a second replica")
        swift.cluster.wait_for(has_event(swift, "grower", "Scaled", "Deployment grower scaled from 1 to 2"), what="the event")
        assert swift.tenant.status("grower")["desiredReplicas"] == 2
