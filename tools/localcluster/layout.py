"""Where one cluster keeps its things, and the addresses inside its box."""

import re
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_root, digest
from .errors import LocalClusterError

DEFAULT_NAME = "default"
NODE = "node1"
NODE_IP = "10.244.0.1"
POD_CIDR = "10.244.0.0/24"
FIRST_POD_IP = "10.244.0.10"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"
API_PORT = 6443
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "claudeops-pause:dev"


@dataclass(frozen=True)
class Layout:
    """The folders and files of the cluster `name`. `box` is emptied at each start; the rest is kept."""

    name: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", self.name):
            raise LocalClusterError(f"a cluster's name is short, of lower-case letters, digits and dashes: {self.name!r} is not")

    @property
    def root(self) -> Path:
        """The folder of all local clusters."""
        return cache_root() / "localcluster"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; it exists while the cluster is up."""
        return self.root / ("kubeconfig" if self.name == DEFAULT_NAME else f"kubeconfig-{self.name}")

    @property
    def lock(self) -> Path:
        """Held by whoever changes the cluster."""
        return self.root / f".{self.name}.lock"

    @property
    def box(self) -> Path:
        """All that ends with the cluster."""
        return self.root / f"{self.name}.box"

    @property
    def pki(self) -> Path:
        """Keys and certificates, kept from one start to the next."""
        return self.root / f"{self.name}.pki"

    @property
    def state(self) -> Path:
        """What `up` wrote down for later calls."""
        return self.box / "state.json"

    @property
    def logs(self) -> Path:
        """One log file per server."""
        return self.box / "log"

    @property
    def control(self) -> Path:
        """`NAME.pid` of each running server, and `NAME.stopped` of those that shall not run."""
        return self.box / "control"

    @property
    def image_record(self) -> Path:
        """The images that the box's containerd has, with their digests."""
        return self.box / "images.json"

    @property
    def init_spec(self) -> Path:
        """What the box's first process does."""
        return self.box / "init.json"

    @property
    def cgroup(self) -> str:
        """The name of the box's control groups, unlike that of a cluster of the same name in another cache folder."""
        return f"claudeops-{self.name}-{digest(str(self.box))[:6]}"
