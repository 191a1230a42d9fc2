"""What every part of a custom resource is made of: strict frozen models, and rules said once in CEL and once in Python.

The API server enforces the CEL half when an object is written; the operator enforces the Python half when it reads one, since an
object stored under older rules can violate newer ones. Tests hold both halves against the same table of bad examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_Value = TypeVar("_Value")
ATOMIC: Final = {"x-kubernetes-list-type": "atomic"}
"""A list that has one owner as a whole."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over a value. ``message`` says what to write instead; ``field`` is the camelCase path below the value it is about."""

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""

    def to_validation(self) -> dict[str, str]:
        """One item of ``x-kubernetes-validations``."""
        path = {"fieldPath": f".{self.field}"} if self.field else {}
        return {"rule": self.cel, "message": self.message, **path}

    def to_error(self) -> PydanticCustomError:
        """The same refusal for pydantic. Braces in the message are text, not placeholders."""
        return PydanticCustomError("rule", "{sentence}", {"sentence": self.message, "field": self.field})


@dataclass(frozen=True, slots=True)
class Ruled:
    """Makes a rule part of a scalar type: ``Annotated[str, Ruled(RULE)]``."""

    rule: Rule

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-kubernetes-validations": [self.rule.to_validation()]}

    def _check(self, value: Any) -> Any:
        if not self.rule.holds(value):
            raise self.rule.to_error()
        return value


class Keyed:
    """Makes a list a map: no two items may agree in all of these fields. The API server says so by itself."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self._keys)}

    def _check(self, items: Any) -> Any:
        seen = {tuple(getattr(item, key) for key in self._keys) for item in items}
        if len(seen) < len(items):
            raise Rule("", f"name each {' and '.join(self._keys)} once: remove the duplicate", lambda _: False).to_error()
        return items


class Part(BaseModel):
    """A frozen, strict, camelCase model that obeys ``RULES``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.RULES:
            if not rule.holds(self):
                raise rule.to_error()
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        if cls.RULES:
            handler.resolve_ref_schema(written)["x-kubernetes-validations"] = [rule.to_validation() for rule in cls.RULES]
        return written


def code_default(value: _Value) -> _Value:
    """A default that lives in code only: the CRD does not state it, so that a stored object stays silent where its writer was.

    A policy's defaults can then still fill the gap, and a later release can change the default.
    """
    field: _Value = Field(default_factory=lambda: value)
    return field
