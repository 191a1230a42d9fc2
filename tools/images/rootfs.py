"""The base layer: a CPython of this machine and the shared libraries that it and the compiled packages need."""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .interpreter import NAME as PYTHON
from .interpreter import image_interpreter

IMAGE_PREFIX = Path("usr/local")
SHARED = f"lib{PYTHON}.so.1.0"
FOLDERS = ("tmp", "etc", "usr/local/bin", "lib64", "proc", "sys", "dev", "run", "var/tmp", "home/nonroot")
UNUSED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "distutils"}
UNUSED |= {"site-packages", "dist-packages", "__pycache__"}
UNUSED_PREFIXES = ("config-", "_test", "_ctypes_test", "_tkinter", "_xx", "xx", "sitecustomize")
LEVELS = (0, 2)
"""Of the bytecode: the proxy runs without docstrings and assertions, the others with them."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def build_rootfs(root: Path) -> None:
    """Fill the folder with a root file system in which `/usr/local/bin/python3` runs."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    _copy_python(root)
    copy_libraries(root, root)
    if CERTIFICATES.exists():
        _put(CERTIFICATES, root / "etc/ssl/certs" / CERTIFICATES.name)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
    (root / "etc/group").write_text("root:x:0:\nnonroot:x:65532:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "etc/ld.so.conf").write_text("/usr/local/lib\n")
    subprocess.run(["ldconfig", "-r", root], check=True)
    compile_folder(root / IMAGE_PREFIX / "lib" / PYTHON)


def copy_libraries(tree: Path, root: Path) -> None:
    """Put the system libraries that the programs under `tree` link against into `root`, where they are not there yet."""
    for library in sorted({found for program in _elf_files(tree) for found in _linked(program)}):
        if tree not in library.parents and library.name != SHARED:
            folder = root / "lib64" if library.name.startswith("ld-linux") else root / "lib" / library.parent.name
            if not (folder / library.name).exists():
                _put(library, folder / library.name)


def compile_folder(folder: Path) -> None:
    """Compile all sources to bytecode that is valid whatever the files' times, so that a read-only image starts fast."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for level in LEVELS:
        workers = os.cpu_count() or 1
        compileall.compile_dir(folder, quiet=2, workers=workers, invalidation_mode=mode, stripdir=str(folder), optimize=level)


def _copy_python(root: Path) -> None:
    interpreter = image_interpreter()
    prefix = interpreter.prefix.resolve()
    binary = root / IMAGE_PREFIX / "bin" / PYTHON
    _put(prefix / "bin" / PYTHON, binary)
    for name in ("python3", "python"):
        (binary.parent / name).symlink_to(PYTHON)
    shutil.copytree(interpreter.stdlib, root / IMAGE_PREFIX / "lib" / PYTHON, ignore=_ignore, symlinks=True)
    shared = prefix / "lib" / SHARED
    if shared.exists():
        _put(shared, root / IMAGE_PREFIX / "lib" / SHARED)
    if shutil.which("strip"):
        for program in _elf_files(root):
            subprocess.run(["strip", "--strip-unneeded", program], check=False, stderr=subprocess.DEVNULL)


def _ignore(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in UNUSED or name.startswith(UNUSED_PREFIXES)]


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    target.chmod(target.stat().st_mode | 0o200)


def _elf_files(tree: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(tree):
        for path in (Path(parent) / name for name in names):
            if not path.is_symlink() and (".so" in path.name or os.access(path, os.X_OK)):
                with path.open("rb") as handle:
                    if handle.read(4) == b"\x7fELF":
                        yield path


def _linked(program: Path) -> set[Path]:
    env = {**os.environ, "LD_LIBRARY_PATH": str(image_interpreter().prefix / "lib")}
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, env=env)
    return {Path(found) for found in re.findall(r"(?:\S+ => )?(/\S+) \(0x", said.stdout)}
