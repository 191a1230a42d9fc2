"""JSON Schema as pydantic writes it → the structural schema that an API server accepts.

What has no structural form is refused with its path, so that it stops the build instead of vanishing or failing at install.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from claudeops.errors import InvalidResource

Json = dict[str, Any]
Slot = Literal["field", "item", "value"]

_ALLOWED: Final = {
    *("type", "description", "default", "enum", "format", "pattern", "anyOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("properties", "required", "items", "additionalProperties"),
}
_ANNOTATIONS: Final = {"title", "examples", "deprecated", "readOnly", "writeOnly", "discriminator", "propertyNames", "$defs"}
_WITHOUT_FORM: Final = {
    "oneOf": "a union: write sibling optional objects and a rule that says exactly one",
    "not": "not: write a rule",
    "prefixItems": "a tuple: write an object, or tuple[X, ...]",
    "allOf": "allOf of several: write one model",
}
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]


def to_structural(schema: Mapping[str, Any]) -> Json:
    """The structural form of a whole pydantic schema (``model_json_schema``, by alias, mode ``validation``).

    Raises :class:`~claudeops.errors.InvalidResource` with the path of the first node that has none.
    """
    return _Converter(schema.get("$defs", {})).convert(dict(schema), "", frozenset(), "field")


class _Converter:
    """Walks one schema. ``definitions`` open on the way down are passed along, so that a cycle is seen and a twin is not."""

    def __init__(self, definitions: Mapping[str, Json]) -> None:
        self._definitions = definitions

    def convert(self, node: Json, path: str, opened: frozenset[str], slot: Slot) -> Json:
        node, opened = self._resolve(node, path, opened)
        if "anyOf" in node:
            live = _live_alternatives(node, path, slot)
            if live is None:
                return _keep({**node, "anyOf": _INT_OR_STRING, "x-kubernetes-int-or-string": True}, path)
            return self.convert(live, path, opened, slot)
        _refuse_formless(node, path)
        node = _with_type(_with_enum(node), path)
        node = _with_bounds(node, path)
        match node.get("type"):
            case "object":
                node = self._object(node, path, opened)
            case "array":
                items = self.convert(node.get("items", {}), f"{path}[]", opened, "item")
                node = {**node, "items": items}
            case None:
                node = _untyped(node)
        return _keep(node, path)

    def _resolve(self, node: Json, path: str, opened: frozenset[str]) -> tuple[Json, frozenset[str]]:
        """Follows references; what stands beside a reference wins."""
        while "$ref" in node or len(node.get("allOf", ())) == 1:
            if "$ref" in node:
                name = node["$ref"].rsplit("/", 1)[-1]
                if name in opened:
                    raise InvalidResource(f"{name} refers to itself: a structural schema has no recursion", path=path)
                opened |= {name}
                target, key = self._definitions[name], "$ref"
            else:
                target, key = node["allOf"][0], "allOf"
            node = {**target, **{name: value for name, value in node.items() if name != key}}
        return node, opened

    def _object(self, node: Json, path: str, opened: frozenset[str]) -> Json:
        values = node.pop("additionalProperties", False) if node.get("properties") else node.get("additionalProperties", False)
        if node.get("properties"):
            properties = {
                name: self.convert(child, f"{path}.{name}".lstrip("."), opened, "field") for name, child in node["properties"].items()
            }
            extra = {"x-kubernetes-preserve-unknown-fields": True} if values is True else {}
            return {**node, "properties": properties, **extra}
        rest = {key: value for key, value in node.items() if key not in ("additionalProperties", "properties")}
        if values is True:
            return {**rest, "x-kubernetes-preserve-unknown-fields": True}
        if values is False:
            return rest
        return {**rest, "additionalProperties": self.convert(values, f"{path}{{}}", opened, "value")}


def _live_alternatives(node: Json, path: str, slot: Slot) -> Json | None:
    """The one alternative that is left without null, overlaid by its surroundings; None for int-or-string."""
    alternatives = node["anyOf"]
    live = [option for option in alternatives if option.get("type") != "null"]
    around = {key: value for key, value in node.items() if key != "anyOf"}
    if len(live) < len(alternatives):
        if slot != "field":
            raise InvalidResource("null inside a list or map: absence cannot express it", path=path)
        if around.get("default", ...) is None:
            del around["default"]
            node.pop("default")
    if len(live) == 1:
        return {**live[0], **around}
    if sorted(live, key=str) == _INT_OR_STRING:
        return None
    raise InvalidResource("a union: write sibling optional objects and a rule that says exactly one", path=path)


def _refuse_formless(node: Json, path: str) -> None:
    for keyword, reason in _WITHOUT_FORM.items():
        if keyword in node:
            raise InvalidResource(reason, path=path)
    if node.get("type") == "null":
        raise InvalidResource("null: optional means absent", path=path)
    if node.get("format") == "duration":
        raise InvalidResource('an ISO duration: use a string such as "90s"', path=path)


def _with_enum(node: Json) -> Json:
    if "const" not in node:
        return node
    return {**{key: value for key, value in node.items() if key != "const"}, "enum": [node["const"]]}


def _with_type(node: Json, path: str) -> Json:
    if "enum" not in node or "type" in node:
        return node
    types = {_TYPES.get(type(value)) for value in node["enum"]}
    if len(types) != 1 or None in types:
        raise InvalidResource("an enum of mixed types: use one type", path=path)
    return {**node, "type": types.pop()}


def _with_bounds(node: Json, path: str) -> Json:
    """OpenAPI 3.0: ``exclusiveMinimum`` is a boolean beside ``minimum``. A set is a list of its own type."""
    node = dict(node)
    for plain, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        bound = node.get(exclusive)
        if bound is None or isinstance(bound, bool):
            continue
        if plain in node:
            raise InvalidResource(f"both {plain} and {exclusive}: keep one", path=path)
        node[plain], node[exclusive] = bound, True
    if node.pop("uniqueItems", False):
        node["x-kubernetes-list-type"] = "set"
    return node


def _untyped(node: Json) -> Json:
    rest = {key: value for key, value in node.items() if not (key == "default" and value is None)}
    return {**rest, "x-kubernetes-preserve-unknown-fields": True}


def _keep(node: Json, path: str) -> Json:
    """Allowed keywords and extensions stay, known annotations go, anything else stops the build."""
    for keyword in node:
        if keyword not in _ALLOWED and keyword not in _ANNOTATIONS and not keyword.startswith("x-kubernetes-"):
            raise InvalidResource(f"the keyword {keyword} has no structural form", path=path)
    return {key: value for key, value in node.items() if key not in _ANNOTATIONS}
