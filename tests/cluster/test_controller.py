"""The controller and the injector on a real cluster: what is applied becomes config, proxies and status; what is missing, a condition."""

import contextlib
import functools
import json
from collections.abc import Iterator

import pytest
from tests.cluster.kubernetes import Cluster, KubectlError
from tests.cluster.tenant import RESTRICTED, SLEEP, Tenant

pytestmark = pytest.mark.cluster


@contextlib.contextmanager
def tenant_in(cluster: Cluster, name: str) -> Iterator[Tenant]:
    for kind in ("claudequota", "samplingprofile"):
        cluster.delete(kind, name)
    with cluster.namespace(name, labels={"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        try:
            yield Tenant(cluster, namespace)
        finally:
            for kind in ("claudequota", "samplingprofile"):
                cluster.delete(kind, name)


def test_what_is_applied_reaches_a_proxy_and_comes_back_as_status(operator: Cluster) -> None:
    with tenant_in(operator, "t-main") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload())
        tenant.wait_ready("NoProxies")
        document = tenant.config()
        assert document["sampling"]["temperature"] == {"default": 0.3, "max": 0.5}
        assert document["workload"] == {"namespace": "t-main", "name": "bot"}
        tenant.apply(tenant.deployment())
        tenant.wait_ready("Converged")
        status = operator.wait_for(lambda: status if "grant" in (status := tenant.status()) else None, what="a grant")
        assert status["proxies"] == {"expected": 1, "connected": 1, "converged": 1}
        assert status["effective"]["model"] == "claude-sonnet-4-6"
        assert status["grant"]["requestsPerMinute"] > 0
        assert tenant.proxy_state()["config"]["revision"] == status["revision"]


def test_a_changed_profile_reaches_the_proxies_by_the_exchange(operator: Cluster) -> None:
    with tenant_in(operator, "t-profile") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(), tenant.deployment())
        tenant.wait_ready("Converged")
        before: int = tenant.status()["revision"]
        tenant.apply(tenant.profile(temperature={"max": 0.2}))

        def is_in_force() -> bool:
            return bool(tenant.proxy_state()["config"]["revision"] > before)

        # The kubelet takes a minute to renew a ConfigMap's file: what comes sooner came by the exchange.
        operator.wait_for(is_in_force, 10, what="the new config in the proxy")
        assert tenant.config()["sampling"]["temperature"] == {"max": 0.2}
        assert tenant.config()["revision"] == before + 1


def test_what_is_missing_is_said_and_mended_without_a_restart(operator: Cluster) -> None:
    with tenant_in(operator, "t-missing") as tenant:
        tenant.apply(tenant.workload())
        missing = tenant.wait_ready("QuotaNotFound")
        assert missing["status"] == "False" and "t-missing" in missing["message"]
        assert tenant.condition("Reconciling")["status"] == "True" and tenant.condition("Stalled")["status"] == "False"
        tenant.apply(tenant.quota(allowedNamespaces={"matchLabels": {"team": "other"}}))
        tenant.wait_ready("QuotaNotAllowed")
        operator.kubectl("label", "namespace", "t-missing", "team=other")
        tenant.wait_ready("ProfileNotFound")
        tenant.apply(tenant.profile())
        tenant.wait_ready("NoProxies")
        assert tenant.condition("Reconciling")["status"] == "False"
        for reason, kind in (("QuotaNotFound", "Warning"), ("ProfileNotFound", "Warning"), ("Ready", "Normal")):
            (event,) = operator.wait_for(functools.partial(tenant.events, reason), what=f"the event {reason}")
            assert (event["type"], event["involvedObject"]["kind"], event["involvedObject"]["name"]) == (kind, "ClaudeWorkload", "bot")


def test_a_missing_key_is_said_by_the_proxies_and_mended_by_creating_it(operator: Cluster) -> None:
    with tenant_in(operator, "t-key") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.workload(), tenant.deployment())
        missing = tenant.wait_ready("SecretNotFound")
        assert 'the Secret "claude-key"' in missing["message"]
        tenant.apply(tenant.secret())
        # The kubelet renews a Secret's files once a minute, or when the pod changes.
        operator.kubectl("annotate", "pod", "-l", "app=bot", "refresh=now", "-n", "t-key")
        tenant.wait_ready("Converged", timeout_s=120)


def test_a_lost_quota_or_profile_leaves_the_last_good_config(operator: Cluster) -> None:
    with tenant_in(operator, "t-lost") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload())
        tenant.wait_ready("NoProxies")
        document = tenant.config()
        operator.delete("samplingprofile", "t-lost")
        tenant.wait_ready("ProfileNotFound")
        operator.delete("claudequota", "t-lost")
        tenant.wait_ready("QuotaNotFound")
        assert tenant.config() == document


