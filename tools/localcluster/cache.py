"""Artefacts kept under the user's cache folder, found again by a hash of what they were made from."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

KEPT_PER_KIND = 12


def cache_root() -> Path:
    """The folder of everything that may be thrown away: $XDG_CACHE_HOME/claudeops, else ~/.cache/claudeops."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "claudeops"


def digest(*parts: str | bytes | Path) -> str:
    """A short hash of texts, bytes, files and folders (their relative names and contents, without bytecode)."""
    state = hashlib.sha256()
    for part in parts:
        for chunk in _chunks(part):
            state.update(len(chunk).to_bytes(8, "big"))
            state.update(chunk)
    return state.hexdigest()[:20]


def _chunks(part: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
    elif isinstance(part, str):
        yield part.encode()
    elif part.is_dir():
        for file in sorted(part.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(part)).encode()
                yield file.read_bytes()
    else:
        yield part.name.encode()
        yield part.read_bytes()


def cached(kind: str, key: str, build: Callable[[Path], None], *, kept: int = KEPT_PER_KIND) -> Path:
    """The folder `kind/key`, built once: `build` fills an empty folder, which appears under its name only when complete.

    Safe against a kill at any moment and against a second caller (which waits). All but the `kept` newest entries of the kind are removed.
    """
    folder = cache_root() / kind
    final = folder / key
    if not final.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{key}.lock"):
            if not final.is_dir():
                draft = folder / f".{key}.draft"
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir()
                build(draft)
                draft.rename(final)
        (folder / f".{key}.lock").unlink(missing_ok=True)
        _prune(folder, kept)
    with contextlib.suppress(OSError):
        os.utime(final)
    return final


def _prune(folder: Path, kept: int) -> None:
    entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.stat().st_mtime)
    for entry in entries[:-kept]:
        shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
