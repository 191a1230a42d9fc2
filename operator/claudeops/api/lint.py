"""What the API server would not say at install, or only much later: unbounded values, lists without a type, bad defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

Json = dict[str, Any]
_LOOK_AROUND: Final = re.compile(r"\(\?[=!<]|\\[1-9]")


def lint(schema: Json, path: str = "") -> Iterator[str]:
    """One sentence for everything in a structural schema that is wrong by the house's rules. Nothing for a good one."""
    match schema.get("type"):
        case "string":
            yield from _lint_string(schema, path)
        case "array":
            yield from _lint_array(schema, path)
        case "object":
            yield from _lint_object(schema, path)
    for name in set(schema.get("required", ())) - schema.get("properties", {}).keys():
        yield f"{path}: requires {name}, which it does not declare"
    if "enum" in schema and "default" in schema and schema["default"] not in schema["enum"]:
        yield f"{path}: the default is not one of the enum's words"


def _lint_string(schema: Json, path: str) -> Iterator[str]:
    if "maxLength" not in schema and "enum" not in schema and schema.get("format") != "date-time":
        yield f"{path}: a string without maxLength"
    if _LOOK_AROUND.search(schema.get("pattern", "")):
        yield f"{path}: the pattern uses look-around or a back-reference, which RE2 has not"


def _lint_array(schema: Json, path: str) -> Iterator[str]:
    if "maxItems" not in schema:
        yield f"{path}: a list without maxItems"
    items = schema["items"]
    kind = schema.get("x-kubernetes-list-type")
    if items.get("type") == "object" and kind is None:
        yield f"{path}: a list of objects without x-kubernetes-list-type"
    keyable = {name for name, child in items.get("properties", {}).items() if name in items.get("required", ()) or "default" in child}
    for key in set(schema.get("x-kubernetes-list-map-keys", ())) - keyable:
        yield f"{path}: the map key {key} is neither required nor defaulted"
    yield from lint(items, f"{path}[]")


def _lint_object(schema: Json, path: str) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield from lint(child, f"{path}.{name}".lstrip("."))
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        if "maxProperties" not in schema:
            yield f"{path}: a map without maxProperties"
        yield from lint(values, f"{path}{{}}")
