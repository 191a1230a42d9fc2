"""Where the upstream is, from its base URL."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import urlsplit

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import ProxyConfig
from claudeops.sidecar.tokenformat import API_BETA
from claudeops.wire.dial import Address, Dialer
from claudeops.wire.pool import Pool
from claudeops.wire.tls import client_context


class Target(NamedTuple):
    """``host`` is the value of the Host header; ``prefix`` is what the base URL has before ``/v1``; ``beta`` is a flag that every request
    must carry in ``anthropic-beta``, empty for none. ``shared``: the same address for HTTP/2, where Messages requests go that way."""

    address: Address
    shared: Address | None
    host: bytes
    prefix: bytes
    beta: bytes = b""

    @property
    def beta_line(self) -> bytes:
        """The same as a header line of its own, for requests of ours."""
        return b"anthropic-beta: %b\r\n" % self.beta if self.beta else b""


def is_same_target(one: ProxyConfig, other: ProxyConfig) -> bool:
    """Do both lead to the same :func:`target_of`?"""
    protocols = one.connections.protocol, other.connections.protocol
    return one.upstream == other.upstream and one.federation == other.federation and protocols[0] == protocols[1]


def target_of(config: ProxyConfig) -> Target:
    """Raises InvalidResource where the URL, the CA bundle or the protocol cannot be used."""
    upstream = config.upstream
    url = urlsplit(upstream.base_url)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        raise InvalidResource(f"{upstream.base_url} has no valid port", path="upstream.baseUrl") from error
    if not url.hostname:
        raise InvalidResource(f"{upstream.base_url} names no host", path="upstream.baseUrl")
    proxy = _proxy(upstream.proxy_url)

    def address(alpn: str) -> Address:
        return Address(url.hostname or "", port, client_context(upstream.ca_bundle, alpn) if url.scheme == "https" else None, proxy)

    shared = address("h2") if _wants_http2(config) else None
    host, prefix = url.netloc.rpartition("@")[2].encode(), url.path.rstrip("/").encode()
    return Target(address("http/1.1"), shared, host, prefix, b"" if config.federation is None else API_BETA)


def open_pool(target: Target, dialer: Dialer, *, limit: int, connect_timeout_s: float) -> Pool:
    """The pool for Messages requests, by the protocol that the configuration names."""
    if target.shared is None:
        return Pool(dialer, target.address, limit=limit, connect_timeout_s=connect_timeout_s)
    from claudeops.wire.http2_pool import Http2Pool  # optional: h2 costs memory and time to import

    return Http2Pool(dialer, target.shared, limit=limit, connect_timeout_s=connect_timeout_s)


def _wants_http2(config: ProxyConfig) -> bool:
    """Auto is HTTP/1.1: docs/decisions/http2.md."""
    if config.connections.protocol != "HTTP2":
        return False
    if find_spec("h2") is None:
        raise InvalidResource(
            "HTTP2 needs the package h2 beside the proxy: install claudeops[http2], or write HTTP1", path="connections.protocol"
        )
    return True


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
