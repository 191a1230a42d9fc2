"""Where the upstream is, from its base URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import Upstream
from claudeops.sidecar.tokenformat import API_BETA
from claudeops.wire.dial import Address
from claudeops.wire.tls import client_context


@dataclass(frozen=True, slots=True)
class Target:
    """``host`` is the value of the Host header; ``prefix`` is what the base URL has before ``/v1``; ``beta`` is a flag that every request
    must carry in ``anthropic-beta``, empty for none."""

    address: Address
    host: bytes
    prefix: bytes
    beta: bytes = b""

    @property
    def beta_line(self) -> bytes:
        """The same as a header line of its own, for requests of ours."""
        return b"anthropic-beta: %b\r\n" % self.beta if self.beta else b""


def target_of(upstream: Upstream, *, is_federated: bool = False) -> Target:
    """Raises InvalidResource where the URL or the CA bundle cannot be used."""
    url = urlsplit(upstream.base_url)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        raise InvalidResource(f"{upstream.base_url} has no valid port", path="upstream.baseUrl") from error
    if not url.hostname:
        raise InvalidResource(f"{upstream.base_url} names no host", path="upstream.baseUrl")
    tls = client_context(upstream.ca_bundle, "http/1.1") if url.scheme == "https" else None
    address = Address(url.hostname, port, tls, _proxy(upstream.proxy_url))
    host, prefix = url.netloc.rpartition("@")[2].encode(), url.path.rstrip("/").encode()
    return Target(address, host, prefix, API_BETA if is_federated else b"")


def _proxy(proxy_url: str) -> tuple[str, int] | None:
    if not proxy_url:
        return None
    url = urlsplit(proxy_url)
    try:
        port = url.port or 80
    except ValueError as error:
        raise InvalidResource(f"{proxy_url} has no valid port", path="upstream.proxyUrl") from error
    if not url.hostname:
        raise InvalidResource(f"{proxy_url} names no host", path="upstream.proxyUrl")
    return url.hostname, port
