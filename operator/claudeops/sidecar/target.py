"""Where the upstream is, from its base URL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import Upstream
from claudeops.wire.pool import Address


@dataclass(frozen=True, slots=True)
class Target:
    """``host`` is the value of the Host header; ``prefix`` is what the base URL has before ``/v1``."""

    address: Address
    host: bytes
    prefix: bytes


def target_of(upstream: Upstream) -> Target:
    """Raises InvalidResource where the URL or the CA bundle cannot be used."""
    url = urlsplit(upstream.base_url)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        raise InvalidResource(f"{upstream.base_url} has no valid port", path="upstream.baseUrl") from error
    if not url.hostname:
        raise InvalidResource(f"{upstream.base_url} names no host", path="upstream.baseUrl")
    tls = _tls(upstream) if url.scheme == "https" else None
    return Target(Address(url.hostname, port, tls), url.netloc.rpartition("@")[2].encode(), url.path.rstrip("/").encode())


def _tls(upstream: Upstream) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=upstream.ca_bundle or None)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidResource(f"the CA bundle is not PEM: {error}", path="upstream.caBundle") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
