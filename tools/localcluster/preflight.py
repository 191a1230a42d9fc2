"""What this machine must have, checked before anything starts; missing Debian packages are installed."""

import contextlib
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from .command import run
from .errors import LocalClusterError
from .progress import Progress

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
# What must be there, by the Debian package that brings it.
PACKAGES = {
    "containerd": ("containerd", "ctr", "containerd-shim-runc-v2"),
    "runc": ("runc",),
    "iproute2": ("ip",),
    "iptables": ("iptables",),
    "nftables": ("nft",),
    "conntrack": ("conntrack",),
    "busybox-static": ("busybox",),
    "openssl": ("openssl",),
    "ca-certificates": (),
    "util-linux": ("unshare", "nsenter"),
}
HIDDEN_FOLDERS = ("/run", "/var/lib", "/var/log")
ELSEWHERE = "use a cluster of your own instead (make demo CONTEXT=...)"


def check_machine(cache: Path, *used: Path) -> None:
    """Raise LocalClusterError, saying what is missing, where the box cannot run; `used` are the other folders that it reads."""
    if os.geteuid() != 0:
        raise LocalClusterError(f"the local cluster needs root (namespaces, mounts, cgroups): run it as root, or {ELSEWHERE}")
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        with contextlib.suppress(LocalClusterError):
            run(["modprobe", "overlay"])
        if "overlay" not in Path("/proc/filesystems").read_text().split():
            raise LocalClusterError(f"this kernel has no overlayfs, which containers need: {ELSEWHERE}")
    if filesystem_of(cache) in {"overlay", "overlayfs"}:
        raise LocalClusterError(f"{cache} lies on an overlay file system, which cannot carry another: point XDG_CACHE_HOME to a real disk")
    for folder in (cache, *used):
        if any(folder.resolve().is_relative_to(hidden) for hidden in HIDDEN_FOLDERS):
            raise LocalClusterError(f"{folder} lies under {', '.join(HIDDEN_FOLDERS)}, where the box puts its own: it must lie elsewhere")


def filesystem_of(path: Path) -> str:
    """The file system type that a path (or its nearest existing parent) lies on."""
    while not path.exists():
        path = path.parent
    real, best, kind = str(path.resolve()), "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split()[4]
        if (real == mount or real.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def install_packages(progress: Progress) -> None:
    """Install the Debian packages whose programs are missing. Raises LocalClusterError naming them if that fails."""
    missing = missing_packages()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LocalClusterError(f"missing here, and there is no apt-get to install it: {', '.join(missing)} (names of Debian packages)")
    with progress.step(f"packages installed ({' '.join(missing)})"):
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        try:
            run(["apt-get", "update", "-q"], env=env)
            run(install, env=env)
        except LocalClusterError as error:
            raise LocalClusterError(f"could not install {' '.join(missing)}; install them by hand and try again\n{error}") from error
    if still := missing_packages():
        raise LocalClusterError(f"installed, but their programs are not on the PATH: {', '.join(still)}")


def missing_packages() -> list[str]:
    """The Debian packages of which a program is not found."""
    missing = [package for package, programs in PACKAGES.items() if not all(shutil.which(p) for p in programs)]
    if not cni_folder():
        missing.append("containernetworking-plugins")
    # Debian's own Python gets pip from either of two packages.
    if sys.base_prefix == "/usr" and not find_spec("pip") and not find_spec("ensurepip"):
        missing.append("python3-venv")
    return missing


def cni_folder() -> Path | None:
    """Where the CNI plugins are, if they are."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists() and (folder / "host-local").exists()), None)
