"""Why the bytes of a client are refused."""

from __future__ import annotations


class BadRequest(ValueError):
    """A request that cannot be framed, or whose next reader might frame it in another way. ``status`` is how it is answered."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
