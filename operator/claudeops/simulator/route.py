"""Which paths and methods the API has, and how large a body each of them takes."""

from __future__ import annotations

import msgspec

MESSAGE_BODY_BYTES = 32 * 1024 * 1024
BATCH_BODY_BYTES = 256 * 1024 * 1024
FILE_BODY_BYTES = 500 * 1024 * 1024
MULTIPART_SPARE_BYTES = 64 * 1024
"""What the form around an uploaded file may add to its size."""
_ANY = "{}"


class Route(msgspec.Struct, frozen=True):
    """One endpoint: ``path`` in segments, ``{}`` for one that varies, and what each method does."""

    path: str
    methods: dict[str, str]

    def match(self, segments: list[str]) -> tuple[str, ...] | None:
        """What stands in place of each ``{}``; None when the path is another one."""
        wanted = self.path.split("/")
        if len(wanted) != len(segments):
            return None
        pairs = list(zip(wanted, segments, strict=True))
        if any(want not in (_ANY, given) for want, given in pairs):
            return None
        return tuple(given for want, given in pairs if want == _ANY)


_ROUTES = (
    Route("v1/messages", {"POST": "message"}),
    Route("v1/messages/count_tokens", {"POST": "count"}),
    Route("v1/messages/batches", {"POST": "create_batch", "GET": "list_batches"}),
    Route("v1/messages/batches/{}", {"GET": "retrieve_batch", "DELETE": "delete_batch"}),
    Route("v1/messages/batches/{}/cancel", {"POST": "cancel_batch"}),
    Route("v1/messages/batches/{}/results", {"GET": "batch_results"}),
    Route("v1/files", {"POST": "upload_file", "GET": "list_files"}),
    Route("v1/files/{}", {"GET": "retrieve_file", "DELETE": "delete_file"}),
    Route("v1/files/{}/content", {"GET": "file_content"}),
    Route("v1/models", {"GET": "list_models", "HEAD": "list_models"}),
    Route("v1/models/{}", {"GET": "retrieve_model", "HEAD": "retrieve_model"}),
    Route("v1/oauth/token", {"POST": "exchange_token"}),
    Route("v1/organizations/me", {"GET": "organization"}),
    Route("v1/organizations/rate_limits", {"GET": "list_rate_limits"}),
    Route("v1/organizations/workspaces/{}/rate_limits", {"GET": "list_workspace_rate_limits"}),
    Route("v1/organizations/workspaces/{}/rate_limits/{}", {"POST": "update_workspace_rate_limit"}),
    Route("v1/organizations/spend_limits", {"GET": "list_spend_limits"}),
    Route("v1/organizations/spend_limits/effective", {"GET": "list_effective_spend_limits"}),
)


class Target(msgspec.Struct, frozen=True):
    """Where a request goes: the operation (None: the path has no such method), and what stands for each ``{}``."""

    operation: str | None
    names: tuple[str, ...] = ()


_MESSAGE = Target("message")


def find_target(method: str, path: str) -> Target | None:
    """The operation of this method and path; None when the API has no such path."""
    if method == "POST" and path == "/v1/messages":
        return _MESSAGE
    segments = path.strip("/").split("/")
    for route in _ROUTES:
        names = route.match(segments)
        if names is not None:
            return Target(route.methods.get(method), names)
    return None


def body_limit_bytes(path: str) -> int:
    """The largest body that this path takes."""
    if path.startswith("/v1/messages/batches"):
        return BATCH_BODY_BYTES
    if path.startswith(("/v1/files", "/_sim/")):
        return FILE_BODY_BYTES + MULTIPART_SPARE_BYTES
    return MESSAGE_BODY_BYTES
