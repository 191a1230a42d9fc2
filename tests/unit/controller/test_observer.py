"""Which objects a change concerns."""

from typing import Any

import pytest

from claudeops.controller.endpoint import ExchangeService
from claudeops.controller.kind import CONFIG_MAP, NAMESPACE, POD, PROFILE, QUOTA, WORKLOAD, Kind, Ref, reference
from claudeops.controller.observer import is_same
from claudeops.controller.reconcile import keys_of
from claudeops.controller.snapshot import new_cache


def item(name: str, namespace: str = "", version: int = 1, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, **where, "resourceVersion": str(version), **metadata}, "spec": spec or {}}


@pytest.mark.parametrize(
    ("kind", "changed", "keys"),
    [
        (WORKLOAD, item("a", "shop"), {"a"}),
        (QUOTA, item("prod"), {"prod", "a"}),
        (PROFILE, item("careful"), {"b"}),
        (NAMESPACE, item("shop"), {"a", "b"}),
        (POD, item("a-1", "shop", labels={"claudeops.dev/workload": "a"}), {"a"}),
        (CONFIG_MAP, item("a-claudeops", "shop", labels={"claudeops.dev/workload": "a"}), {"a"}),
        (POD, item("stray", "shop"), set()),
    ],
)
def test_a_change_concerns_the_object_and_all_that_refer_to_it(kind: Kind, changed: dict[str, Any], keys: set[str]) -> None:
    cache = new_cache()
    cache.put(WORKLOAD, item("a", "shop", spec={"quotaRef": {"name": "prod"}}))
    cache.put(WORKLOAD, item("b", "shop", spec={"sampling": {"profileRef": {"name": "careful"}}}))
    cache.put(WORKLOAD, item("c", "other"))
    assert {key.name for key in keys_of(cache, reference(kind, changed), changed)} == keys


@pytest.mark.parametrize("kind", [WORKLOAD, QUOTA, PROFILE])
def test_our_own_status_writes_are_no_news_but_edits_are(kind: Kind) -> None:
    before = item("a", "shop", 1, generation=3)
    assert is_same(kind, before, item("a", "shop", 2, generation=3))
    assert not is_same(kind, before, item("a", "shop", 2, generation=4))
    assert not is_same(kind, before, item("a", "shop", 2, generation=3, deletionTimestamp="now"))
    assert not is_same(kind, before, item("a", "shop", 2, generation=3, uid="another"))
    assert not is_same(kind, None, before)


def test_of_a_namespace_only_the_labels_count() -> None:
    assert is_same(NAMESPACE, item("shop", labels={"a": "b"}), item("shop", version=2, labels={"a": "b"}))
    assert not is_same(NAMESPACE, item("shop"), item("shop", version=2, labels={"a": "b"}))


def test_every_change_of_a_pod_counts() -> None:
    assert not is_same(POD, item("p", "shop", 1), item("p", "shop", 2))


def test_the_exchange_leads_to_the_leader_alone() -> None:
    service = ExchangeService("claudeops-system")
    body = service.slice("10.0.0.7", 8443)
    assert body["metadata"]["labels"]["kubernetes.io/service-name"] == "claudeops-exchange"
    assert body["endpoints"] == [{"addresses": ["10.0.0.7"], "conditions": {"ready": True}}]
    assert service.slice("fd00::7", 8443)["addressType"] == "IPv6"
    assert service.url == "https://claudeops-exchange.claudeops-system.svc:8443/v1/exchange"
    assert service.server_name in service.names
    assert str(Ref(WORKLOAD, "shop", "bot")) == "ClaudeWorkload shop/bot"
