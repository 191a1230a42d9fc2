"""Read a custom resource: the same checks as the API server's, for objects that it stored under older rules and for files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from claudeops.api.profile import SamplingProfile
from claudeops.api.quota import ClaudeQuota
from claudeops.api.workload import ClaudeWorkload
from claudeops.errors import InvalidResource

Resource: TypeAlias = ClaudeWorkload | ClaudeQuota | SamplingProfile
KINDS: Final[Mapping[str, type[Resource]]] = {kind.__name__: kind for kind in (ClaudeWorkload, ClaudeQuota, SamplingProfile)}

_WHOLE: Final = "write a whole number, without quotes"
_LIST: Final = "write a list, such as [first, second]"
_WRITE_INSTEAD: Final = {
    "string_type": 'write text in quotes, and a duration with its unit, such as "20s"',
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "write a number, without quotes",
    "bool_type": "write true or false, without quotes",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": "write a mapping, such as {name: value}",
    "model_type": "write a mapping, such as {name: value}",
}
"""By what pydantic calls a value of another type."""


def parse(kind: str, body: Mapping[str, Any]) -> Resource:
    """The object as a model. ``status`` is not read: it is ours, and a bad one must not make the spec invalid.

    As in the API server, an explicit null means absent. Raises :class:`~claudeops.errors.InvalidResource` with the path of the first
    field that does not fit and a sentence that says what to write instead.
    """
    try:
        return _validate(kind, body)
    except ValidationError as error:
        raise _to_invalid_resource(error) from error


def find_faults(kind: str, body: Mapping[str, Any]) -> tuple[InvalidResource, ...]:
    """Every field that does not fit, where :func:`parse` raises the first of them. Raises it itself for a kind that there is not."""
    try:
        _validate(kind, body)
    except ValidationError as error:
        return tuple(InvalidResource(_sentence(detail), path=_path(detail)) for detail in error.errors(include_url=False))
    return ()


def _validate(kind: str, body: Mapping[str, Any]) -> Resource:
    model = KINDS.get(kind)
    if model is None:
        raise InvalidResource(f"no such kind in claudeops.dev/v1alpha1; write one of {', '.join(KINDS)}", path="kind")
    written = {key: value for key, value in body.items() if key != "status"}
    return model.model_validate_json(msgspec.json.encode(_without_nulls({"kind": kind, **written})))


def parse_workload(body: Mapping[str, Any]) -> ClaudeWorkload:
    """:func:`parse` for a ClaudeWorkload."""
    resource = parse("ClaudeWorkload", body)
    assert isinstance(resource, ClaudeWorkload)
    return resource


def parse_quota(body: Mapping[str, Any]) -> ClaudeQuota:
    """:func:`parse` for a ClaudeQuota."""
    resource = parse("ClaudeQuota", body)
    assert isinstance(resource, ClaudeQuota)
    return resource


def parse_profile(body: Mapping[str, Any]) -> SamplingProfile:
    """:func:`parse` for a SamplingProfile."""
    resource = parse("SamplingProfile", body)
    assert isinstance(resource, SamplingProfile)
    return resource


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


def _to_invalid_resource(error: ValidationError) -> InvalidResource:
    found = error.errors(include_url=False)
    more = "" if len(found) == 1 else f" (and {len(found) - 1} more)"
    return InvalidResource(f"{_sentence(found[0])}{more}", path=_path(found[0]))


def _path(detail: ErrorDetails) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in detail["loc"])
    field = detail.get("ctx", {}).get("field", "")
    return f"{path}.{field}".strip(".") if field else path.lstrip(".")


def _sentence(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "missing":
            return "is required: write it"
        case "extra_forbidden":
            return "no such field: remove it, or check its spelling and place"
        case "rule":
            return detail["msg"]
        case kind if kind in _WRITE_INSTEAD:
            return _WRITE_INSTEAD[kind]
        case _:
            return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"
