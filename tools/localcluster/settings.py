"""The configuration files of the servers, as text. JSON is YAML, so most are plain data."""

import json
from pathlib import Path

from .layout import CONTAINERD_SOCKET, FIRST_POD_IP, NODE_IP, PAUSE_IMAGE, POD_CIDR, Layout

ETCD_URL = "http://127.0.0.1:2379"
DNS_DOMAIN = "cluster.local"
DNS_READY_ADDRESS = "127.0.0.1:8181"
CNI_CONF = "cni"
KUBELET_CONFIG, PROXY_CONFIG, CONTAINERD_CONFIG, COREFILE = "kubelet.json", "proxy.json", "containerd.toml", "Corefile"


def write_settings(layout: Layout, *, containerd_major: int, cni_bin: Path) -> None:
    """Write every configuration file of the box."""
    cni = layout.box / CNI_CONF
    cni.mkdir(parents=True)
    (cni / "10-box.conflist").write_text(cni_config())
    (layout.box / CONTAINERD_CONFIG).write_text(containerd_config(containerd_major, cni_bin=cni_bin, cni_conf=cni))
    (layout.box / KUBELET_CONFIG).write_text(kubelet_config(layout))
    (layout.box / PROXY_CONFIG).write_text(proxy_config(layout))
    (layout.box / COREFILE).write_text(corefile(layout.box / "admin.kubeconfig"))


def cni_config() -> str:
    """Pods on one bridge, with no masquerading: there is nowhere to go from here."""
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": POD_CIDR, "rangeStart": FIRST_POD_IP}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "box", "plugins": [bridge, ports]}, indent=1)


def containerd_config(major: int, *, cni_bin: Path, cni_conf: Path) -> str:
    """containerd 1.x and 2.x name their plugins differently."""
    head = 'root = "/var/lib/containerd"\nstate = "/run/containerd"\n'
    head += '[plugins."io.containerd.internal.v1.opt"]\n  path = "/var/lib/containerd/opt"\n'
    # restrict_oom_score_adj: root may lack CAP_SYS_RESOURCE, and then every sandbox would fail.
    if major < 2:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""version = 2
{head}[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
[{cri}.containerd]
  snapshotter = "overlayfs"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.cni]
  bin_dir = "{cni_bin}"
  conf_dir = "{cni_conf}"
"""
    images, runtime = 'plugins."io.containerd.cri.v1.images"', 'plugins."io.containerd.cri.v1.runtime"'
    return f"""version = 3
{head}[{images}]
  snapshotter = "overlayfs"
[{images}.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[{runtime}]
  restrict_oom_score_adj = true
[{runtime}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{runtime}.cni]
  bin_dirs = ["{cni_bin}"]
  conf_dir = "{cni_conf}"
"""


def kubelet_config(layout: Layout) -> str:
    """Quick to see changes (1 s), never evicting or collecting images on a developer's machine."""
    pki = layout.pki
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
        "address": "0.0.0.0",
        "resolvConf": "",
        "clusterDNS": [NODE_IP],
        "clusterDomain": DNS_DOMAIN,
        "syncFrequency": "1s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "nodeStatusUpdateFrequency": "5s",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "enforceNodeAllocatable": ["pods"],
        "seccompDefault": True,
        "serializeImagePulls": False,
        "maxPods": 200,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "registryPullQPS": 0,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    }
    return json.dumps(document, indent=1)


def proxy_config(layout: Layout) -> str:
    """nftables; conntrack limits left alone, since they belong to the whole machine."""
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(layout.box / "proxy.kubeconfig")},
        "clusterCIDR": POD_CIDR,
        "nftables": {"minSyncPeriod": "100ms"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(document, indent=1)


def corefile(kubeconfig: Path) -> str:
    """Service names only: there is no other name server to ask."""
    return f""".:53 {{
  errors
  ready {DNS_READY_ADDRESS}
  kubernetes {DNS_DOMAIN} {{
    kubeconfig {kubeconfig}
    ttl 1
  }}
}}
"""
