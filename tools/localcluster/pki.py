"""Keys and certificates of a cluster, by openssl; kept between starts and renewed long before they end."""

import base64
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from .cache import digest
from .command import run
from .layout import NODE, NODE_IP, SERVICE_IP

VALID_DAYS = 365
RENEW_AFTER_S = 180 * 24 * 3600


@dataclass(frozen=True)
class Certificate:
    """One leaf: who it is for, what for, and its names if it serves."""

    name: str
    subject: str
    usage: str = "clientAuth"
    san: str = ""


API_NAMES = "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
CERTIFICATES = (
    Certificate("apiserver", "/CN=kube-apiserver", "serverAuth", f"IP:127.0.0.1,IP:{NODE_IP},IP:{SERVICE_IP},{API_NAMES}"),
    Certificate("kubelet-server", f"/CN={NODE}", "serverAuth", f"IP:127.0.0.1,IP:{NODE_IP},DNS:{NODE}"),
    Certificate("kubelet-client", "/O=system:masters/CN=apiserver-kubelet"),
    Certificate("admin", "/O=system:masters/CN=admin"),
    Certificate("controller-manager", "/CN=system:kube-controller-manager"),
    Certificate("scheduler", "/CN=system:kube-scheduler"),
    Certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}"),
    Certificate("proxy", "/CN=system:kube-proxy"),
)


def ensure_pki(folder: Path) -> None:
    """Make the folder's keys and certificates, or keep those that are there if they are right and young enough."""
    wanted = digest(repr(CERTIFICATES), str(VALID_DAYS))
    mark = folder / "complete"
    if mark.exists() and mark.read_text() == wanted and time.time() - mark.stat().st_mtime < RENEW_AFTER_S:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    _new_key(folder / "ca.key")
    subject = ["-subj", "/CN=claudeops-local-ca", "-days", str(VALID_DAYS)]
    run(["openssl", "req", "-x509", "-new", "-key", "ca.key", *subject, "-out", "ca.crt"], cwd=folder)
    for certificate in CERTIFICATES:
        _sign(folder, certificate)
    run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=folder)
    run(["openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"], cwd=folder)
    mark.write_text(wanted)


def write_kubeconfig(path: Path, pki: Path, *, user: str, server: str, name: str) -> None:
    """Write a kubeconfig (JSON, which is YAML) that holds its certificates; only the owner may read it."""

    def read(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": read("ca.crt")}}],
        "users": [{"name": name, "user": {"client-certificate-data": read(f"{user}.crt"), "client-key-data": read(f"{user}.key")}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(document, indent=1))
    draft.rename(path)


def _new_key(path: Path) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])


def _sign(folder: Path, certificate: Certificate) -> None:
    name = certificate.name
    _new_key(folder / f"{name}.key")
    extensions = f"keyUsage=digitalSignature\nextendedKeyUsage={certificate.usage}\n"
    if certificate.san:
        extensions += f"subjectAltName={certificate.san}\n"
    (folder / f"{name}.ext").write_text(extensions)
    run(["openssl", "req", "-new", "-key", f"{name}.key", "-subj", certificate.subject, "-out", f"{name}.csr"], cwd=folder)
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(VALID_DAYS)]
    run(["openssl", "x509", "-req", "-in", f"{name}.csr", *authority, "-extfile", f"{name}.ext", "-out", f"{name}.crt"], cwd=folder)
