"""The controller or the API server dies under traffic: requests go on, what is held shrinks in time, all comes back by itself."""

import contextlib
from collections.abc import Iterator

import pytest
from tests.cluster.stage import Stage, Traffic
from tools.localcluster.servercontrol import start_server, stop_server

pytestmark = pytest.mark.cluster

WITHIN_PER_S = 5.0
ABOVE_PER_S = 40.0
SHORT_TOKENS = 20
"""What the application asks for in `max_tokens`."""
SYSTEM = "claudeops-system"
OWN_REFUSALS = {"429 quota", "429 queue_full", "429 deadline"}


@contextlib.contextmanager
def steady(stage: Stage) -> Iterator[Traffic]:
    """Traffic within the guarantee, served under a fresh lease."""
    with stage.traffic("bot") as traffic:
        traffic.load(WITHIN_PER_S)
        stage.wait_phase(traffic, "Fresh")
        stage.wait_served(traffic, 10)
        yield traffic


@contextlib.contextmanager
def killed_controller(stage: Stage) -> Iterator[None]:
    """While in the block there is no controller: its pod was given no time to say goodbye."""
    pods = ("delete", "pod", "-l", "app.kubernetes.io/name=claudeops-controller", "--grace-period=0", "--force")
    stage.cluster.kubectl("-n", SYSTEM, "scale", "deployment/claudeops-controller", "--replicas=0")
    stage.cluster.kubectl("-n", SYSTEM, *pods)
    try:
        yield
    finally:
        stage.scale("claudeops-controller", 1, namespace=SYSTEM)


def test_a_killed_controller_costs_no_request_within_the_lease_and_only_our_own_429s_above_it(stage: Stage) -> None:
    uid = stage.cluster.get_json("pod", stage.pod("bot"), namespace="t-faults")["metadata"]["uid"]
    with steady(stage) as traffic:
        epoch = traffic.state()["exchange"]["epoch"]
        with killed_controller(stage):
            stage.wait_phase(traffic, "Reduced")
            stage.wait_served(traffic, 15)
            assert traffic.failures() == {}, "demand was within what the proxy holds"
            traffic.load(ABOVE_PER_S)
            stage.cluster.wait_for(lambda: sum(traffic.failures().values()) >= 30, what="refusals")
            counts = stage.wait_idle(traffic)
        assert {name for name in counts["outcomes"] if name not in {"asked", "ok"}} <= OWN_REFUSALS
        assert all(1 <= int(refusal["retryAfter"]) <= 60 for refusal in counts["refusals"])
        assert {refusal["body"]["error"]["type"] for refusal in counts["refusals"]} == {"rate_limit_error"}
        traffic.tell("/forget")
        traffic.load(WITHIN_PER_S)
        stage.wait_phase(traffic, "Fresh", timeout_s=60)
        stage.wait_served(traffic, 10)
        assert traffic.failures() == {}
        assert traffic.state()["exchange"]["epoch"] > epoch
    pod = stage.cluster.get_json("pod", stage.pod("bot"), namespace="t-faults")
    assert pod["metadata"]["uid"] == uid
    assert {status["restartCount"] for status in pod["status"]["initContainerStatuses"]} == {0}
    stage.tenant.wait_ready("Converged")


def test_without_the_api_server_requests_and_exchange_go_on_and_changes_hold_soon_after(stage: Stage) -> None:
    layout = stage.cluster.layout
    if layout is None:
        pytest.skip("only the local cluster's API server is ours to kill")
    with steady(stage) as traffic, stage.cluster.reach("t-faults", "svc/simulator:8080") as simulator:
        stop_server(layout, "kube-apiserver")
        try:
            before = traffic.state()["exchange"]
            stage.wait_served(traffic, 50)
            state = traffic.state()
        finally:
            start_server(layout, "kube-apiserver")
        assert state["leaseState"] == "Fresh"
        assert state["exchange"]["answers"] > before["answers"]
        assert state["exchange"]["error"] is None and state["exchange"]["epoch"] == before["epoch"]
        stage.cluster.wait_for(lambda: stage.cluster.kubectl("get", "--raw", "/readyz"), 60, what="the API server")
        fewer = SHORT_TOKENS - 3
        stage.tenant.apply(stage.tenant.profile(maxTokens={"max": fewer}))

        def is_in_force() -> bool:
            return {request["max_tokens"] for request in Traffic(simulator).look("/_sim/requests?limit=3")} == {fewer}

        stage.cluster.wait_for(is_in_force, 15, what="the changed profile at the API")
        stage.tenant.apply(stage.tenant.profile())
        assert traffic.failures() == {}
