"""``claudeops controller``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from claudeops.controller.process import ControllerOptions, run_controller
from claudeops.fleet import FleetSettings, parse_settings

HELP = "reconcile ClaudeWorkloads and share quotas out to their proxies"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``claudeops controller``."""
    environment = os.environ
    parser.add_argument("--kubeconfig", type=Path, help="reach the cluster by this file, from outside of it")
    parser.add_argument("--namespace", default=environment.get("POD_NAMESPACE", "claudeops-system"), help="the operator's own namespace")
    parser.add_argument("--advertise", default=environment.get("POD_IP", ""), help="address under which pods reach this process")
    parser.add_argument("--exchange-port", type=int, default=8443, help="port of the exchange (default %(default)s)")
    parser.add_argument("--health-port", type=int, default=8080, help="port of /healthz, /readyz and /metrics (default %(default)s)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning"), help="default %(default)s")
    names = ", ".join(sorted(FleetSettings.__dataclass_fields__))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=f"a time constant or threshold: {names}")


def run(args: argparse.Namespace) -> int:
    """Runs until it is stopped. 1 when it had to end by itself: it is to be started again then."""
    start_logging(args.log_level)
    options = ControllerOptions(
        namespace=args.namespace,
        advertise=args.advertise,
        kubeconfig=args.kubeconfig,
        exchange_port=args.exchange_port,
        health_port=args.health_port,
        settings=parse_settings(args.set),
    )
    return asyncio.run(run_controller(options))


def start_logging(level: str) -> None:
    """Lines on stderr; Kopf says only what goes wrong."""
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf").setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
