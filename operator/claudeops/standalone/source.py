"""The files that were named: read as a whole, watched by a look at each of them, the last good version of each kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claudeops.errors import InvalidResource
from claudeops.standalone.manifest import Complaint, Document, parse_documents

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Reading:
    """What the files say now. A file with a complaint stands as it was before, if it was ever good."""

    documents: tuple[Document, ...]
    complaints: tuple[Complaint, ...]


class ManifestFiles:
    """Files, and folders of which every ``.yaml``, ``.yml`` and ``.json`` file counts (not those of folders below)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._good: dict[str, tuple[Document, ...]] = {}
        self._documents: tuple[Document, ...] = ()
        self._read: Stamp = ()
        self._seen: Stamp = ()

    def read(self) -> Reading:
        """Reads them all, by name within each folder. Where a named path is gone, everything stands as it was."""
        self._read = self._seen = self._stamp()
        documents: list[Document] = []
        complaints: list[Complaint] = [_missing(path) for path in self._paths if not path.exists()]
        if complaints:
            return Reading(self._documents, tuple(complaints))
        files = self._files()
        for file in files:
            name = str(file)
            try:
                self._good[name] = parse_documents(_text(file), name)
            except InvalidResource as error:
                complaints.append(Complaint("", str(error)))
            documents.extend(self._good.get(name, ()))
        self._good = {name: self._good[name] for name in map(str, files) if name in self._good}
        self._documents = tuple(documents)
        return Reading(self._documents, tuple(complaints))

    def has_changed(self) -> bool:
        """Whether they differ from what was read, and no longer change: true from the second look on that shows the same."""
        stamp = self._stamp()
        is_settled, self._seen = stamp == self._seen, stamp
        return is_settled and stamp != self._read

    def _files(self) -> list[Path]:
        found: list[Path] = []
        for path in self._paths:
            if path.is_dir():
                found += sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and not entry.name.startswith("."))
            elif path.exists():
                found.append(path)
        return list(dict.fromkeys(found))

    def _stamp(self) -> Stamp:
        """Also follows the links that a mounted ConfigMap is made of."""
        stamps = []
        for file in self._files():
            try:
                state = file.stat()
            except OSError:
                continue
            stamps.append((str(file), state.st_ino, state.st_mtime_ns, state.st_size))
        return tuple(stamps)


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InvalidResource(f"{file}: larger than {MAX_FILE_BYTES} bytes")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidResource(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidResource(f"{file}: is no UTF-8 text") from error


def _missing(path: Path) -> Complaint:
    return Complaint(str(path), "no such file or folder")
