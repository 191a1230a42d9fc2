"""The mutating webhook: an AdmissionReview in, one out. What becomes of a pod is the decision of :mod:`claudeops.translate.injection`."""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from claudeops.api import ClaudeWorkload, parse_workload
from claudeops.controller.kind import Object
from claudeops.errors import ClusterError, InvalidResource
from claudeops.fleet.certificates import Pair
from claudeops.fleet.serving import ServingContext
from claudeops.translate.injection import Denied, Patched, Unchanged, inject_pod
from claudeops.translate.naming import WORKLOAD_LABEL
from claudeops.translate.proxy_container import InjectionSettings

logger = logging.getLogger(__name__)

PATH: Final = "/mutate"
MAX_REVIEW_BYTES: Final = 8 * 1024 * 1024
FindWorkload = Callable[[str, str], Awaitable[Object | None]]


class Injector:
    """Answers reviews. ``find`` looks a workload up and may raise :class:`~claudeops.errors.ClusterError`."""

    def __init__(self, find: FindWorkload, settings: InjectionSettings) -> None:
        self._find = find
        self._settings = settings
        self.registry = CollectorRegistry()
        self._answers = Counter("claudeops_injector_reviews", "Reviews answered, by outcome", ("outcome",), registry=self.registry)

    async def answer(self, review: Any) -> Object:
        """The answer to a parsed AdmissionReview. Raises ``KeyError`` or ``TypeError`` for what is none."""
        request = review["request"]
        result = await self._decide(request["object"], request.get("namespace", ""))
        self._answers.labels(type(result).__name__.lower()).inc()
        response: Object = {"uid": request["uid"], "allowed": not isinstance(result, Denied)}
        if isinstance(result, Denied):
            response["status"] = {"code": 403, "reason": "Forbidden", "message": result.message}
        elif isinstance(result, Patched):
            patch = json.dumps(list(result.json_patch)).encode()
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    async def _decide(self, pod: Object, namespace: str) -> Patched | Unchanged | Denied:
        name = ((pod.get("metadata") or {}).get("labels") or {}).get(WORKLOAD_LABEL, "")
        try:
            item = await self._find(namespace, name) if name else None
            workload: ClaudeWorkload | None = parse_workload(item) if item else None
        except ClusterError as error:
            return Denied(f"ClaudeWorkload {namespace}/{name} could not be looked up, which is tried again with the next pod: {error}")
        except InvalidResource as error:
            return Denied(f"ClaudeWorkload {namespace}/{name} is not valid: {error}")
        return inject_pod(pod, namespace=namespace, workload=workload, settings=self._settings)

    async def handle(self, request: web.Request) -> web.Response:
        """The HTTP side."""
        try:
            return web.json_response(await self.answer(await request.json()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("not an AdmissionReview: %r", error)
            return web.json_response({"message": f"not an AdmissionReview: {error!r}"}, status=400)


async def serve(injector: Injector, context: ssl.SSLContext, host: str, port: int) -> web.AppRunner:
    """Listens for reviews; the caller ends it with ``cleanup``."""
    app = web.Application(client_max_size=MAX_REVIEW_BYTES)
    app.add_routes([web.post(PATH, injector.handle)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    return runner


def load_pair(context: ServingContext, folder: Path) -> bool:
    """Takes ``webhook.crt`` and ``webhook.key`` from a mounted Secret; False while they are absent, unusable or in use already."""
    try:
        return context.load(Pair((folder / "webhook.crt").read_text(), (folder / "webhook.key").read_text()))
    except (OSError, ValueError) as error:
        logger.warning("no usable certificate in %s yet: %s", folder, error)
        return False
