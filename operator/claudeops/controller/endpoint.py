"""The leader's address behind the exchange's Service, which has no selector: nobody else's pod is ever behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from claudeops.controller.kind import ENDPOINT_SLICE, Object, Ref
from claudeops.exchange import PATH

PORT_NAME: Final = "exchange"


@dataclass(frozen=True)
class ExchangeService:
    """The Service of the exchange, and where the leader is."""

    namespace: str
    name: str = "claudeops-exchange"
    port: int = 8443

    @property
    def server_name(self) -> str:
        """What the certificate names."""
        return f"{self.name}.{self.namespace}.svc"

    @property
    def names(self) -> tuple[str, ...]:
        """All DNS names of the Service."""
        return (self.server_name, f"{self.server_name}.cluster.local", f"{self.name}.{self.namespace}", self.name)

    @property
    def url(self) -> str:
        """What proxies are told."""
        return f"https://{self.server_name}:{self.port}{PATH}"

    @property
    def ref(self) -> Ref:
        """The EndpointSlice."""
        return Ref(ENDPOINT_SLICE, self.namespace, f"{self.name}-leader")

    def slice(self, address: str, port: int) -> Object:
        """The EndpointSlice that leads to the leader at ``address``."""
        return {
            "apiVersion": ENDPOINT_SLICE.api_version,
            "kind": ENDPOINT_SLICE.kind,
            "metadata": {
                "name": self.ref.name,
                "namespace": self.namespace,
                "labels": {
                    "kubernetes.io/service-name": self.name,
                    "endpointslice.kubernetes.io/managed-by": "claudeops.dev",
                    "app.kubernetes.io/managed-by": "claudeops",
                },
            },
            "addressType": "IPv6" if ":" in address else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
        }
