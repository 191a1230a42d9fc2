"""Others who want the same: a second leader, another manager of the replicas, a pod that speaks for a workload that is not its own."""

import json
from typing import Any

import pytest
from tests.cluster.kubernetes import Cluster
from tests.cluster.tenant import RESTRICTED, Tenant
from tests.cluster.test_controller import tenant_in

from claudeops.exchange import PATH, PROTOCOL, TOKEN_AUDIENCE

pytestmark = pytest.mark.cluster

SYSTEM = "claudeops-system"
SPEAK = """
import json, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
body = json.dumps({"protocol": PROTOCOL, "instance": sys.argv[1], "workload": {"namespace": sys.argv[2], "name": sys.argv[3]},
                   "sequence": 1, "revision": 0, "isUrgent": True}).encode()
token = open("/token/token").read() if sys.argv[4] == "own" else sys.argv[4]
request = urllib.request.Request("https://claudeops-exchange.claudeops-system.svc:8443PATH", body, {"Authorization": "Bearer " + token})
try:
    print(urllib.request.urlopen(request, context=context, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
""".replace("PROTOCOL", str(PROTOCOL)).replace("PATH", PATH)


def speaker(name: str, *, audience: str = TOKEN_AUDIENCE, **labels: str) -> dict[str, Any]:
    """A pod with a token of its own for the exchange."""
    container = {
        "name": "app",
        "image": "claudeops-example:dev",
        "args": ["-c", "import signal; signal.pause()"],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "token", "mountPath": "/token"}],
    }
    token = {"serviceAccountToken": {"audience": audience, "expirationSeconds": 600, "path": "token"}}
    volumes = [{"name": "token", "projected": {"sources": [token]}}]
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def speak(tenant: Tenant, pod: str, *, instance: str = "", workload: str, token: str = "own", namespace: str = "") -> str:
    """What the exchange answers to a report from this pod."""
    cluster = tenant.cluster
    uid = instance or cluster.get_json("pod", pod, namespace=tenant.namespace)["metadata"]["uid"]
    words = ("exec", pod, "-c", "app", "-n", tenant.namespace, "--", "python3", "-c", SPEAK, uid, namespace or tenant.namespace, workload)
    return cluster.wait_for(lambda: cluster.kubectl(*words, token), what="an answer of the exchange")


def test_a_pod_speaks_for_nobody_but_itself_and_its_workload(operator: Cluster) -> None:
    with tenant_in(operator, "t-speak") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(), tenant.workload("victim"))
        tenant.wait_ready("NoProxies")
        tenant.apply(speaker("bot", **{"claudeops.dev/workload": "bot"}), speaker("stray"), speaker("wrong", audience="other"))
        operator.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s", "-n", "t-speak", timeout_s=70)
        assert speak(tenant, "bot", workload="bot").strip() == "200"
        assert speak(tenant, "bot", workload="victim").startswith("403")
        assert speak(tenant, "bot", workload="bot", namespace="shop").startswith("403")
        assert speak(tenant, "bot", instance="someone-else", workload="bot").startswith("403")
        unlabelled = speak(tenant, "stray", workload="bot")
        assert unlabelled.startswith(("401", "403")) and "no label" in unlabelled
        assert speak(tenant, "wrong", workload="bot").startswith(("401", "403"))
        assert speak(tenant, "stray", workload="bot", token="forged").startswith(("401", "403"))


def test_replicas_that_somebody_else_keeps_changing_back_are_left_alone(operator: Cluster) -> None:
    with tenant_in(operator, "t-rival") as tenant:
        scaling = {"mode": "Fixed", "targetRef": {"kind": "Deployment", "name": "bot"}, "max": 3}
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(scaling=scaling, replicas=2), tenant.deployment())

        def count() -> int:
            found: int = operator.get_json("deployment", "bot", namespace="t-rival")["spec"]["replicas"]
            return found

        operator.wait_for(lambda: count() == 2, what="two replicas")
        for turn in range(2):
            operator.kubectl("scale", "deployment/bot", "--replicas=1", "-n", "t-rival")
            operator.kubectl("label", "claudeworkload/bot", f"turn={turn}", "-n", "t-rival", "--overwrite")
            if turn == 0:
                operator.wait_for(lambda: count() == 2, what="two replicas again")
        contended = operator.wait_for(
            lambda: found if (found := tenant.condition("CappedByQuota")).get("reason") == "ReplicasContended" else None,
            what="ReplicasContended",
        )
        assert "kubectl" in contended["message"]
        assert count() == 1


def test_a_standby_takes_over_at_once_when_the_leader_leaves_in_order(operator: Cluster) -> None:
    with tenant_in(operator, "t-standby") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(), tenant.deployment())
        tenant.wait_ready("Converged")
        operator.kubectl("-n", SYSTEM, "scale", "deployment/claudeops-controller", "--replicas=2")
        try:
            operator.kubectl("-n", SYSTEM, "rollout", "status", "deployment/claudeops-controller", "--timeout=60s", timeout_s=70)
            before = lease(operator)
            operator.kubectl("-n", SYSTEM, "delete", "pod", before["holderIdentity"].rpartition("_")[0], "--wait=false")
            operator.wait_for(lambda: lease(operator)["leaseTransitions"] > before["leaseTransitions"], 12, what="the next leader")
            after = lease(operator)
            assert after["leaseTransitions"] == before["leaseTransitions"] + 1
            epoch = after["leaseTransitions"]
            operator.wait_for(lambda: tenant.proxy_state()["exchange"]["epoch"] == epoch, what="the next leader's answer")
        finally:
            operator.kubectl("-n", SYSTEM, "scale", "deployment/claudeops-controller", "--replicas=1")
        assert tenant.condition("Ready")["status"] == "True"


def test_a_leader_that_missed_another_one_starts_anew_in_a_newer_epoch(operator: Cluster) -> None:
    with tenant_in(operator, "t-missed") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(), tenant.deployment())
        tenant.wait_ready("Converged")
        missed = lease(operator)["leaseTransitions"] + 5
        led = json.dumps({"spec": {"holderIdentity": "", "leaseTransitions": missed}})
        operator.kubectl("-n", SYSTEM, "patch", "lease", "claudeops-controller", "--type=merge", "-p", led)
        operator.wait_for(lambda: tenant.proxy_state()["exchange"]["epoch"] > missed, 40, what="an answer in a newer epoch")
        after = lease(operator)
        assert after["holderIdentity"] and after["leaseTransitions"] == tenant.proxy_state()["exchange"]["epoch"]


def lease(cluster: Cluster) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(cluster.kubectl("get", "lease", "claudeops-controller", "-n", SYSTEM, "-o", "json"))["spec"]
    return spec
