"""An uploaded file, as it is kept and as it is shown."""

from __future__ import annotations

from typing import Any

import msgspec

from claudeops.simulator.identity import rfc3339


class StoredFile(msgspec.Struct):
    """One uploaded file. Times are seconds since the epoch, as answers show them; ``expires_s`` on the simulator's clock."""

    id: str
    organization: str
    workspace_id: str
    filename: str
    mime_type: str
    data: bytes
    created_at_s: float
    lifetime_s: int | None
    expires_s: float | None
    is_downloadable: bool

    def document(self) -> dict[str, Any]:
        """The file as the API shows it."""
        return {
            "type": "file",
            "id": self.id,
            "filename": self.filename,
            "mime_type": self.mime_type,
            "size_bytes": len(self.data),
            "created_at": rfc3339(int(self.created_at_s)),
            "downloadable": self.is_downloadable,
            "expires_at": None if self.lifetime_s is None else rfc3339(int(self.created_at_s) + self.lifetime_s),
        }
