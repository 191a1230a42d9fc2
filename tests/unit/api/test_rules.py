"""Every rule over the resources, in its Python half, and that none is left out of the table."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.api.objects import CASES, FULL, SMALLEST, Case, changed
from tests.unit.table import every

from claudeops.api import parse
from claudeops.api.crd import DEFINITIONS, build_schema
from claudeops.errors import InvalidResource


@every("case", CASES)
def test_a_bad_object_is_refused_with_path_and_what_to_write_instead(case: Case) -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse(case.kind, changed(case.kind, case.bad))
    assert str(refusal.value) == f"{case.path}: {case.message}"
    assert refusal.value.path == case.path


@every("case", CASES)
def test_the_good_neighbour_of_a_bad_object_is_accepted(case: Case) -> None:
    parse(case.kind, changed(case.kind, case.good))


@pytest.mark.parametrize("objects", [SMALLEST, FULL], ids=["smallest", "full"])
@pytest.mark.parametrize("kind", sorted(SMALLEST))
def test_good_objects_are_accepted_unchanged(kind: str, objects: dict[str, dict[str, Any]]) -> None:
    read = parse(kind, objects[kind])
    assert read.model_dump(by_alias=True, exclude_unset=True, mode="json")["spec"] == objects[kind]["spec"]


def test_every_rule_of_the_crds_has_a_case() -> None:
    stated = {(definition.model.__name__, message) for definition in DEFINITIONS for message in _messages(build_schema(definition.model))}
    assert stated == {(case.kind, case.message) for case in CASES}


def test_every_case_has_its_own_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@every(
    ("changes", "path", "words"),
    [
        ({"spec.limits.weight": 1001}, "spec.limits.weight", "less than or equal to 1000"),
        ({"spec.limits.weight": "100"}, "spec.limits.weight", "write a whole number, without quotes"),
        ({"spec.limits.weight": 1.5}, "spec.limits.weight", "write a whole number, without quotes"),
        ({"spec.limits.queue": {"maxWait": 20}}, "spec.limits.queue.maxWait", 'a duration with its unit, such as "20s"'),
        ({"spec.limits": [5]}, "spec.limits", "write a mapping, such as {name: value}"),
        ({"spec.endpoints": "Batches"}, "spec.endpoints", "write a list, such as [first, second]"),
        ({"spec.placement": "Gateway"}, "spec.placement", "'Sidecar'"),
        ({"spec.model": {}}, "spec.model.name", "is required: write it"),
        ({"spec.modle": {}}, "spec.modle", "no such field"),
        ({"spec.slos": [{"indicator": "Availability"}]}, "spec.slos[0].indicator", "'TimeToFirstToken' or 'Latency'"),
        ({"spec.model.fallbacks": [{"model": f"claude-x{n}"} for n in range(6)]}, "spec.model.fallbacks", "at most 5"),
        ({"spec.quotaRef": {"name": "Prod"}}, "spec.quotaRef.name", "match pattern"),
    ],
)
def test_what_the_schema_forbids_is_refused_too(changes: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse("ClaudeWorkload", changed("ClaudeWorkload", changes))
    assert refusal.value.path == path
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "field", "item", "key"),
    [
        ("ClaudeWorkload", "spec.slos", {"indicator": "Latency", "threshold": "1s", "objectivePercent": 95}, "indicator"),
        ("ClaudeQuota", "spec.limits", {"group": "sonnet-5.5", "requestsPerMinute": 1}, "group"),
    ],
)
def test_two_items_of_one_key_are_refused(kind: str, field: str, item: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse(kind, changed(kind, {field: [item, item]}))
    assert str(refusal.value) == f"{field}: name each {key} once: remove the duplicate"


def test_a_refusal_counts_what_else_is_wrong() -> None:
    with pytest.raises(InvalidResource, match=r"\(and 1 more\)$"):
        parse("ClaudeWorkload", changed("ClaudeWorkload", {"spec.model.name": "gpt", "spec.replicas": -1}))


def test_null_means_absent_as_in_the_api_server() -> None:
    body = changed("ClaudeWorkload", {"spec.limits": {"weight": None, "maximum": None}, "spec.scaling": None, "spec.replicas": None})
    assert parse("ClaudeWorkload", body).spec == parse("ClaudeWorkload", changed("ClaudeWorkload", {"spec.limits": {}})).spec


def test_a_status_that_does_not_fit_leaves_the_spec_usable() -> None:
    assert parse("ClaudeWorkload", {**SMALLEST["ClaudeWorkload"], "status": {"phase": 7}}).metadata.name == "support-bot"


def test_metadata_of_the_api_server_is_left_alone() -> None:
    body = copy.deepcopy(SMALLEST["ClaudeWorkload"])
    body["metadata"] |= {"uid": "u", "generation": 4, "managedFields": [{}], "creationTimestamp": "2026-11-22T10:00:00Z"}
    assert parse("ClaudeWorkload", body).metadata.generation == 4


def test_a_foreign_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidResource, match="ClaudeWorkload, ClaudeQuota, SamplingProfile"):
        parse("Deployment", {})


def test_an_object_cannot_be_changed_after_it_was_read() -> None:
    workload = parse("ClaudeWorkload", SMALLEST["ClaudeWorkload"])
    with pytest.raises(ValueError, match="frozen"):
        workload.metadata = workload.metadata


def _messages(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for validation in schema.get("x-kubernetes-validations", ()):
            yield validation["message"]
        for child in schema.values():
            yield from _messages(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _messages(child)
