"""What the controller knows of the cluster: objects by (kind, namespace, name), with the few indexes that reconciling needs.

Filled by watch events and, every few minutes, by a full list that *replaces* the set of a kind: a delete that a watch lost is found
there. Events and lists overlap, so an object older than the one known (by ``resourceVersion``) never wins, and a delete is remembered
until the next list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from claudeops.controller.kind import Kind, Object, Ref, reference

Indexer = Callable[[Object], Iterable[str]]
Trim = Callable[[Object], Object]


def version_of(item: Object) -> int:
    """``metadata.resourceVersion`` as a number, 0 when it is none."""
    try:
        return int(item.get("metadata", {}).get("resourceVersion", 0))
    except ValueError:
        return 0


class ObjectCache:
    """Objects of several kinds. ``indexers`` maps kind → index name → function to the values an object is found under;
    ``trims`` maps kind → function that keeps only what is needed."""

    def __init__(self, indexers: Mapping[Kind, Mapping[str, Indexer]], trims: Mapping[Kind, Trim] | None = None) -> None:
        self._indexers = indexers
        self._trims = trims or {}
        self._objects: defaultdict[Kind, dict[Ref, Object]] = defaultdict(dict)
        self._index: defaultdict[tuple[Kind, str, str], dict[Ref, None]] = defaultdict(dict)
        self._deleted: defaultdict[Kind, dict[Ref, int]] = defaultdict(dict)
        self._listed: set[Kind] = set()

    def put(self, kind: Kind, item: Object) -> bool:
        """Stores an object; False when the same or a newer version is already known, or its delete is."""
        ref, version = reference(kind, item), version_of(item)
        known = self._objects[kind].get(ref)
        if known is not None and version_of(known) >= version > 0:
            return False
        if self._deleted[kind].get(ref, -1) >= version > 0:
            return False
        self._unindex(ref)
        self._store(ref, item)
        return True

    def drop(self, kind: Kind, item: Object) -> bool:
        """Forgets a deleted object; False when it was not known or a newer one of the name is."""
        ref, version = reference(kind, item), version_of(item)
        known = self._objects[kind].get(ref)
        self._deleted[kind][ref] = max(version, self._deleted[kind].get(ref, -1))
        if known is None or version_of(known) > version > 0:
            return False
        self._unindex(ref)
        del self._objects[kind][ref]
        return True

    def replace(self, kind: Kind, items: Iterable[Object], *, version: int) -> list[Ref]:
        """Makes a full list, as of ``version``, the set of its kind. The references of all that came, went or changed."""
        changed: list[Ref] = []
        seen: set[Ref] = set()
        for item in items:
            ref = reference(kind, item)
            seen.add(ref)
            if self.put(kind, item):
                changed.append(ref)
        for ref, known in list(self._objects[kind].items()):
            if ref not in seen and version_of(known) <= version:
                self._unindex(ref)
                del self._objects[kind][ref]
                changed.append(ref)
        self._deleted[kind] = {ref: at for ref, at in self._deleted[kind].items() if at > version}
        self._listed.add(kind)
        return changed

    def is_listed(self, kind: Kind) -> bool:
        """Whether a full list of the kind was ever read: before that, absence means nothing."""
        return kind in self._listed

    def get(self, ref: Ref) -> Object | None:
        """One object. Callers must not change it."""
        return self._objects[ref.kind].get(ref)

    def items(self, kind: Kind) -> Iterator[Object]:
        """All objects of a kind."""
        return iter(list(self._objects[kind].values()))

    def find(self, kind: Kind, index: str, value: str) -> list[Object]:
        """The objects that an index has under a value."""
        objects = self._objects[kind]
        return [objects[ref] for ref in self._index.get((kind, index, value), ())]

    def _store(self, ref: Ref, item: Object) -> None:
        trim = self._trims.get(ref.kind)
        kept = trim(item) if trim else item
        self._objects[ref.kind][ref] = kept
        for index, indexer in self._indexers.get(ref.kind, {}).items():
            for value in indexer(kept):
                self._index[ref.kind, index, value][ref] = None

    def _unindex(self, ref: Ref) -> None:
        known = self._objects[ref.kind].get(ref)
        if known is None:
            return
        for index, indexer in self._indexers.get(ref.kind, {}).items():
            for value in indexer(known):
                entry = self._index.get((ref.kind, index, value))
                if entry is not None:
                    entry.pop(ref, None)
                    if not entry:
                        del self._index[ref.kind, index, value]
