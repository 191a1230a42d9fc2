"""Who may say what on the exchange, whose key it is, and where the key must not be."""

import base64
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.cluster.stage import GROUP, KEYS, NAMESPACE, Stage

from claudeops.exchange import PATH, TOKEN_AUDIENCE, Report, decode_assignment, encode_message
from claudeops.proxyconfig import WorkloadKey
from claudeops.simulator.config import Account

pytestmark = pytest.mark.cluster

SYSTEM = "claudeops-system"
PROXY = "claudeops-sidecar"
TOKEN_FILE = "/var/run/secrets/claudeops/token"
KEY_FILE = "/etc/claudeops/key/api-key"
GUARANTEED_PER_S = 1.0
KINDS = (
    "pods,configmaps,events,events.events.k8s.io,deployments,replicasets,services,endpointslices,leases,"
    "claudeworkloads,claudequotas,samplingprofiles,mutatingwebhookconfigurations"
)
SEARCH = """
import os, sys
keys = [key.encode() for key in sys.stdin.read().split()]
for folder, folders, names in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/dev", "/sys", "/usr", "/sdk")]
    if folder.startswith("/proc"):
        folders[:] = [name for name in folders if name.isdigit() and folder == "/proc"]
        names = [name for name in names if name in ("environ", "cmdline", "mountinfo")]
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                text = file.read(4_000_000)
        except OSError:
            continue
        if any(key in text for key in keys):
            print("found in", os.path.join(folder, name))
print("searched")
"""
"""Looks through every file that the application can read but those of the image's Python."""


