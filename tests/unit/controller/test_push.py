"""What the proxies of a workload are told before its turn in the queue has come."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from claudeops.controller.kind import CONFIG_MAP, NAMESPACE, PROFILE, QUOTA, WORKLOAD, Kind, Ref
from claudeops.controller.kube import Kube
from claudeops.controller.reconcile import Plane, push
from claudeops.controller.recorder import EventRecorder
from claudeops.controller.resolve import Sources, resolve
from claudeops.controller.scaler import Scaler
from claudeops.controller.snapshot import new_cache
from claudeops.controller.writer import StatusWriter
from claudeops.fleet import Fleet
from claudeops.proxyconfig import ControllerAddress, ProxyConfig, WorkloadKey

ADDRESS = ControllerAddress(url="https://x.svc:8443/v1/exchange", server_name="x.svc", ca_bundle="PEM", audience="a")
REF = Ref(WORKLOAD, "shop", "bot")
KEY = WorkloadKey(namespace="shop", name="bot")


def item(kind: Kind, name: str, version: int, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    known = {"name": name, "resourceVersion": str(version), "generation": version, **metadata}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": known, "spec": spec}


def profile(version: int, maximum: float) -> dict[str, Any]:
    return item(PROFILE, "careful", version, {"temperature": {"max": maximum}})


class World:
    """A plane that has seen one whole workload. Its API client leads nowhere: a push that asks or writes something fails."""

    def __init__(self) -> None:
        self.touches = 0
        kube, cache = Kube(None), new_cache()
        recorder = EventRecorder(kube, instance="test", now=lambda: datetime.now(UTC), monotonic=lambda: 0.0)
        writer = StatusWriter(kube, cache, recorder, interval_s=60.0)
        scaler = Scaler(kube, recorder, monotonic=lambda: 0.0)
        self.plane = Plane(kube, cache, Fleet(), writer, scaler, "claudeops-system", address=lambda: ADDRESS, touch=self.touch)
        self.workload = item(WORKLOAD, "bot", 3, WORKLOAD_SPEC, namespace="shop", uid="u")
        namespace = item(NAMESPACE, "shop", 1, {})
        quota = item(QUOTA, "default", 2, {"tier": "Build"})
        known = resolve(Sources(self.workload, quota, profile(4, 0.5), {}), ADDRESS, now_ms=1_000)
        assert known.config_map is not None
        known.config_map["metadata"]["resourceVersion"] = "5"
        pairs = ((NAMESPACE, namespace), (QUOTA, quota), (PROFILE, profile(4, 0.5)), (WORKLOAD, self.workload))
        for kind, seen in (*pairs, (CONFIG_MAP, known.config_map)):
            cache.put(kind, seen)

    def touch(self) -> None:
        self.touches += 1

    def push(self) -> ProxyConfig:
        asyncio.run(push(self.plane, REF))
        return self.plane.issued[KEY]


WORKLOAD_SPEC = {
    "credentials": {"secretRef": {"name": "key", "key": "api-key"}},
    "model": {"name": "claude-sonnet-4-6"},
    "sampling": {"profileRef": {"name": "careful"}},
}


def test_a_changed_profile_is_pushed_under_the_next_revision_without_asking_or_writing_anything() -> None:
    world = World()
    before = world.push()
    assert (before.revision, before.sampling.temperature.max, world.touches) == (1_000, 0.5, 1)
    world.plane.cache.put(PROFILE, profile(6, 0.2))
    after = world.push()
    assert (after.revision, after.sampling.temperature.max, world.touches) == (1_001, 0.2, 2)
    assert world.push().revision == 1_001


def test_a_workload_that_goes_or_is_gone_is_not_pushed() -> None:
    world = World()
    world.plane.cache.drop(WORKLOAD, {**world.workload, "metadata": {**world.workload["metadata"], "resourceVersion": "9"}})
    with pytest.raises(KeyError):
        world.push()
    world = World()
    leaving = {**world.workload["metadata"], "resourceVersion": "9", "deletionTimestamp": "2026-11-22T18:00:00Z"}
    world.plane.cache.put(WORKLOAD, {**world.workload, "metadata": leaving})
    with pytest.raises(KeyError):
        world.push()
    assert world.touches == 0
