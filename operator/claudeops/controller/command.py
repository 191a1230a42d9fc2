"""``claudeops controller``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from claudeops.controller.figure import INTERVAL_S
from claudeops.controller.process import ControllerOptions, run_controller
from claudeops.errors import InvalidResource
from claudeops.fleet import FleetSettings, parse_settings

FIGURES_INTERVAL: Final = "figures_interval_s"
"""Figures of one object are written to its status at most once in this time."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``claudeops controller``."""
    environment = os.environ
    parser.add_argument("--kubeconfig", type=Path, help="reach the cluster by this file, from outside of it")
    parser.add_argument("--namespace", default=environment.get("POD_NAMESPACE", "claudeops-system"), help="the operator's own namespace")
    parser.add_argument("--advertise", default=environment.get("POD_IP", ""), help="address under which pods reach this process")
    parser.add_argument("--exchange-port", type=int, default=8443, help="port of the exchange (default %(default)s)")
    parser.add_argument("--health-port", type=int, default=8080, help="port of /healthz, /readyz and /metrics (default %(default)s)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning"), help="default %(default)s")
    names = ", ".join(sorted((*FleetSettings.__dataclass_fields__, FIGURES_INTERVAL)))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=f"a time constant or threshold: {names}")


def run(args: argparse.Namespace) -> int:
    """Runs until it is stopped. 1 when it had to end by itself: it is to be started again then."""
    start_logging(args.log_level)
    own, fleet = split_settings(args.set)
    if not args.advertise:
        raise InvalidResource("write the address under which pods reach this process, or set POD_IP", path="--advertise")
    options = ControllerOptions(
        namespace=args.namespace,
        advertise=args.advertise,
        kubeconfig=args.kubeconfig,
        exchange_port=args.exchange_port,
        health_port=args.health_port,
        settings=parse_settings(fleet),
        figures_interval_s=own.get(FIGURES_INTERVAL, INTERVAL_S),
    )
    return asyncio.run(run_controller(options))


def split_settings(assignments: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """The controller's own settings, and what is the fleet's.

    Raises :class:`~claudeops.errors.InvalidResource` for a value that is no number above zero.
    """
    own: dict[str, float] = {}
    fleet: list[str] = []
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name.strip().replace("-", "_") != FIGURES_INTERVAL:
            fleet.append(assignment)
            continue
        try:
            own[FIGURES_INTERVAL] = float(text)
        except ValueError:
            own[FIGURES_INTERVAL] = 0.0
        if not 0 < own[FIGURES_INTERVAL] < math.inf:
            raise InvalidResource(f"{FIGURES_INTERVAL} must be a number above zero, not {text!r}", path="--set")
    return own, fleet


def start_logging(level: str) -> None:
    """Lines on stderr; Kopf says only what goes wrong."""
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if level != "debug":
        logging.getLogger("kopf").setLevel(logging.ERROR)
        # Each of its watches says so every five seconds while the API server is away; the lease says it once.
        logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)
