"""A thin asynchronous adapter over the official client: dictionaries in and out, server-side apply, one map of foreign errors.

Every error that leaves here is a :class:`~claudeops.errors.ClusterError`; see :func:`map_error`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException

from claudeops.controller.kind import Kind, Object, Ref
from claudeops.errors import ClusterError, Conflict, Forbidden, NotFound, Unreachable

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
REQUEST_TIMEOUT_S: Final = 15.0
PAGE_SIZE: Final = 500
FOREIGN_ERRORS: Final = (ApiException, aiohttp.ClientError, TimeoutError, OSError, ConfigException, json.JSONDecodeError)
"""All that the client and its transport raise; :func:`map_error` is total on it."""

_BY_STATUS: Final[Mapping[int, type[ClusterError]]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    408: Unreachable,
    429: Unreachable,
}


def map_error(error: BaseException, *, what: str) -> ClusterError:
    """Our error for one of :data:`FOREIGN_ERRORS`; ``what`` says what was attempted, for the message."""
    if isinstance(error, ApiException):
        status = int(error.status or 0)
        if status == 0 or status >= 500:
            return Unreachable(f"{what}: the API server answered {status} {error.reason or ''}".rstrip())
        return _BY_STATUS.get(status, ClusterError)(f"{what}: {_status_message(error)}")
    if isinstance(error, ConfigException):
        return ClusterError(f"{what}: {error}")
    return Unreachable(f"{what}: the API server does not answer ({type(error).__name__}: {error})")


def _status_message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


async def connect(kubeconfig: Path | None = None) -> Kube:
    """The API server of the pod this process runs in, or of a kubeconfig file.

    Raises :class:`~claudeops.errors.ClusterError` when neither is usable.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=configuration, persist_config=False
            )
    except FOREIGN_ERRORS as error:
        raise map_error(error, what="reading the cluster's address and credentials") from error
    configuration.retries = None
    return Kube(client.ApiClient(configuration))


class Kube:
    """The Kubernetes API. All methods raise :class:`~claudeops.errors.ClusterError` and nothing else."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @property
    def configuration(self) -> Any:
        """The client's configuration: Kopf logs in with the same."""
        return self._api.configuration

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Object | None = None, content_type: str = ""
    ) -> Object:
        """One call; the decoded answer."""
        what = f"{method} {path}"
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                response = await self._send(method, path, query=query, body=body, content_type=content_type)
                raw = await response.read()
            if not 200 <= response.status <= 299:
                raise ApiException(status=response.status, reason=response.reason, body=raw.decode(errors="replace"))
            decoded: Object = json.loads(raw) if raw else {}
            return decoded
        except FOREIGN_ERRORS as error:
            raise map_error(error, what=what) from error

    async def _send(
        self, method: str, path: str, *, query: Mapping[str, str] | None, body: Object | None = None, content_type: str = ""
    ) -> Any:
        headers = {"Accept": "application/json", "User-Agent": "claudeops", "Content-Type": content_type or "application/json"}
        request = await self._api.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        # The total time is bounded by our own timeout; without one here the client's five minutes would end a watch.
        return await self._api.call_api(*request, _request_timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))

    async def get(self, ref: Ref, *, subresource: str = "") -> Object:
        """Reads one object."""
        return await self.request("GET", ref.path(subresource))

    async def create(self, kind: Kind, body: Object, *, namespace: str = "") -> Object:
        """Creates one object; :class:`~claudeops.errors.Conflict` when it exists."""
        return await self.request("POST", kind.path(namespace), body=body)

    async def replace(self, ref: Ref, body: Object) -> Object:
        """Replaces one object; :class:`~claudeops.errors.Conflict` when its ``resourceVersion`` is not the newest."""
        return await self.request("PUT", ref.path(), body=body)

    async def apply(self, ref: Ref, body: Object, *, manager: str, subresource: str = "") -> Object:
        """Server-side apply of the full intended set of fields of ``manager``; creates the object if need be."""
        query = {"fieldManager": manager, "force": "true"}
        return await self.request("PATCH", ref.path(subresource), query=query, body=body, content_type=APPLY)

    async def merge(self, ref: Ref, body: Object, *, manager: str, subresource: str = "") -> Object:
        """JSON merge patch; with ``metadata.resourceVersion`` in ``body`` a :class:`~claudeops.errors.Conflict` if somebody was faster."""
        return await self.request("PATCH", ref.path(subresource), query={"fieldManager": manager}, body=body, content_type=MERGE)

    async def list_all(self, kind: Kind, *, selector: str = "", namespace: str = "") -> tuple[list[Object], str]:
        """Every object of a kind, read in pages, and the list's ``resourceVersion``."""
        items: list[Object] = []
        query = {"limit": str(PAGE_SIZE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.request("GET", kind.path(namespace), query=query)
            items += page.get("items") or []
            metadata = page.get("metadata", {})
            if not metadata.get("continue"):
                return items, metadata.get("resourceVersion", "")
            query["continue"] = metadata["continue"]

    async def watch(self, kind: Kind, since: str, *, selector: str = "", timeout_s: int = 240) -> AsyncIterator[Object]:
        """Watch events from ``since`` on, until the server ends the call. :class:`~claudeops.errors.NotFound`: ``since`` is too old."""
        query = {"watch": "true", "resourceVersion": since, "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_s)}
        query |= {"labelSelector": selector} if selector else {}
        try:
            response = await self._send("GET", kind.path(), query=query)
            if response.status != 200:
                raise ApiException(status=response.status, reason=response.reason, body=(await response.read()).decode(errors="replace"))
            try:
                async for line in _lines(response.response.content, idle_s=timeout_s + 15):
                    event: Object = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiException(status=event["object"].get("code", 500), reason="watch", body=json.dumps(event["object"]))
                    yield event
            finally:
                response.response.close()
        except FOREIGN_ERRORS as error:
            raise map_error(error, what=f"WATCH {kind.path()}") from error


async def _lines(content: aiohttp.StreamReader, *, idle_s: float) -> AsyncIterator[bytes]:
    while line := await asyncio.wait_for(content.readline(), idle_s):
        yield line
