"""The cache under overlapping lists and events."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from claudeops.controller.cache import ObjectCache
from claudeops.controller.kind import POD, WORKLOAD, Ref
from claudeops.controller.snapshot import new_cache, trim_pod


def item(name: str, version: int, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}, "spec": spec}


def names(cache: ObjectCache) -> set[str]:
    return {found["metadata"]["name"] for found in cache.items(WORKLOAD)}


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = new_cache()
    assert cache.put(WORKLOAD, item("a", 5))
    assert not cache.put(WORKLOAD, item("a", 4))
    assert not cache.put(WORKLOAD, item("a", 5))
    assert cache.put(WORKLOAD, item("a", 6))


def test_a_list_removes_what_a_watch_lost_and_names_it() -> None:
    cache = new_cache()
    cache.replace(WORKLOAD, [item("a", 1), item("b", 2)], version=2)
    changed = cache.replace(WORKLOAD, [item("a", 1), item("c", 8)], version=9)
    assert names(cache) == {"a", "c"}
    assert {ref.name for ref in changed} == {"b", "c"}


def test_what_was_created_after_a_list_survives_it() -> None:
    cache = new_cache()
    cache.put(WORKLOAD, item("late", 12))
    cache.replace(WORKLOAD, [item("a", 1)], version=10)
    assert names(cache) == {"a", "late"}


def test_what_was_deleted_after_a_list_does_not_come_back_with_it() -> None:
    cache = new_cache()
    cache.put(WORKLOAD, item("a", 5))
    cache.drop(WORKLOAD, item("a", 11))
    cache.replace(WORKLOAD, [item("a", 5)], version=10)
    assert names(cache) == set()


def test_an_object_made_anew_under_an_old_name_is_seen() -> None:
    cache = new_cache()
    cache.put(WORKLOAD, item("a", 5))
    cache.drop(WORKLOAD, item("a", 6))
    assert cache.put(WORKLOAD, item("a", 7))
    assert not cache.drop(WORKLOAD, item("a", 6))
    assert names(cache) == {"a"}


def test_indexes_follow_the_objects() -> None:
    cache = new_cache()
    cache.put(WORKLOAD, item("a", 1, quotaRef={"name": "prod"}, sampling={"profileRef": {"name": "careful"}}))
    cache.put(WORKLOAD, item("b", 2))
    assert [found["metadata"]["name"] for found in cache.find(WORKLOAD, "quota", "prod")] == ["a"]
    assert [found["metadata"]["name"] for found in cache.find(WORKLOAD, "quota", "default")] == ["b"]
    cache.put(WORKLOAD, item("a", 3, quotaRef={"name": "other"}))
    assert cache.find(WORKLOAD, "quota", "prod") == []
    assert cache.find(WORKLOAD, "profile", "careful") == []
    cache.drop(WORKLOAD, item("a", 4))
    assert cache.find(WORKLOAD, "quota", "other") == []


def test_a_spec_of_any_shape_is_indexed_without_an_error() -> None:
    cache = new_cache()
    cache.put(WORKLOAD, item("a", 1, quotaRef="prod", sampling=[1]))
    assert names(cache) == {"a"}


def test_of_a_pod_only_what_is_needed_is_kept() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "shop", "uid": "u", "labels": {"claudeops.dev/workload": "bot"}, "annotations": {"x": "y"}},
        "spec": {"initContainers": [{"name": "claudeops-sidecar", "image": "i"}], "containers": [{"name": "app", "env": []}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }
    kept = trim_pod(pod)
    assert kept == {
        "metadata": {"name": "p", "namespace": "shop", "uid": "u", "labels": {"claudeops.dev/workload": "bot"}},
        "spec": {"initContainers": [{"name": "claudeops-sidecar"}]},
        "status": {"phase": "Running"},
    }
    cache = new_cache()
    cache.put(POD, pod)
    assert len(cache.find(POD, "workload", "shop/bot")) == 1


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12)


@settings(max_examples=60)
@given(steps=STEPS, listed_at=st.integers(0, 12), split=st.integers(0, 12))
def test_lists_and_events_in_any_overlap_end_in_the_truth(steps: list[tuple[str, bool]], listed_at: int, split: int) -> None:
    """Events of the whole history, with the list of some moment of it delivered at some later moment."""
    history: list[tuple[str, bool, int]] = [(name, is_there, version) for version, (name, is_there) in enumerate(steps, 1)]
    truth: dict[str, int] = {}
    snapshot: dict[str, int] = {}
    for name, is_there, version in history:
        if is_there:
            truth[name] = version
        else:
            truth.pop(name, None)
        if version <= listed_at:
            snapshot = dict(truth)
    listed_at, split = min(listed_at, len(history)), max(split, min(listed_at, len(history)))
    cache = new_cache()

    def replay(events: list[tuple[str, bool, int]]) -> None:
        for name, is_there, version in events:
            if is_there:
                cache.put(WORKLOAD, item(name, version))
            else:
                cache.drop(WORKLOAD, item(name, version))

    replay(history[:split])
    cache.replace(WORKLOAD, [item(name, version) for name, version in snapshot.items()], version=listed_at)
    replay(history[split:])
    assert {found["metadata"]["name"]: int(found["metadata"]["resourceVersion"]) for found in cache.items(WORKLOAD)} == truth
    assert cache.get(Ref(WORKLOAD, "shop", "zzz")) is None
