"""Kubernetes manifests as text: every document with its place, so that a wrong field can be pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from claudeops.errors import InvalidResource

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """As Kubernetes reads YAML: what looks like a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Complaint:
    """What is wrong, and where: ``file:line``. ``subject`` is the object it is about, empty for a file that cannot be read."""

    place: str
    message: str
    subject: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.subject, self.message) if part)


@dataclass(frozen=True)
class Document:
    """One object of a file. ``body`` is as written."""

    file: str
    body: dict[str, Any]
    node: yaml.Node

    @property
    def kind(self) -> str:
        """Empty where the document is no Kubernetes object."""
        return str(self.body.get("kind") or "")

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return str(self.body.get("apiVersion") or "").rpartition("/")[0]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return str(self._metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """``metadata.namespace``; empty where none is written."""
        return str(self._metadata.get("namespace") or "")

    @property
    def _metadata(self) -> dict[str, Any]:
        metadata = self.body.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def complain(self, message: str, *, path: str = "") -> Complaint:
        """A complaint about the field at ``path``, or about the object as a whole."""
        subject = " ".join(part for part in (self.kind, "/".join(part for part in (self.namespace, self.name) if part)) if part)
        return Complaint(f"{self.file}:{_line_of(self.node, path)}", message, subject)


def parse_documents(text: str, file: str) -> tuple[Document, ...]:
    """Every object of a file, those inside a ``List`` included.

    Raises :class:`~claudeops.errors.InvalidResource` whose message begins with ``file:line`` where it is no YAML, or a key is
    written twice.
    """
    loader = _Loader(text)
    found: list[Document] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _refuse_duplicates(node, file)
            body = loader.construct_document(node)
            found.extend(_objects(node, body, file))
    except yaml.YAMLError as error:
        raise _to_invalid_resource(error, file) from error
    finally:
        loader.dispose()
    return tuple(found)


def _objects(node: yaml.Node, body: Any, file: str) -> Iterator[Document]:
    if body is None:
        return
    if not isinstance(body, dict):
        raise InvalidResource(f"{file}:{_line(node)}: a manifest is a mapping with apiVersion and kind, not {type(body).__name__}")
    if body.get("kind") == "List" and isinstance(body.get("items"), list):
        items = _child(node, "items")
        for index, item in enumerate(body["items"]):
            yield from _objects(items.value[index] if isinstance(items, yaml.SequenceNode) else node, item, file)
        return
    yield Document(file, body, node)


def _refuse_duplicates(node: yaml.Node, file: str) -> None:
    """YAML lets the last one win in silence; the API server refuses it, and so do we."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                raise InvalidResource(f'{file}:{_line(key)}: the key "{name}" is written twice: remove one of them')
            seen.add(name)
            _refuse_duplicates(value, file)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, file)


def _line_of(node: yaml.Node, path: str) -> int:
    """The line of the field at ``spec.limits[2].group``, or of the nearest one above it that is written."""
    line = _line(node)
    for step in re.findall(r"[^.\[\]]+", path):
        key, below = _entry(node, step)
        if below is None:
            break
        line, node = _line(key or below), below
    return line


def _entry(node: yaml.Node, step: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        return None, node.value[int(step)]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
    return None, None


def _child(node: yaml.Node, name: str) -> yaml.Node | None:
    return _entry(node, name)[1]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _to_invalid_resource(error: yaml.YAMLError, file: str) -> InvalidResource:
    mark = getattr(error, "problem_mark", None)
    place = file if mark is None else f"{file}:{mark.line + 1}"
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return InvalidResource(f"{place}: no YAML: {problem}")
