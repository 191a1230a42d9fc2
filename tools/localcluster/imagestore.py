"""containerd's folder with the images that do not change with our sources, unpacked once and given to each box as links.

Unpacking some hundred megabytes is the slowest part of a start. A containerd of its own does it once; each box gets a copy
of the folder in which all files but the databases are hard links: containerd never writes into what it has committed.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.images.oci import Image, write_archive

from .api import wait_until
from .cache import cached, digest
from .command import ending_with_us, run
from .errors import LocalClusterError
from .process import Identity, children_of, identify
from .progress import Progress

RECORD = "images.json"
CRI_PLUGINS = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime")
START_TIMEOUT_S = 30.0


def build_store(images: Sequence[Image], progress: Progress) -> Path:
    """The cached folder with `root` (containerd's) and a record of the images in it."""

    def build(folder: Path) -> None:
        with progress.step("image store unpacked"):
            _fill(folder, images)
        (folder / RECORD).write_text(json.dumps(describe(images)))

    return cached("imagestore", digest(run(["containerd", "--version"]), *(image.digest for image in images)), build, kept=3)


def copy_store(store: Path, *, root: Path, record: Path) -> None:
    """Make `root` a copy of the store's containerd folder, and `record` one of its record."""
    root.parent.mkdir(parents=True, exist_ok=True)
    run(["cp", "-a", "--link", store / "root", root])
    for database in store.joinpath("root").rglob("*.db"):
        copy = root / database.relative_to(store / "root")
        copy.unlink()
        shutil.copy2(database, copy)
    shutil.copy2(store / RECORD, record)


def describe(images: Sequence[Image]) -> dict[str, list[str]]:
    """By name: the image's digest, then its layers'."""
    return {image.name: [image.digest, *(layer.digest for layer in image.layers)] for image in images}


def _fill(folder: Path, images: Sequence[Image]) -> None:
    state, socket, archive = folder / "state", folder / "state" / "s", folder / "images.tar"
    disabled = json.dumps([*CRI_PLUGINS, "io.containerd.internal.v1.opt"])
    grpc = f'[grpc]\n  address = "{socket}"\n[ttrpc]\n  address = "{socket}.ttrpc"\n'
    (folder / "config.toml").write_text(f'version = 2\nroot = "{folder}/root"\nstate = "{state}"\ndisabled_plugins = {disabled}\n{grpc}')
    write_archive(images, archive)
    argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "containerd", "-c", str(folder / "config.toml")]
    ctr: list[str | Path] = ["ctr", "--address", socket, "--namespace", "k8s.io"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(ending_with_us(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers([*ctr, "version"]), timeout_s=START_TIMEOUT_S, what="containerd for the image store")
        run([*ctr, "images", "import", archive])
    except LocalClusterError as error:
        raise LocalClusterError(f"{error}\n{(folder / 'log').read_text()[-2000:]}") from error
    finally:
        for child in [one for pid in children_of(process.pid) if (one := identify(pid))]:
            _end(child)
        process.kill()
        process.wait()
    shutil.rmtree(state)
    for name in ("images.tar", "config.toml", "log"):
        (folder / name).unlink()


def _end(process: Identity) -> None:
    # A clean end, so that its databases are closed.
    process.send(signal.SIGTERM)
    if not process.wait_gone(START_TIMEOUT_S):
        process.send(signal.SIGKILL)


def _answers(argv: Sequence[str | Path]) -> bool:
    try:
        run(argv)
    except LocalClusterError:
        return False
    return True
