"""``claudeops injector``: a process of its own, so that pods start while the controller is away or busy."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path
from typing import Final

from claudeops.controller.command import start_logging
from claudeops.controller.health import HealthServer, LoopLag
from claudeops.controller.injector import Injector, load_pair, serve
from claudeops.controller.kube import connect
from claudeops.controller.mirror import WorkloadMirror
from claudeops.fleet.serving import ServingContext
from claudeops.translate.proxy_container import InjectionSettings

CERTIFICATE_CHECK_S: Final = 5.0

logger = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``claudeops injector``."""
    parser.add_argument("--kubeconfig", type=Path, help="reach the cluster by this file, from outside of it")
    parser.add_argument("--image", default="claudeops-sidecar:dev", help="image of the proxy (default %(default)s)")
    parser.add_argument("--image-pull-policy", default="IfNotPresent", choices=("Always", "IfNotPresent", "Never"))
    parser.add_argument(
        "--certificates", type=Path, default=Path("/etc/claudeops/certificates"), help="folder with webhook.crt and webhook.key"
    )
    parser.add_argument("--port", type=int, default=8443, help="port of the webhook (default %(default)s)")
    parser.add_argument("--health-port", type=int, default=8080, help="port of /healthz, /readyz and /metrics (default %(default)s)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning"), help="default %(default)s")


def run(args: argparse.Namespace) -> int:
    """Runs until it is stopped."""
    start_logging(args.log_level)
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    kube = await connect(args.kubeconfig)
    mirror, tls, lag = WorkloadMirror(kube), ServingContext(), LoopLag()
    injector = Injector(mirror.find, InjectionSettings(image=args.image, image_pull_policy=args.image_pull_policy))
    health = HealthServer(
        injector.registry, is_ready=lambda: tls.is_loaded and mirror.is_filled, facts=lambda: {"certificate": tls.is_loaded}, lag=lag
    )
    await health.start("0.0.0.0", args.health_port)
    load_pair(tls, args.certificates)
    runner = await serve(injector, tls.context, "0.0.0.0", args.port)
    tasks = [asyncio.create_task(part) for part in (mirror.run(), lag.run(), _follow_certificate(tls, args.certificates), _until(stop))]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    failed = [error for task in done if (error := task.exception()) is not None]
    for error in failed:
        logger.error("ending", exc_info=error)
    await runner.cleanup()
    await health.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await kube.close()
    return 1 if failed else 0


async def _follow_certificate(tls: ServingContext, folder: Path) -> None:
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK_S)
        if load_pair(tls, folder):
            logger.info("serving a new certificate")


async def _until(event: asyncio.Event) -> None:
    await event.wait()
