"""A scaling target that the operator may not read or write: said in the status, of which everything else is written all the same."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from claudeops.controller.kind import NAMESPACE, PROFILE, QUOTA, WORKLOAD, Kind, Ref
from claudeops.controller.kube import Kube
from claudeops.controller.reconcile import Plane, reconcile
from claudeops.controller.recorder import EventRecorder
from claudeops.controller.scaler import Scaler
from claudeops.controller.snapshot import new_cache
from claudeops.controller.writer import StatusWriter
from claudeops.errors import Forbidden, NotFound
from claudeops.fleet import Fleet
from claudeops.proxyconfig import ControllerAddress

ADDRESS = ControllerAddress(url="https://x.svc:8443/v1/exchange", server_name="x.svc", ca_bundle="PEM", audience="a")
REF = Ref(WORKLOAD, "shop", "bot")
DEPLOYMENT = {"metadata": {"name": "bot", "resourceVersion": "8"}, "spec": {"replicas": 1}, "status": {"replicas": 1}}
WORKLOAD_SPEC = {
    "credentials": {"secretRef": {"name": "key", "key": "api-key"}},
    "model": {"name": "claude-sonnet-4-6"},
    "sampling": {"profileRef": {"name": "careful"}},
    "scaling": {"mode": "Fixed", "targetRef": {"kind": "Deployment", "name": "bot"}, "max": 3},
    "replicas": 2,
}


def item(kind: Kind, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    known = {"name": name, "resourceVersion": "1", "generation": 1, **metadata}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": known, "spec": spec}


BOT = item(WORKLOAD, "bot", WORKLOAD_SPEC, namespace="shop", uid="u")


class Refusing(Kube):
    """Keeps what is applied, and refuses one verb on Deployments."""

    def __init__(self, verb: str) -> None:
        super().__init__(None)
        self.verb = verb
        self.applied: dict[str, Any] = {}

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: dict[str, Any] | None = None, content_type: str = ""
    ) -> dict[str, Any]:
        if "/deployments/" in path:
            if method == self.verb:
                raise Forbidden(f'{method} {path}: deployments.apps "bot" is forbidden')
            return DEPLOYMENT
        if body is None:
            raise NotFound(path)
        self.applied["status" if "status" in body else body["kind"]] = body
        stored = BOT if body["kind"] == "ClaudeWorkload" else {}
        return {**stored, **body, "metadata": {**stored.get("metadata", {}), **body["metadata"], "resourceVersion": "9"}}


@pytest.mark.parametrize(("verb", "done"), [("GET", "read"), ("PATCH", "scaled")])
def test_a_refused_scaling_target_is_a_note_and_the_rest_of_the_status_is_written(verb: str, done: str) -> None:
    kube, cache = Refusing(verb), new_cache()
    recorder = EventRecorder(kube, instance="test", now=lambda: datetime.now(UTC), monotonic=lambda: 0.0)
    scaler = Scaler(kube, recorder, monotonic=lambda: 0.0)
    writer = StatusWriter(kube, cache, recorder, interval_s=60.0)
    plane = Plane(kube, cache, Fleet(), writer, scaler, "claudeops-system", address=lambda: ADDRESS, touch=lambda: None)
    for kind, seen in (
        (NAMESPACE, item(NAMESPACE, "shop", {})),
        (QUOTA, item(QUOTA, "default", {"tier": "Build"})),
        (PROFILE, item(PROFILE, "careful", {"temperature": {"max": 0.5}})),
        (WORKLOAD, BOT),
    ):
        cache.put(kind, seen)
    asyncio.run(reconcile(plane, REF))
    plane.fleet.tick(1.0)  # decides the replicas
    again_s = asyncio.run(reconcile(plane, REF))
    assert again_s is not None and again_s <= 15, "the right may be given at any time"
    status = kube.applied["status"]["status"]
    ready = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "NoProxies")
    assert f"Deployment bot may not be {done}: {verb} " in ready["message"] and "is forbidden" in ready["message"]
    assert status["effective"]["model"] == "claude-sonnet-4-6" and status["revision"] > 0
    assert "ConfigMap" in kube.applied
