"""Up and down: what depends on what, and what runs side by side."""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.images.oci import Image
from tools.images.recipe import Recipe

from .api import Api, wait_until
from .box import REPOSITORY, enter, find_init, remove_box, start_box
from .cache import locked
from .cgroup import detect_cgroups
from .command import run
from .errors import LocalClusterError
from .forward import api_forwarder, listen
from .imageload import ctr, load_images
from .imagestore import build_store, copy_store
from .initspec import bound_source, build_spec
from .kubectl import find_kubectl
from .layout import API_PORT, Layout
from .pki import ensure_pki, write_kubeconfig
from .preflight import check_machine, cni_folder, install_packages
from .progress import Progress
from .servers import build_servers
from .settings import DNS_READY_ADDRESS, write_settings

CONTAINERD_TIMEOUT_S = 30.0
API_TIMEOUT_S = 90.0
NODE_TIMEOUT_S = 90.0
HEALTHY_TIMEOUT_S = 20.0
WORKERS = 16
DNS_PROBE = ("busybox", "wget", "-q", "-O", "/dev/null", f"http://{DNS_READY_ADDRESS}/ready")
INSIDE_USERS = ("admin", "controller-manager", "scheduler", "kubelet", "proxy")


@dataclass(frozen=True)
class Parts:
    """What is made outside of the box before or while it starts."""

    servers: "Future[Path]"
    store: "Future[Path]"
    images: "Future[list[Image]]"
    kubectl: "Future[Path]"
    pki: "Future[None]"


def up(layout: Layout, progress: Progress) -> None:
    """Bring the cluster up, or its images up to date where it is up already. Raises LocalClusterError."""
    check_machine(layout.root, REPOSITORY, Path(sys.base_prefix))
    detect_cgroups()
    install_packages(progress)
    with locked(layout.lock), ThreadPoolExecutor(WORKERS) as pool:
        recipe = Recipe(pool, progress)
        parts = Parts(
            servers=pool.submit(build_servers, progress),
            store=pool.submit(lambda: build_store(recipe.stable(), progress)),
            images=pool.submit(recipe.ours),
            kubectl=pool.submit(find_kubectl, progress),
            pki=pool.submit(ensure_pki, layout.pki),
        )
        parts.pki.result()
        if is_up(layout):
            progress.say("the cluster is up already")
            load_images(layout, [*recipe.stable(), *recipe.ours()], progress)
        else:
            _start(layout, parts, progress)
        parts.kubectl.result()


def down(layout: Layout) -> bool:
    """End the cluster and remove what it left; whether there was anything."""
    with locked(layout.lock):
        return remove_box(layout)


def api_of(layout: Layout) -> Api:
    """The API server of a cluster that is up. Raises LocalClusterError if it is not."""
    if find_init(layout) is None or not layout.state.exists():
        raise LocalClusterError(f"the cluster {layout.name} is not up: python -m tools.localcluster up")
    return Api(layout, json.loads(layout.state.read_text())["port"])


def is_up(layout: Layout) -> bool:
    """The box is there and its node answers; an API server that is just restarting gets some time."""
    try:
        api = api_of(layout)
        wait_until(lambda: api.is_node_ready() and api.accepts_pods(), timeout_s=HEALTHY_TIMEOUT_S, what="the node")
    except LocalClusterError:
        return False
    return layout.kubeconfig.exists()


def _start(layout: Layout, parts: Parts, progress: Progress) -> None:
    if remove_box(layout):
        progress.say("removed what an earlier run left")
    servers, store = parts.servers.result(), parts.store.result()
    with progress.step("control groups and configuration"):
        port = _prepare(layout, servers, store)
    images = parts.images
    api = Api(layout, port)
    with progress.step("containerd up"):
        probe = [*ctr(), "version"]
        wait_until(lambda: _succeeds_inside(layout, probe), timeout_s=CONTAINERD_TIMEOUT_S, what=f"containerd (see {layout.logs})")
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(lambda: load_images(layout, images.result(), progress))
        with progress.step("API server ready"):
            wait_until(api.is_ready, timeout_s=API_TIMEOUT_S, what=f"the API server (see {layout.logs})")
        with progress.step("node Ready"):
            wait_until(api.is_node_ready, timeout_s=NODE_TIMEOUT_S, what=f"the node (see {layout.logs})")
        with progress.step("pods accepted"):
            wait_until(api.accepts_pods, timeout_s=NODE_TIMEOUT_S, what=f"the default ServiceAccount (see {layout.logs})")
        with progress.step("DNS ready"):
            wait_until(lambda: _succeeds_inside(layout, DNS_PROBE), timeout_s=NODE_TIMEOUT_S, what=f"CoreDNS (see {layout.logs})")
        loading.result()


def _prepare(layout: Layout, servers: Path, store: Path) -> int:
    """Write all that the box reads, start it, and give the port of its API server on the loopback."""
    cni_bin, containerd = cni_folder(), shutil.which("containerd")
    if cni_bin is None or containerd is None:
        raise LocalClusterError("containerd or the CNI plugins are gone since the check of the packages")
    for folder in (layout.logs, layout.control):
        folder.mkdir(parents=True)
    layout.box.chmod(0o700)
    copy_store(store, root=bound_source(layout.box, "/var/lib") / "containerd", record=layout.image_record)
    write_settings(layout, containerd_major=_containerd_major(), cni_bin=cni_bin)
    for user in INSIDE_USERS:
        write_kubeconfig(layout.box / f"{user}.kubeconfig", layout.pki, user=user, server=f"https://127.0.0.1:{API_PORT}", name="inside")
    detect_cgroups().create(layout.cgroup)
    port_memory = layout.pki / "port"
    with listen(int(port_memory.read_text()) if port_memory.exists() else 0) as listener:
        port = int(listener.getsockname()[1])
        port_memory.write_text(str(port))
        layout.state.write_text(json.dumps({"port": port}))
        build_spec(layout, programs=servers, containerd=containerd, forwarder=api_forwarder(listener)).write(layout.init_spec)
        start_box(layout, listener=listener)
    write_kubeconfig(layout.kubeconfig, layout.pki, user="admin", server=f"https://127.0.0.1:{port}", name=f"claudeops-{layout.name}")
    return port


def _containerd_major() -> int:
    said = run(["containerd", "--version"])
    found = re.search(r" v?(\d+)\.\d+", said)
    if not found:
        raise LocalClusterError(f"containerd names a version we cannot read: {said.strip()}")
    return int(found[1])


def _succeeds_inside(layout: Layout, argv: Sequence[str]) -> bool:
    try:
        run(enter(layout, argv))
    except LocalClusterError:
        return False
    return True
