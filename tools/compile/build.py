"""Which modules are compiled, and their shared objects, kept in the cache under a hash of everything they depend on.

Only a copy of the sources is ever compiled: a shared object in the source tree would be imported instead of the edited source beside it.
"""

import compileall
import shutil
import sys
import sysconfig
from pathlib import Path

from tools.localcluster.cache import cache_root, cached, digest
from tools.localcluster.command import run
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.pip import virtualenv

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "operator"
PACKAGE = "claudeops"
LOCK = REPOSITORY / "tools/images/locks/compile.txt"
GROUP = KIND = "compiled"
# Nothing of these runs for each request, or they hold classes that mypyc cannot make.
STRUCT = b"msgspec.Struct"
COLD = {
    "sidecar": (
        *("admin", "channel", "command", "config", "exchange_client", "exposition", "lifecycle", "logs", "metrics", "metrics_page"),
        *("credentials", "report", "rules", "state", "target", "tokenformat", "wireformat"),
    ),
    "policy": (
        *("capacity", "connections", "fleet_fallback", "lease_state", "legality", "replicas", "safety", "sampling", "shares", "slo"),
        "waterfill",
    ),
    "wire": ("dial", "resolver", "tls", "tunnel"),
}
FOLDERS = ("policy", "sidecar", "wire")
# What the types of compiled modules, and with them the code that is made of them, depend on.
INPUTS = (*FOLDERS, "catalogue", "errors.py", "exchange.py", "proxyconfig.py")
# Level 2 would spare 3 % of the path's user space, and take the compiler 40 % longer; level "s" is 0.5 MiB smaller, and 20 % slower.
# Nobody links against this: with its names hidden, calls within it take no detour (5 % of the path), and the table is 0.3 MiB smaller.
BUILD_SCRIPT = """
import sys
from mypyc.build import mypycify
from setuptools import setup

extensions = mypycify(
    ["--ignore-missing-imports", "--no-warn-unused-configs", *sys.argv[2:]], opt_level="1", debug_level="0", group_name=sys.argv[1]
)
for extension in extensions:
    extension.extra_compile_args.append("-fvisibility=hidden")
setup(name="compiled", packages=[], ext_modules=extensions, script_args=["-q", "build_ext", "--build-lib", "out"])
"""


def hot_modules() -> list[str]:
    """Paths of the modules that are compiled, relative to the source root: none with msgspec's Structs, which decode to dicts then."""
    found = []
    for folder in FOLDERS:
        for path in sorted((SOURCES / PACKAGE / folder).rglob("*.py")):
            if path.name != "__init__.py" and path.stem not in COLD.get(folder, ()) and STRUCT not in path.read_bytes():
                found.append(str(path.relative_to(SOURCES)))
    return found


def shared_objects() -> Path:
    """The folder that, laid over the source root, makes it the compiled form. Built if need be; raises LocalClusterError."""
    return cached(KIND, _key(), _build) / "out"


def built_objects() -> Path | None:
    """The same if it has been built already."""
    folder = cache_root() / KIND / _key()
    return folder / "out" if folder.is_dir() else None


def _key() -> str:
    sources = [SOURCES / PACKAGE / name for name in INPUTS]
    return digest(Path(__file__), LOCK, sys.version, sysconfig.get_platform(), *(path for path in sources if path.exists()))


def site() -> Path:
    """A folder for PYTHONPATH: a copy of the sources as they are now, with the shared objects beside them."""
    objects = shared_objects()

    def copy(folder: Path) -> None:
        shutil.copytree(SOURCES / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(objects, folder, dirs_exist_ok=True)
        compileall.compile_dir(folder, quiet=1)  # as in the image: a start should not begin with it

    return cached("compiled-site", digest(objects.parent.name, SOURCES / PACKAGE), copy)


def _build(folder: Path) -> None:
    """Compile a copy, at low priority: whoever builds other things beside it should not wait for this."""
    if not shutil.which("gcc") or not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise LocalClusterError("a C compiler or Python's headers are missing: apt-get install gcc libc6-dev python3-dev")
    python = virtualenv("compile", LOCK)
    work = folder / "work"
    shutil.copytree(SOURCES / PACKAGE, work / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "build.py").write_text(BUILD_SCRIPT)
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    run([*nice, python, "build.py", GROUP, *hot_modules()], cwd=work)
    (work / "out").rename(folder / "out")
    shutil.rmtree(work)
