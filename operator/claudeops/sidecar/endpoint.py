"""The paths of the Claude API that this proxy knows. Everything else is 404; batches and files are too, unless the workload lists them."""

from __future__ import annotations

import re
from typing import Final

MESSAGES: Final = 0
COUNT_TOKENS: Final = 1
MODELS: Final = 2
PROBE: Final = 3
"""Clients look whether somebody is there: ``HEAD`` of anything, ``GET /api/hello``."""
NO_SUCH_PATH: Final = 4
BATCHES: Final = 5
NEW_BATCH: Final = 6
FILES: Final = 7
NAMES: Final = {BATCHES: "Batches", NEW_BATCH: "Batches", FILES: "Files"}
"""As ``endpoints`` of a workload calls them."""
POOLS: Final = {BATCHES: "batches", NEW_BATCH: "batches", FILES: "files"}
_MEBIBYTE: Final = 1024 * 1024
BODY_MAX_BYTES: Final = {BATCHES: _MEBIBYTE, NEW_BATCH: 256 * _MEBIBYTE, FILES: 501 * _MEBIBYTE}
"""The API's limits (reference anthropic-api, section 10); a file has its form around it."""
_ID: Final = rb"/[\w-][\w.:@-]*"
_PATHS: Final = re.compile(
    rb"(?P<m>POST /v1/messages)|(?P<c>POST /v1/messages/count_tokens)|(?P<i>GET /v1/models(?:ID)?)|(?P<p>HEAD .*|GET /api/hello)"
    rb"|(?P<n>POST /v1/messages/batches)"
    rb"|(?P<b>GET /v1/messages/batches(?:ID(?:/results)?)?|DELETE /v1/messages/batchesID|POST /v1/messages/batchesID/cancel)"
    rb"|(?P<f>POST /v1/files|GET /v1/files(?:ID(?:/content)?)?|DELETE /v1/filesID)".replace(b"ID", _ID)
)
_KINDS: Final = {"m": MESSAGES, "c": COUNT_TOKENS, "i": MODELS, "p": PROBE, "n": NEW_BATCH, "b": BATCHES, "f": FILES}


def kind_of(method: bytes, path: bytes) -> int:
    """What a request is; `path` without its query."""
    found = _PATHS.fullmatch(b"%b %b" % (method, path))
    return NO_SUCH_PATH if found is None else _KINDS[found.lastgroup or ""]
