"""The CRDs: complete, bounded, and the same as the files that are shipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.table import every

from claudeops.api.crd import DEFINITIONS, Definition, build_crd, build_schema
from claudeops.api.generate import main, render
from claudeops.api.lint import lint

CRDS = Path(__file__).parents[3] / "crds"
RENDERED = render()
FASTER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SCHEMAS = {definition.plural: build_schema(definition.model) for definition in DEFINITIONS}
EVERY = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)


def test_the_shipped_files_are_what_the_models_say() -> None:
    assert main(["--check", str(CRDS)]) == 0
    assert {path.name for path in CRDS.iterdir()} == set(RENDERED)


def test_a_file_that_drifted_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    drifted = tmp_path / "claudeops.dev_claudequotas.yaml"
    drifted.write_text(drifted.read_text().replace("Build", "Built"))
    assert main(["--check", str(tmp_path)]) == 1
    assert str(drifted) in capsys.readouterr().err
    assert "Built" in drifted.read_text()


@EVERY
def test_a_written_file_reads_back_as_the_definition(definition: Definition) -> None:
    assert yaml.load(RENDERED[f"claudeops.dev_{definition.plural}.yaml"], FASTER) == build_crd(definition)


@EVERY
def test_the_schema_is_bounded_and_its_lists_are_typed(definition: Definition) -> None:
    assert list(lint(SCHEMAS[definition.plural])) == []


@EVERY
def test_client_side_apply_can_hold_it(definition: Definition) -> None:
    assert len(RENDERED[f"claudeops.dev_{definition.plural}.yaml"]) < 256 * 1024


@EVERY
def test_every_field_that_a_person_writes_is_described(definition: Definition) -> None:
    assert [path for path, node in _fields(SCHEMAS[definition.plural]["properties"]["spec"], "spec") if "description" not in node] == []


@EVERY
def test_every_printer_column_reads_a_field_that_exists(definition: Definition) -> None:
    schema = SCHEMAS[definition.plural]
    for column in definition.columns:
        path = re.sub(r"\[.*?\]", "", column.path)
        if not path.startswith(".metadata"):
            _at(schema, path)


@EVERY
def test_nothing_is_nullable(definition: Definition) -> None:
    assert "nullable" not in str(SCHEMAS[definition.plural])


def test_short_names_scope_and_category() -> None:
    names = {crd["spec"]["names"]["kind"]: crd for crd in map(build_crd, DEFINITIONS)}
    assert {kind: (crd["spec"]["names"]["shortNames"], crd["spec"]["scope"]) for kind, crd in names.items()} == {
        "ClaudeWorkload": (["cw"], "Namespaced"),
        "ClaudeQuota": (["cq"], "Cluster"),
        "SamplingProfile": (["sp"], "Cluster"),
    }
    assert all(crd["spec"]["names"]["categories"] == ["claude"] for crd in names.values())


def test_scale_and_selectable_fields_of_a_workload_exist() -> None:
    (version,) = build_crd(DEFINITIONS[0])["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert _at(schema, version["subresources"]["scale"]["specReplicasPath"])["default"] == 1
    assert _at(schema, version["subresources"]["scale"]["statusReplicasPath"])["type"] == "integer"
    assert _at(schema, version["subresources"]["scale"]["labelSelectorPath"])["type"] == "string"
    assert [_at(schema, field["jsonPath"])["type"] for field in version["selectableFields"]] == ["string", "string"]


def test_an_object_that_nobody_has_seen_is_not_current() -> None:
    for definition in DEFINITIONS[:2]:
        assert SCHEMAS[definition.plural]["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_only_replicas_of_a_workload_has_a_default_in_the_crd() -> None:
    """Everything else stays silent, so that what a policy says later can fill the gap."""
    spec = SCHEMAS[DEFINITIONS[0].plural]["properties"]["spec"]
    assert [path for path, node in _fields(spec, "") if "default" in node] == [".replicas"]


@every(
    ("schema", "complaint"),
    [
        ({"type": "string"}, "without maxLength"),
        ({"type": "string", "maxLength": 1, "pattern": "(?=a)"}, "look-around"),
        ({"type": "array", "items": {"type": "integer"}}, "without maxItems"),
        ({"type": "array", "maxItems": 1, "items": {"type": "object"}}, "without x-kubernetes-list-type"),
        (
            {
                "type": "array",
                "maxItems": 1,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": {"type": "integer"}}},
            },
            "neither required nor defaulted",
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "without maxProperties"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "a: a string without maxLength"),
        ({"type": "object", "required": ["a"]}, "does not declare"),
        ({"type": "string", "enum": ["a"], "default": "b"}, "not one of the enum's words"),
    ],
)
def test_the_lint_finds(schema: dict[str, Any], complaint: str) -> None:
    (found,) = lint(schema)
    assert complaint in found


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from _fields(child, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from _fields(schema["items"], f"{path}[]")


def _at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    node = schema
    for step in path.strip(".").split("."):
        node = node.get("items", node)["properties"][step]
    return node
