"""The converter, one test for every construct that pydantic can emit: its structural form, or a refusal that names the place."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel
from tests.unit.table import every

from claudeops.api.schema import to_structural
from claudeops.errors import InvalidResource


class Colour(Enum):
    RED = "Red"
    BLUE = "Blue"


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Leaf(BaseModel):
    """A leaf."""

    size: int = 3


class Loop(BaseModel):
    next: Loop | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def field(annotation: Any, **constraints: Any) -> dict[str, Any]:
    """The structural form of a required field of this type."""
    return of(annotation, Field(**constraints))


def of(annotation: Any, default: Any = ...) -> dict[str, Any]:
    model: type[BaseModel] = type("Holder", (BaseModel,), {"__annotations__": {"it": annotation}, "__module__": __name__, "it": default})
    converted = to_structural(model.model_json_schema(by_alias=True))
    found = converted["properties"]["it"]
    assert isinstance(found, dict)
    return found


LEAF = {"type": "object", "description": "A leaf.", "properties": {"size": {"type": "integer", "default": 3}}}

FORMS = [
    ("nested model", Leaf, {}, LEAF),
    ("what stands beside a reference wins", Leaf, {"description": "Mine."}, {**LEAF, "description": "Mine."}),
    ("enum", Colour, {}, {"type": "string", "enum": ["Red", "Blue"]}),
    ("literal", Literal["A", "B"], {}, {"type": "string", "enum": ["A", "B"]}),
    ("literal of one value", Literal["A"], {}, {"type": "string", "enum": ["A"]}),
    ("literal of numbers", Literal[1, 2], {}, {"type": "integer", "enum": [1, 2]}),
    ("int or string", int | str, {}, {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
    ("greater than", int, {"gt": 0}, {"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
    ("less than", float, {"lt": 1}, {"type": "number", "maximum": 1, "exclusiveMaximum": True}),
    ("at least and at most", int, {"ge": 0, "le": 9}, {"type": "integer", "minimum": 0, "maximum": 9}),
    ("pattern and length", str, {"pattern": "^a$", "max_length": 1}, {"type": "string", "pattern": "^a$", "maxLength": 1}),
    ("list", list[int], {}, {"type": "array", "items": {"type": "integer"}}),
    ("tuple of any length", tuple[int, ...], {}, {"type": "array", "items": {"type": "integer"}}),
    ("set", set[str], {}, {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
    ("map of models", dict[str, Leaf], {}, {"type": "object", "additionalProperties": LEAF}),
    ("map by enum", dict[Colour, int], {}, {"type": "object", "additionalProperties": {"type": "integer"}}),
    ("map of anything", dict[str, Any], {}, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ("open model", Open, {}, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ("closed model", Strict, {}, {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}),
    ("anything", Any, {}, {"x-kubernetes-preserve-unknown-fields": True}),
    ("list of anything", list, {}, {"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": True}}),
    ("annotations", int, {"title": "T", "examples": [1], "deprecated": True}, {"type": "integer"}),
    (
        "extension",
        list[Leaf],
        {"json_schema_extra": {"x-kubernetes-list-type": "atomic"}},
        {"type": "array", "items": LEAF, "x-kubernetes-list-type": "atomic"},
    ),
]


@every(("annotation", "constraints", "expected"), [row[1:] for row in FORMS])
def test_a_construct_has_its_structural_form(annotation: Any, constraints: dict[str, Any], expected: dict[str, Any]) -> None:
    assert field(annotation, **constraints) == expected


REFUSED = [
    ("model inside itself", Loop, "refers to itself"),
    ("null in a list", list[int | None], "absence cannot express it"),
    ("null in a map", dict[str, int | None], "absence cannot express it"),
    ("int or constrained string", Annotated[int, Field(ge=0)] | str, "exactly one"),
    ("union of models", Leaf | Strict, "exactly one"),
    ("discriminated union", Annotated[Cat | Dog, Field(discriminator="kind")], "exactly one"),
    ("decimal", Decimal, "exactly one"),
    ("mixed enum", Mixed, "mixed types"),
    ("mixed literal", Literal[1, "a"], "mixed types"),
    ("fixed tuple", tuple[int, str], "a tuple"),
    ("timedelta", timedelta, "ISO duration"),
    ("null", None, "optional means absent"),
    ("unknown keyword", Annotated[int, Field(json_schema_extra={"contentEncoding": "x"})], "contentEncoding has no structural form"),
]


@every(("annotation", "words"), [row[1:] for row in REFUSED])
def test_a_construct_without_structural_form_is_refused_with_its_place(annotation: Any, words: str) -> None:
    with pytest.raises(InvalidResource, match=words) as refusal:
        field(annotation)
    assert refusal.value.path.startswith("it")


def test_both_bounds_of_one_side_are_refused() -> None:
    with pytest.raises(InvalidResource, match="both minimum and exclusiveMinimum"):
        to_structural({"type": "integer", "minimum": 1, "exclusiveMinimum": 0})


def test_optional_means_absent_and_never_nullable() -> None:
    assert of(Leaf | None, None) == LEAF
    assert of(int | None, 7) == {"type": "integer", "default": 7}
    assert of(Any, None) == {"x-kubernetes-preserve-unknown-fields": True}


def test_constraints_inside_an_optional_survive() -> None:
    assert of(Annotated[int, Field(gt=0)] | None, None) == {"type": "integer", "minimum": 0, "exclusiveMinimum": True}


def test_one_model_may_appear_twice_side_by_side() -> None:
    class Twin(BaseModel):
        left: Leaf
        right: list[Leaf]

    converted = to_structural(Twin.model_json_schema())
    assert converted["properties"] == {"left": LEAF, "right": {"type": "array", "items": LEAF}}


def test_fields_named_like_keywords_survive() -> None:
    class Tricky(BaseModel):
        title: str
        default: int
        anyOf: str = "x"

    assert to_structural(Tricky.model_json_schema())["properties"] == {
        "title": {"type": "string"},
        "default": {"type": "integer"},
        "anyOf": {"type": "string", "default": "x"},
    }


def test_a_default_instance_is_written_out_and_a_factory_is_not() -> None:
    assert of(Leaf, Leaf(size=5))["default"] == {"size": 5}
    assert "default" not in of(Leaf, Field(default_factory=Leaf))


def test_a_root_model_is_what_it_wraps() -> None:
    class Name(RootModel[str]):
        pass

    assert field(Name)["type"] == "string"


def test_a_path_leads_to_the_node_that_has_no_form() -> None:
    class Deep(BaseModel):
        outer: list[dict[str, tuple[int, int]]]

    with pytest.raises(InvalidResource) as refusal:
        to_structural(Deep.model_json_schema())
    assert refusal.value.path == "outer[]{}"
