"""The authority in its Secret, the serving contexts that follow it, and the webhook's caBundle."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from claudeops.controller.kind import MUTATING_WEBHOOK, SECRET, Object, Ref
from claudeops.controller.kube import Kube
from claudeops.errors import NotFound
from claudeops.fleet.certificates import Authority, Pair, rotate

logger = logging.getLogger(__name__)

CHECK_S: Final = 12 * 3600.0
WEBHOOK_MANAGER: Final = "claudeops-webhook-ca"


def encode_authority(authority: Authority) -> dict[str, str]:
    """The Secret's ``data``: ``ca.crt`` is the bundle to trust, ``<name>.crt`` and ``<name>.key`` the serving pairs."""
    texts = {"ca.crt": authority.bundle, "current-ca.crt": authority.current.certificate, "current-ca.key": authority.current.key}
    if authority.upcoming:
        texts |= {"upcoming-ca.crt": authority.upcoming.certificate, "upcoming-ca.key": authority.upcoming.key}
    if authority.previous_certificate:
        texts["previous-ca.crt"] = authority.previous_certificate
    for name, pair in authority.serving.items():
        texts |= {f"{name}.crt": pair.certificate, f"{name}.key": pair.key}
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def decode_authority(data: Mapping[str, str], names: Mapping[str, tuple[str, ...]]) -> Authority | None:
    """The authority that a Secret's ``data`` holds; None when it holds none yet."""

    def text(name: str) -> str:
        return base64.b64decode(data.get(name, "")).decode(errors="replace")

    if not text("current-ca.crt"):
        return None
    upcoming = Pair(text("upcoming-ca.crt"), text("upcoming-ca.key")) if text("upcoming-ca.crt") else None
    serving = {name: Pair(text(f"{name}.crt"), text(f"{name}.key")) for name in names if text(f"{name}.crt")}
    return Authority(Pair(text("current-ca.crt"), text("current-ca.key")), serving, upcoming, text("previous-ca.crt"))


class CertificateStore:
    """Keeps the Secret as :func:`~.certificates.rotate` wants it. Only the leader may call :meth:`refresh`."""

    def __init__(self, kube: Kube, ref: Ref, names: Mapping[str, tuple[str, ...]]) -> None:
        self._kube = kube
        self._ref = ref
        self._names = names

    async def refresh(self, now: datetime) -> Authority:
        """Reads the Secret, renews what is due, writes it back. A :class:`~claudeops.errors.Conflict` is the caller's to retry."""
        try:
            secret = await self._kube.get(self._ref)
        except NotFound:
            secret = None
        known = decode_authority(secret.get("data") or {}, self._names) if secret else None
        authority = rotate(known, self._names, now)
        if authority == known:
            return authority
        logger.info("certificates renewed in %s", self._ref)
        if secret is None:
            await self._kube.create(SECRET, self._body(authority, {}), namespace=self._ref.namespace)
        else:
            await self._kube.replace(self._ref, self._body(authority, secret["metadata"]))
        return authority

    def _body(self, authority: Authority, metadata: Object) -> Object:
        labels = {**metadata.get("labels", {}), "app.kubernetes.io/managed-by": "claudeops"}
        metadata = {**metadata, "name": self._ref.name, "namespace": self._ref.namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": encode_authority(authority)}


async def publish_bundle(kube: Kube, webhook: str, bundle: str) -> bool:
    """Puts the bundle into every hook of the webhook configuration; False when it is there already, or nobody installed one."""
    ref = Ref(MUTATING_WEBHOOK, "", webhook)
    try:
        configuration = await kube.get(ref)
    except NotFound:
        logger.warning("%s does not exist: pods are not injected until deploy/ is applied", ref)
        return False
    encoded = base64.b64encode(bundle.encode()).decode()
    hooks = configuration.get("webhooks") or []
    if all(hook["clientConfig"].get("caBundle") == encoded for hook in hooks):
        return False
    body = {
        "apiVersion": MUTATING_WEBHOOK.api_version,
        "kind": MUTATING_WEBHOOK.kind,
        "metadata": {"name": webhook},
        "webhooks": [{"name": hook["name"], "clientConfig": {"caBundle": encoded}} for hook in hooks],
    }
    await kube.apply(ref, body, manager=WEBHOOK_MANAGER)
    return True
