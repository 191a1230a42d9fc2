"""What the box's first process is told: the contract between `up` (outside) and `init` (inside), a JSON file."""

import dataclasses
import json
from pathlib import Path

from .layout import API_PORT, NODE, NODE_IP, POD_CIDR, SERVICE_CIDR, Layout
from .settings import CONTAINERD_CONFIG, COREFILE, ETCD_URL, KUBELET_CONFIG, PROXY_CONFIG

BOUND_FOLDERS = ("/var/log", "/var/lib", "/run")
# The kubelet sets these for the whole machine where they differ: inside, it sees what it wants.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def bound_source(box: Path, folder: str) -> Path:
    """The folder of the box that lies over the machine's `folder` inside."""
    return box / "fs" / folder.strip("/").replace("/", "-")


@dataclasses.dataclass(frozen=True)
class Server:
    """One supervised program; `needs_api` ones start when the API server has answered /readyz once."""

    name: str
    argv: tuple[str, ...]
    needs_api: bool = False
    inherited_fds: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class InitSpec:
    """Everything that `init` does, decided outside."""

    box: str
    pki: str
    api_url: str
    servers: tuple[Server, ...]
    network: tuple[tuple[str, ...], ...]

    def write(self, path: Path) -> None:
        """Store as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1))


def read_spec(path: Path) -> InitSpec:
    """The contrary of `write`."""
    document = json.loads(path.read_text())
    servers = tuple(Server(s["name"], tuple(s["argv"]), s["needs_api"], tuple(s["inherited_fds"])) for s in document.pop("servers"))
    network = tuple(tuple(words) for words in document.pop("network"))
    return InitSpec(servers=servers, network=network, **document)


def build_spec(layout: Layout, *, programs: Path, containerd: str, forwarder: Server) -> InitSpec:
    """The servers of a control plane and a node; `forwarder` serves the API port on the host's loopback."""
    box, pki = layout.box, layout.pki
    servers = (
        forwarder,
        Server("etcd", _etcd(layout, programs)),
        Server("containerd", (containerd, "-c", f"{box}/{CONTAINERD_CONFIG}")),
        Server("kube-apiserver", _apiserver(layout, programs)),
        Server("kube-controller-manager", _controller_manager(layout, programs), needs_api=True),
        Server("kube-scheduler", (f"{programs}/kube-scheduler", f"--kubeconfig={box}/scheduler.kubeconfig", *_SINGLE), needs_api=True),
        Server("kubelet", _kubelet(layout, programs), needs_api=True),
        Server("kube-proxy", (f"{programs}/kube-proxy", f"--config={box}/{PROXY_CONFIG}", f"--hostname-override={NODE}"), needs_api=True),
        Server("coredns", (f"{programs}/coredns", "-conf", f"{box}/{COREFILE}"), needs_api=True),
    )
    return InitSpec(box=str(box), pki=str(pki), api_url=f"https://127.0.0.1:{API_PORT}", servers=servers, network=_network())


_SINGLE = ("--leader-elect=false", "--bind-address=127.0.0.1")


def _network() -> tuple[tuple[str, ...], ...]:
    """Loopback and one bridge, no default route: no packet can leave the box."""
    prefix = POD_CIDR.rsplit("/", 1)[1]
    return (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "link", "add", "cni0", "type", "bridge"),
        ("ip", "addr", "add", f"{NODE_IP}/{prefix}", "dev", "cni0"),
        ("ip", "link", "set", "cni0", "up"),
        ("ip", "route", "add", SERVICE_CIDR, "dev", "cni0", "src", NODE_IP),
    )


def _etcd(layout: Layout, programs: Path) -> tuple[str, ...]:
    urls = (f"--listen-client-urls={ETCD_URL}", f"--advertise-client-urls={ETCD_URL}", "--listen-peer-urls=http://127.0.0.1:2380")
    return (f"{programs}/etcd", f"--data-dir={layout.box}/etcd", *urls, "--unsafe-no-fsync")


def _apiserver(layout: Layout, programs: Path) -> tuple[str, ...]:
    pki = layout.pki
    return (
        f"{programs}/kube-apiserver",
        f"--etcd-servers={ETCD_URL}",
        f"--secure-port={API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_IP}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    )


def _controller_manager(layout: Layout, programs: Path) -> tuple[str, ...]:
    pki = layout.pki
    return (
        f"{programs}/kube-controller-manager",
        f"--kubeconfig={layout.box}/controller-manager.kubeconfig",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        *_SINGLE,
    )


def _kubelet(layout: Layout, programs: Path) -> tuple[str, ...]:
    box = layout.box
    return (
        f"{programs}/kubelet",
        f"--config={box}/{KUBELET_CONFIG}",
        f"--kubeconfig={box}/kubelet.kubeconfig",
        "--root-dir=/var/lib/kubelet",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
    )
