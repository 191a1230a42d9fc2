"""``/v1/files``: upload, list, look at, download and delete, each workspace its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from claudeops.simulator.call import Call
from claudeops.simulator.http import Request
from claudeops.simulator.identity import mint
from claudeops.simulator.multipart import MalformedForm, Part, parse_form
from claudeops.simulator.paging import page_by_cursor, page_by_id
from claudeops.simulator.reply import Answer, Problem, invalid, not_found
from claudeops.simulator.storedfile import StoredFile
from claudeops.simulator.world import World

LIFETIMES_S = range(3600, 7_776_000 + 1)
MAX_IDS = 100
STORAGE_BYTES = 10**12
"""What all files of an organisation may be together: 1 TB."""
_EXTENSIONS = {"text/plain": ".txt", "application/pdf": ".pdf", "image/png": ".png", "image/jpeg": ".jpg", "application/json": ".json"}


class FileDesk:
    """All files. A lifetime runs ``speed`` times as fast as it says, like every latency."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files: dict[str, StoredFile] = {}

    def __len__(self) -> int:
        return len(self._files)

    def clear(self) -> None:
        """Forget every file."""
        self._files.clear()

    def upload(self, call: Call) -> Answer | Problem:
        """``POST /v1/files``: the field ``file``, and ``expires_in_seconds`` if it is to expire."""
        try:
            parts = parse_form(call.request.header(b"content-type"), call.request.body)
        except MalformedForm as error:
            return invalid(str(error))
        part = next((part for part in parts if part.name == "file"), None)
        if part is None:
            return invalid("file: Field required")
        lifetime = next((part.data.decode("latin-1") for part in parts if part.name == "expires_in_seconds"), "")
        if lifetime and not (lifetime.isdigit() and int(lifetime) in LIFETIMES_S):
            return invalid(f"expires_in_seconds: Input should be between {LIFETIMES_S[0]} and {LIFETIMES_S[-1]}")
        return self._store(call, part, int(lifetime) if lifetime else None)

    def _store(self, call: Call, part: Part, lifetime_s: int | None) -> Answer | Problem:
        assert call.account is not None
        organization = call.account.organization
        if sum(len(file.data) for file in self._files.values() if file.organization == organization) + len(part.data) > STORAGE_BYTES:
            return invalid("The organization's storage is full.", error_code="storage_quota_exceeded")
        kind = part.kind or "application/octet-stream"
        config = self._world.config
        file = StoredFile(
            id=mint("file", call.dice),
            organization=organization,
            workspace_id=call.account.workspace_id,
            filename=part.filename.replace("\\", "/").rpartition("/")[2] or "unnamed" + _EXTENSIONS.get(kind, ""),
            mime_type=kind,
            data=part.data,
            created_at_s=self._world.identity.now_s(),
            lifetime_s=lifetime_s,
            expires_s=None if lifetime_s is None else call.started_s + lifetime_s / config.speed,
            is_downloadable=config.has_downloadable_files,
        )
        self._files[file.id] = file
        return Answer.of(file.document())

    def list_page(self, call: Call) -> Answer | Problem:
        """``GET /v1/files``: newest first, by ``page``, by the older ``after_id`` and ``before_id``, or those of ``ids``."""
        request = call.request
        found = [*self._visible(call)]
        wanted = request.parameters("ids")
        if wanted:
            return _chosen(request, found, set(wanted))
        if request.parameter("after_id") or request.parameter("before_id"):
            page = page_by_id(request, found, lambda file: file.id)
            return page if isinstance(page, Problem) else _page(page[0], page[1], None)
        paged = page_by_cursor(request, found)
        if isinstance(paged, Problem):
            return paged
        files, following = paged
        ids = [file.id for file in files]
        edges = {"first_id": next(iter(ids), None), "last_id": next(reversed(ids), None)}
        return _page(files, {"has_more": following is not None, **edges}, following)

    def retrieve(self, call: Call) -> Answer | Problem:
        """``GET /v1/files/{id}``."""
        file = self._find(call, call.names[0])
        return file if isinstance(file, Problem) else Answer.of(file.document())

    def delete(self, call: Call) -> Answer | Problem:
        """``DELETE /v1/files/{id}``."""
        file = self._find(call, call.names[0])
        if isinstance(file, Problem):
            return file
        del self._files[file.id]
        return Answer.of({"id": file.id, "type": "file_deleted"})

    def content(self, call: Call) -> Answer | Problem:
        """``GET /v1/files/{id}/content``: only what a tool made can be downloaded, never what was uploaded."""
        file = self._find(call, call.names[0])
        if isinstance(file, Problem):
            return file
        if self._is_over(file):
            return not_found(f"File {file.id} has expired.", error_code="file_expired")
        if not file.is_downloadable:
            return invalid(f"File {file.id} is not downloadable.", error_code="file_not_downloadable")
        return Answer(file.data, f"content-type: {file.mime_type}\r\n".encode())

    def source(self, call: Call, file_id: str) -> StoredFile | Problem:
        """The file that a request's content block names; the Problem when it is unknown or has expired."""
        file = self._find(call, file_id)
        if not isinstance(file, Problem) and self._is_over(file):
            return not_found(f"File {file.id} has expired.", error_code="file_expired")
        return file

    def _visible(self, call: Call) -> Iterator[StoredFile]:
        assert call.account is not None
        return (file for file in reversed(self._files.values()) if file.workspace_id == call.account.workspace_id)

    def _find(self, call: Call, file_id: str) -> StoredFile | Problem:
        file = self._files.get(file_id)
        if file is None or call.account is None or file.workspace_id != call.account.workspace_id:
            return not_found(f"File not found: {file_id}")
        return file

    def _is_over(self, file: StoredFile) -> bool:
        return file.expires_s is not None and self._world.monotonic_s() >= file.expires_s


def _chosen(request: Request, files: list[StoredFile], ids: set[str]) -> Answer | Problem:
    """The files that ``ids`` names, on one page; what it names and is not there is left out."""
    if request.parameter("page") or request.parameter("limit") or len(ids) > MAX_IDS:
        return invalid(f"ids: at most {MAX_IDS}, and not together with `page` or `limit`")
    return _page([file for file in files if file.id in ids], {}, None)


def _page(files: list[StoredFile], members: dict[str, Any], following: str | None) -> Answer:
    """A page in both shapes: that of the current API, and that of its beta."""
    return Answer.of({"data": [file.document() for file in files], **members, "next_page": following})
