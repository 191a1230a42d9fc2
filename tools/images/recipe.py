"""Which images there are, and from which layers: CPython, then locked dependencies, then our wheel, then its compiled form."""

import shutil
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from configparser import ConfigParser
from pathlib import Path

from tools.compile.build import built_objects, shared_objects
from tools.localcluster.cache import cached, digest
from tools.localcluster.command import run
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.layout import PAUSE_IMAGE
from tools.localcluster.pip import pip, virtualenv
from tools.localcluster.progress import Progress

from . import rootfs
from .interpreter import image_interpreter
from .layer import Layer, read_layer, write_layer
from .oci import Image, ImageSettings

REPOSITORY = Path(__file__).parents[2]
LOCKS = Path(__file__).parent / "locks"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "operator/claudeops")
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"
PYTHON_ENV = (PATH, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp")
# Our packages: found before site-packages, whatever the interpreter calls that.
OUR_PATH = "PYTHONPATH=/opt/claudeops:/opt/packages"
# glibc's allocator would otherwise move its thresholds up with the first large body and keep the memory.
MALLOC_ENV = {"MALLOC_MMAP_THRESHOLD_": "16777216", "MALLOC_TRIM_THRESHOLD_": "67108864"}
# The proxy stands in every pod: without docstrings and assertions, which are for those who change the code, it is 0.8 MiB smaller.
LEAN_ENV = {"PYTHONOPTIMIZE": "2", **MALLOC_ENV}
OURS = ImageSettings(("/usr/local/bin/claudeops",), (*PYTHON_ENV, OUR_PATH))
LEAN = ImageSettings(OURS.entrypoint, (*OURS.env, *(f"{name}={value}" for name, value in LEAN_ENV.items())))
SDK_VERSIONS = ("0.125", "2.12")
RECIPE = digest(*(Path(__file__).with_name(f"{name}.py") for name in ("interpreter", "layer", "recipe", "rootfs")))


class Recipe:
    """The images of this checkout; layers are made in parallel, each once, and only those whose inputs changed.

    What is shipped has the compiled form of the proxy; a cluster of our own takes it where it has been built, and does not wait for it.
    """

    def __init__(self, pool: Executor, progress: Progress, *, is_shipped: bool = False) -> None:
        self._base = pool.submit(_base_layer, progress)
        self._pause = pool.submit(_pause_layer)
        self._packages = {lock: pool.submit(_locked_layer, lock, "opt/packages", progress) for lock in ("controller", "sidecar")}
        self._sdks = [pool.submit(_locked_layer, f"sdk-{version}", f"sdk/{version}", progress) for version in SDK_VERSIONS]
        self._wheel = pool.submit(_wheel_layer, progress)
        self._compiled = pool.submit(_compiled_layers, progress, is_shipped=is_shipped)

    def stable(self) -> list[Image]:
        """What does not change with our sources: the pause and example images, and the others without their wheel."""
        base = self._base.result()
        example = (base, *(sdk.result() for sdk in self._sdks))
        return [
            Image(PAUSE_IMAGE, (self._pause.result(),), ImageSettings(("/bin/busybox", "sleep", "infinity"), (PATH,))),
            Image("claudeops-example:dev", example, ImageSettings(("/usr/local/bin/python3",), PYTHON_ENV)),
            *(Image(f"claudeops-{lock}-packages:dev", (base, layer.result()), OURS) for lock, layer in self._packages.items()),
        ]

    def ours(self) -> list[Image]:
        """The images that hold our wheel; the sidecar's may have the compiled form of its hot modules besides."""
        base, wheel = self._base.result(), self._wheel.result()
        controller, sidecar = self._packages["controller"].result(), self._packages["sidecar"].result()
        return [
            Image("claudeops-controller:dev", (base, controller, wheel), OURS),
            Image("claudeops-sidecar:dev", (base, sidecar, wheel, *self._compiled.result()), LEAN),
        ]


def build_images(progress: Progress) -> list[Image]:
    """All images that a cluster needs to run the product and its demo."""
    with ThreadPoolExecutor() as pool:
        recipe = Recipe(pool, progress, is_shipped=True)
        return [*recipe.stable()[1:2], *recipe.ours()]


def _layer(kind: str, key: Sequence[str | bytes | Path], fill: Callable[[Path], None]) -> Layer:
    def build(folder: Path) -> None:
        tree = folder / "tree"
        tree.mkdir()
        fill(tree)
        write_layer(tree, folder / "layer.tar")
        shutil.rmtree(tree)

    return read_layer(cached(f"layer-{kind}", digest(RECIPE, *key), build) / "layer.tar")


def _base_layer(progress: Progress) -> Layer:
    interpreter = image_interpreter()

    def fill(tree: Path) -> None:
        with progress.step("image layer: CPython"):
            rootfs.build_rootfs(tree)

    return _layer("base", [interpreter.version, str(interpreter.prefix)], fill)


def _locked_layer(lock: str, folder: str, progress: Progress) -> Layer:
    requirements = LOCKS / f"{lock}.txt"

    def fill(tree: Path) -> None:
        target = tree / folder
        with progress.step(f"image layer: {lock}"):
            pip(["install", "-q", "--require-hashes", "--no-deps", "--no-compile", "--target", target, "-r", requirements])
            shutil.rmtree(target / "bin", ignore_errors=True)
            rootfs.compile_folder(target)
            rootfs.copy_libraries(target, tree)

    return _layer("packages", [requirements, folder, image_interpreter().version], fill)


def _wheel_layer(progress: Progress) -> Layer:
    def fill(tree: Path) -> None:
        with progress.step("image layer: the wheel"):
            unpack_wheel(build_wheel(tree.parent), tree)

    return _layer("wheel", [image_interpreter().version, *(REPOSITORY / source for source in SOURCES)], fill)


def _compiled_layers(progress: Progress, *, is_shipped: bool) -> list[Layer]:
    """Lies over the wheel's: beside each hot module's source its shared object, which Python prefers."""
    found = built_objects()
    if found is None and not is_shipped:
        progress.say("the proxy runs interpreted: its compiled form has not been built (python -m tools.compile)")
        return []
    with progress.step("image layer: the proxy compiled"):
        objects = found or shared_objects()

        def fill(tree: Path) -> None:
            shutil.copytree(objects, tree / "opt/claudeops")

        return [_layer("compiled", [objects.parent.name], fill)]


def build_wheel(folder: Path) -> Path:
    """Build this checkout's wheel into the folder, with the locked build backend."""
    python = virtualenv("build", LOCKS / "build.txt")
    run([python, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=REPOSITORY)
    return next(folder.glob("*.whl"))


def unpack_wheel(wheel: Path, tree: Path) -> None:
    """Put a pure wheel's contents under /opt/claudeops and its console scripts into /usr/local/bin."""
    packages, scripts = tree / "opt/claudeops", tree / "usr/local/bin"
    scripts.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    entry_points = ConfigParser(delimiters=("=",))
    entry_points.read(packages.glob("*.dist-info/entry_points.txt"))
    if not entry_points.has_section("console_scripts"):
        raise LocalClusterError(f"{wheel.name} brings no console script: see [project.scripts] in pyproject.toml")
    for name, value in entry_points.items("console_scripts"):
        module, _, function = value.partition(":")
        text = f"#!/usr/local/bin/python3\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    rootfs.compile_folder(packages)


def _pause_layer() -> Layer:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LocalClusterError("busybox is missing, which the pause image is made of (Debian package busybox-static)")

    def fill(tree: Path) -> None:
        (tree / "bin").mkdir()
        shutil.copy2(Path(busybox).resolve(), tree / "bin/busybox")

    return _layer("pause", [Path(busybox).resolve()], fill)