class Exchange:
    """The exchange as a stranger sees it who trusts its certificate."""

    def __init__(self, address: str, config: dict[str, Any]) -> None:
        self._address = address
        self._name = config["controller"]["serverName"]
        self._context = ssl.create_default_context(cadata=config["controller"]["caBundle"])

    def post(self, token: str | None, report: Report) -> tuple[int, bytes]:
        host, _, port = self._address.partition(":")
        connection = http.client.HTTPConnection(host, int(port))
        connection.sock = self._context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=self._name)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with contextlib.closing(connection):
            connection.request("POST", PATH, encode_message(report), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


@pytest.fixture
def exchange(stage: Stage) -> Iterator[Exchange]:
    pods = stage.cluster.get_json("pods", "-l", "app.kubernetes.io/name=claudeops-controller", namespace=SYSTEM)["items"]
    with stage.cluster.reach(SYSTEM, f"pod/{pods[0]['metadata']['name']}:8443") as address:
        yield Exchange(address, stage.tenant.config("bot"))


def run_in(stage: Stage, pod: str, container: str, code: str, *, stdin: str = "") -> str:
    return stage.cluster.kubectl("-n", NAMESPACE, "exec", "-i", pod, "-c", container, "--", "python3", "-c", code, stdin=stdin)


def test_a_pod_reports_for_itself_and_for_nobody_else(stage: Stage, exchange: Exchange) -> None:
    pod = stage.pod("stranger")
    uid = stage.cluster.get_json("pod", pod, namespace=NAMESPACE)["metadata"]["uid"]
    token = run_in(stage, pod, PROXY, f"print(open({TOKEN_FILE!r}).read())").strip()

    def report(instance: str = uid, name: str = "stranger", namespace: str = NAMESPACE) -> Report:
        key = WorkloadKey(namespace=namespace, name=name)
        return Report(instance=instance, workload=key, sequence=0, revision=0, is_urgent=True)

    status, answer = exchange.post(token, report())
    assert status == 200 and decode_assignment(answer).leases is not None
    for other in (report(name="bot"), report(namespace="kube-system"), report(instance="another-pod")):
        status, answer = exchange.post(token, other)
        assert (status, b"may only report for the workload that its own label names" in answer) == (403, True), answer


def test_nobody_speaks_without_a_token_of_a_pod_for_this_audience(stage: Stage, exchange: Exchange) -> None:
    pod = stage.pod("stranger")
    uid = stage.cluster.get_json("pod", pod, namespace=NAMESPACE)["metadata"]["uid"]
    report = Report(instance=uid, workload=WorkloadKey(namespace=NAMESPACE, name="stranger"), sequence=0, revision=0, is_urgent=True)

    def token(audience: str, *bound: str) -> str:
        return stage.cluster.kubectl("-n", NAMESPACE, "create", "token", "default", f"--audience={audience}", *bound).strip()

    bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--bound-object-uid={uid}")
    assert exchange.post(token(TOKEN_AUDIENCE, *bound), report)[0] == 200
    for bad in (None, "not-a-token", token("somebody.else", *bound), token(TOKEN_AUDIENCE)):
        status, answer = exchange.post(bad, report)
        assert status == 401, (bad and bad[:12], answer)


def test_a_key_of_another_organisation_is_said_and_stays_on_its_baseline(stage: Stage) -> None:
    with stage.traffic("stranger") as stranger, stage.traffic("bot") as bot:
        stranger.load(0.5)
        bot.load(2)

        def is_said() -> dict[str, Any] | None:
            found = stage.tenant.condition("QuotaSatisfied", "stranger")
            return found if found.get("reason") == "KeyOfOtherOrganization" else None

        said = stage.cluster.wait_for(is_said, what="KeyOfOtherOrganization")
        assert said["status"] == "False" and "stays on its baseline" in said["message"]

        def is_on_baseline() -> bool:
            group = stranger.state()["groups"][GROUP]
            return (group["phase"], group["leasePerS"]["requests"]) == ("Baseline", GUARANTEED_PER_S)

        stage.cluster.wait_for(is_on_baseline, 20, what=f"the baseline, but {stranger.state()['groups']}")
        stage.wait_served(stranger, 2)
        stage.wait_phase(bot, "Fresh")
        quota = stage.cluster.get_json("claudequota", NAMESPACE)
        assert quota["status"]["organizationId"] == Account("ours").organization_id
        assert stage.tenant.condition("QuotaSatisfied", "bot")["reason"] != "KeyOfOtherOrganization"


def test_the_key_is_nowhere_but_in_its_secret_and_its_proxy(stage: Stage) -> None:
    with stage.traffic("bot") as traffic, stage.cluster.reach(NAMESPACE, f"pod/{stage.pod('bot')}:4142") as admin:
        traffic.tell("/ask")
        assert traffic.outcomes()["ok"] >= 1, "the proxy has a key that the API takes"
        pod = stage.pod("bot")
        assert run_in(stage, pod, PROXY, f"print(open({KEY_FILE!r}).read())").strip() == KEYS["ours"]
        places = {
            "/state": json.dumps(traffic.state()),
            "/metrics": _get(admin, "/metrics"),
            "answers": json.dumps(traffic.counts()),
            **_from_kubectl(stage, pod),
        }
    assert "claudeops_requests_total" in places["/metrics"]
    assert [name for name, text in places.items() if not text] in ([], ["injector's log"]), "every place was looked at"
    shapes = [shape for key in KEYS.values() for shape in (key, base64.b64encode(key.encode()).decode())]
    assert [name for name, text in places.items() if any(shape in text for shape in shapes)] == []
    assert run_in(stage, pod, "app", SEARCH, stdin=" ".join(KEYS.values())).splitlines() == ["searched"]
    assert KEY_FILE in run_in(stage, pod, PROXY, SEARCH, stdin=" ".join(KEYS.values())), "the search finds what is there"


def _from_kubectl(stage: Stage, pod: str) -> dict[str, str]:
    """Objects, logs and environments, by what was asked."""
    kubectl: Callable[..., str] = stage.cluster.kubectl
    logs = {
        "proxy's log": ("-n", NAMESPACE, "logs", pod, "-c", PROXY),
        "controller's log": ("-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=claudeops-controller", "--tail=-1"),
        "injector's log": ("-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=claudeops-injector", "--tail=-1"),
    }
    said = {name: kubectl(*words) for name, words in logs.items()}
    said["objects"] = kubectl("get", KINDS, "-A", "-o", "json", timeout_s=120)
    said["application's environment"] = run_in(stage, pod, "app", "import os; print(os.environ)")
    return said


def _get(address: str, path: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()