def test_a_config_map_of_somebody_else_is_never_taken_over(operator: Cluster) -> None:
    with tenant_in(operator, "t-taken") as tenant:
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bot-claudeops"}, "data": {"mine": "yes"}}
        tenant.apply(theirs, tenant.quota(), tenant.profile(), tenant.workload())
        tenant.wait_ready("NameTaken")
        assert operator.get_json("configmap", "bot-claudeops", namespace="t-taken")["data"] == {"mine": "yes"}
        operator.delete("configmap", "bot-claudeops", namespace="t-taken")
        tenant.apply(tenant.workload(limits={"weight": 5}))
        tenant.wait_ready("NoProxies")


def test_a_changed_or_deleted_config_map_is_put_right(operator: Cluster) -> None:
    with tenant_in(operator, "t-drift") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.workload())
        tenant.wait_ready("NoProxies")
        revision = tenant.config()["revision"]
        operator.delete("configmap", "bot-claudeops", namespace="t-drift")
        operator.wait_for(tenant.config, what="the ConfigMap again")
        patch = json.dumps({"data": {"proxy.json": "{}"}})
        operator.kubectl("patch", "configmap", "bot-claudeops", "-n", "t-drift", "--type=merge", "-p", patch)
        operator.wait_for(lambda: tenant.config().get("revision", 0) >= revision, what="the document again")


def test_a_pod_of_an_unknown_workload_is_refused_with_the_way_out(operator: Cluster) -> None:
    with tenant_in(operator, "t-unknown") as tenant:
        container = {"name": "app", "image": "claudeops-example:dev", "args": ["-c", SLEEP], "securityContext": RESTRICTED}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lonely", "labels": {"claudeops.dev/workload": "nobody"}}}
        with pytest.raises(KubectlError, match="ClaudeWorkload t-unknown/nobody does not exist: create it, or remove the label"):
            tenant.apply({**pod, "spec": {"containers": [container]}})


def test_pods_start_while_the_controller_is_away(operator: Cluster) -> None:
    with tenant_in(operator, "t-away") as tenant:
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload())
        tenant.wait_ready("NoProxies")
        operator.kubectl("-n", "claudeops-system", "scale", "deployment/claudeops-controller", "--replicas=0")
        try:
            tenant.apply(tenant.deployment())
            operator.kubectl("-n", "t-away", "rollout", "status", "deployment/bot", "--timeout=60s", timeout_s=70)
            assert tenant.proxy_state()["config"]["revision"] == tenant.config()["revision"]
        finally:
            operator.kubectl("-n", "claudeops-system", "scale", "deployment/claudeops-controller", "--replicas=1")
        tenant.wait_ready("Converged")


def test_labelled_pods_without_a_proxy_are_named(operator: Cluster) -> None:
    with tenant_in(operator, "t-bare") as tenant:
        bare = tenant.deployment()
        del bare["spec"]["template"]["metadata"]["labels"]["claudeops.dev/workload"]
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(), bare)
        operator.kubectl("-n", "t-bare", "rollout", "status", "deployment/bot", "--timeout=60s", timeout_s=70)
        operator.kubectl("label", "pod", "-l", "app=bot", "claudeops.dev/workload=bot", "-n", "t-bare")
        missing = operator.wait_for(
            lambda: found if (found := tenant.condition("InjectionMissing")).get("status") == "True" else None, what="InjectionMissing"
        )
        assert "bot-" in missing["message"] and "rollout restart" in missing["message"]


def test_a_fixed_replica_count_is_written_to_the_target(operator: Cluster) -> None:
    with tenant_in(operator, "t-fixed") as tenant:
        scaling = {"mode": "Fixed", "targetRef": {"kind": "Deployment", "name": "bot"}, "max": 3}
        tenant.apply(tenant.quota(), tenant.profile(), tenant.secret(), tenant.workload(scaling=scaling, replicas=2), tenant.deployment())
        operator.wait_for(lambda: operator.get_json("deployment", "bot", namespace="t-fixed")["spec"]["replicas"] == 2, what="two replicas")
        operator.kubectl("scale", "claudeworkload/bot", "--replicas=3", "-n", "t-fixed")
        operator.wait_for(
            lambda: operator.get_json("deployment", "bot", namespace="t-fixed")["spec"]["replicas"] == 3, what="three replicas"
        )

        def notes() -> list[str]:
            items = operator.get_json("events.events.k8s.io", namespace="t-fixed")["items"]
            return [item["note"] for item in items if item["reason"] == "Scaled" and item["regarding"]["kind"] == "ClaudeWorkload"]

        operator.wait_for(lambda: "Deployment bot scaled from 2 to 3" in notes(), what="the event")
