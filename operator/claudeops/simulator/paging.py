"""Pages of a list: by ids before and after (``after_id``, ``before_id``), or by an opaque cursor (``page``)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from claudeops.simulator.http import Request
from claudeops.simulator.reply import Problem, invalid, not_found

MAX_PAGE = 1000
DEFAULT_PAGE = 20
_CURSOR = "page_"

Entry = TypeVar("Entry")


def page_size(request: Request, default: int | None = DEFAULT_PAGE) -> int | Problem | None:
    """``limit``: 1 to 1000; a Problem when it is neither. ``default`` None: without a ``limit`` everything is one page."""
    text = request.parameter("limit")
    if not text:
        return default
    if not text.isdigit() or not 1 <= int(text) <= MAX_PAGE:
        return invalid(f"limit: Input should be between 1 and {MAX_PAGE}")
    return int(text)


def page_by_id(request: Request, entries: Sequence[Entry], id_of: Callable[[Entry], str]) -> tuple[list[Entry], dict[str, Any]] | Problem:
    """The entries of one page and the page's own members: ``has_more``, ``first_id``, ``last_id``.

    ``after_id`` and ``before_id`` exclude each other; an id that is not in the list is a 404.
    """
    size = page_size(request)
    if isinstance(size, Problem):
        return size
    after, before = request.parameter("after_id"), request.parameter("before_id")
    if after and before:
        return invalid("only one of `after_id` and `before_id` may be given")
    ids = [id_of(entry) for entry in entries]
    unknown = next((cursor for cursor in (after, before) if cursor and cursor not in ids), None)
    if unknown is not None:
        return not_found(f"no object has the id {unknown}")
    begin, end, has_more = _window(ids, after, before, size or MAX_PAGE)
    found = ids[begin:end]
    return list(entries[begin:end]), {"has_more": has_more, "first_id": next(iter(found), None), "last_id": next(reversed(found), None)}


def _window(ids: Sequence[str], after: str, before: str, size: int) -> tuple[int, int, bool]:
    """Where a page begins and ends, and whether there is more in its direction."""
    if before:
        end = ids.index(before)
        return max(0, end - size), end, end > size
    begin = ids.index(after) + 1 if after else 0
    end = min(len(ids), begin + size)
    return begin, end, end < len(ids)


def page_by_cursor(
    request: Request, entries: Sequence[Entry], *, default: int | None = DEFAULT_PAGE
) -> tuple[list[Entry], str | None] | Problem:
    """The entries of one page and the cursor of the next, None on the last one. A cursor that was not given out is a 400."""
    size = page_size(request, default)
    if isinstance(size, Problem):
        return size
    begin = _offset(request.parameter("page"))
    if begin is None:
        return invalid("page: Input is not a valid cursor")
    end = len(entries) if size is None else begin + size
    following = _CURSOR + base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(entries) else None
    return list(entries[begin:end]), following


def _offset(cursor: str) -> int | None:
    """The place that a cursor stands for; None when it is none."""
    if not cursor:
        return 0
    try:
        return int(base64.urlsafe_b64decode(cursor.removeprefix(_CURSOR))) if cursor.startswith(_CURSOR) else None
    except (ValueError, binascii.Error):
        return None
