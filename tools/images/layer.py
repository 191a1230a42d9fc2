"""A folder as a layer: the same files give the same bytes, whenever and by whomever they were made."""

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    """An uncompressed tar on disk and its digest (`sha256:...`), which is its diff id as well."""

    path: Path
    digest: str
    size_bytes: int


def write_layer(folder: Path, out: Path) -> None:
    """Write `out` (a tar) and `out.digest` from all that is in the folder, owned by root and without times."""
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(str(path.relative_to(folder)) for path in _everything(folder)):
            tar.add(folder / name, name, recursive=False, filter=_anonymous)
    out.with_suffix(".digest").write_text(digest_of(out))


def read_layer(path: Path) -> Layer:
    """A layer that `write_layer` wrote."""
    return Layer(path, path.with_suffix(".digest").read_text(), path.stat().st_size)


def digest_of(source: Path | bytes) -> str:
    """The OCI digest of a file or of bytes."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()


def _everything(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        found += [Path(parent) / name for name in (*folders, *files)]
    return found


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    # The umask of whoever built it must not decide who may read it.
    if member.mode & 0o1000 == 0:
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
