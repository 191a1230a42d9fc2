"""When a target's replicas are written, and when they are left alone."""

from typing import Any

from claudeops.controller.scaling import CONTENTION_WINDOW_S, ScaleHistory, Target, scale_patch, scale_to


def target(replicas: int, manager: str = "kubectl", version: str = "7") -> Target:
    return Target(replicas, replicas, version, manager)


def managed(manager: str, time: str, *, owns: bool = True) -> dict[str, Any]:
    fields: dict[str, Any] = {"f:spec": {"f:replicas": {}}} if owns else {"f:status": {"f:replicas": {}}}
    return {"manager": manager, "time": time, "fieldsV1": fields}


def test_the_newest_manager_of_the_count_is_read() -> None:
    fields = [managed("argocd", "2026-01-02T00:00:00Z"), managed("claudeops", "2026-01-01T00:00:00Z"), managed("kube", "2027", owns=False)]
    item = {"metadata": {"resourceVersion": "9", "managedFields": fields}, "spec": {"replicas": 3}, "status": {"replicas": 2}}
    assert Target.read(item) == Target(3, 2, "9", "argocd")


def test_an_absent_count_is_one_replica_as_in_the_api() -> None:
    assert Target.read({"metadata": {}, "spec": {}}) == Target(1, 0, "", "")


def test_only_a_difference_is_written() -> None:
    assert scale_to(target(2), 4, ScaleHistory()) == 4
    assert scale_to(target(4), 4, ScaleHistory()) is None
    assert scale_to(target(4), None, ScaleHistory()) is None


def test_the_patch_fails_when_somebody_was_faster() -> None:
    assert scale_patch(target(2), 4) == {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 4}}


def revert_twice() -> ScaleHistory:
    history = ScaleHistory(written=4).observe(target(2, "argocd"), 0.0, own_manager="claudeops")
    return ScaleHistory(4, history.reverts_s, history.rival).observe(target(2, "argocd"), 100.0, own_manager="claudeops")


def test_one_revert_is_tolerated_and_the_second_within_ten_minutes_stops_it() -> None:
    once = ScaleHistory(written=4).observe(target(2, "argocd"), 0.0, own_manager="claudeops")
    assert not once.is_contended and scale_to(target(2, "argocd"), 4, once) == 4
    twice = revert_twice()
    assert twice.is_contended and twice.rival == "argocd"
    assert scale_to(target(2, "argocd"), 4, twice) is None


def test_the_same_revert_is_counted_once() -> None:
    history = ScaleHistory(written=4).observe(target(2), 0.0, own_manager="claudeops").observe(target(2), 5.0, own_manager="claudeops")
    assert len(history.reverts_s) == 1


def test_after_ten_quiet_minutes_it_goes_on() -> None:
    history = revert_twice().observe(target(2), 100.0 + CONTENTION_WINDOW_S, own_manager="claudeops")
    assert not history.is_contended and scale_to(target(2), 4, history) == 4


def test_our_own_count_is_no_revert() -> None:
    history = ScaleHistory(written=4)
    assert history.observe(target(4), 0.0, own_manager="claudeops") == history
    assert history.observe(target(3, "claudeops"), 0.0, own_manager="claudeops").reverts_s == ()
