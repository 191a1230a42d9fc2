"""The fleet of proxies: exchange server, soft state, decisions in time. Knows nothing of Kubernetes."""

from claudeops.fleet.fleet import Fleet
from claudeops.fleet.identity import Authenticate, Denied, Identity
from claudeops.fleet.server import ExchangeHooks, ExchangeServer
from claudeops.fleet.settings import FleetSettings, parse_settings

__all__ = ["Authenticate", "Denied", "ExchangeHooks", "ExchangeServer", "Fleet", "FleetSettings", "Identity", "parse_settings"]
