"""TLS towards the upstream: 1.2 and 1.3, certificates verified, sessions resumed."""

from __future__ import annotations

import ssl
from typing import Any

from claudeops.errors import InvalidResource


class ClientContext(ssl.SSLContext):
    """A client's context for one host. A new connection offers the session that was remembered last, which spares both sides the
    certificates; every connection is made by ``wrap_bio``."""

    session: ssl.SSLSession | None = None

    def remember(self, connection: object) -> None:
        """Offer this connection's session (an ``ssl_object`` that has been read from: TLS 1.3 sends tickets late) to later ones."""
        if isinstance(connection, ssl.SSLObject):
            session = connection.session
            if session is not None and session.has_ticket:
                self.session = session

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        if self.session is not None:
            kwargs.setdefault("session", self.session)
        return super().wrap_bio(*args, **kwargs)


def client_context(ca_bundle: str, *protocols: str) -> ClientContext:
    """Verifies against the PEM certificates in ``ca_bundle``, the system's where it is empty; offers ``protocols`` by ALPN.

    Raises InvalidResource for a bundle that is not PEM.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so a write never has to wait for a read
    try:
        if ca_bundle:
            context.load_verify_locations(cadata=ca_bundle)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidResource(f"the CA bundle is not PEM: {error}", path="upstream.caBundle") from error
    context.set_alpn_protocols(list(protocols))
    return context
