"""Which paths are open."""

from __future__ import annotations

from tests.unit.table import every

from claudeops.sidecar.endpoint import BATCHES, COUNT_TOKENS, FILES, MESSAGES, MODELS, NEW_BATCH, NO_SUCH_PATH, PROBE, kind_of


@every(
    ("request_line", "kind"),
    [
        ("POST /v1/messages", MESSAGES),
        ("POST /v1/messages/count_tokens", COUNT_TOKENS),
        ("GET /v1/models", MODELS),
        ("GET /v1/models/claude-sonnet-4-6", MODELS),
        ("GET /v1/models/claude-sonnet-4@20250514", MODELS),
        ("HEAD /", PROBE),
        ("HEAD /api/hello", PROBE),
        ("GET /api/hello", PROBE),
        ("POST /v1/messages/batches", NEW_BATCH),
        ("GET /v1/messages/batches", BATCHES),
        ("GET /v1/messages/batches/msgbatch_01", BATCHES),
        ("DELETE /v1/messages/batches/msgbatch_01", BATCHES),
        ("POST /v1/messages/batches/msgbatch_01/cancel", BATCHES),
        ("GET /v1/messages/batches/msgbatch_01/results", BATCHES),
        ("POST /v1/files", FILES),
        ("GET /v1/files", FILES),
        ("GET /v1/files/file_01", FILES),
        ("GET /v1/files/file_01/content", FILES),
        ("DELETE /v1/files/file_01", FILES),
    ],
)
def test_the_paths_of_the_api_are_known(request_line: str, kind: int) -> None:
    method, path = request_line.encode().split(b" ")
    assert kind_of(method, path) == kind


@every(
    "request_line",
    [
        "GET /v1/messages",
        "GET /",
        "POST /v1/messages/",
        "POST /v1/complete",
        "PUT /v1/files/file_01",
        "DELETE /v1/files",
        "DELETE /v1/models/claude",
        "POST /v1/files/file_01/content",
        "POST /v1/messages/batches/msgbatch_01",
        "GET /v1/messages/batches/msgbatch_01/cancel",
        "GET /v1/files/..",
        "GET /v1/files/%2e%2e",
        "GET /v1/files/a/../b",
        "GET /v1/models/",
        "GET /v1/organizations/rate_limits",
        "OPTIONS *",
    ],
)
def test_every_other_path_is_not(request_line: str) -> None:
    method, path = request_line.encode().split(b" ")
    assert kind_of(method, path) == NO_SUCH_PATH
