"""A message batch: its items, its state, and how both show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from claudeops.simulator.call import Call
from claudeops.simulator.content import Content
from claudeops.simulator.identity import mint, rfc3339
from claudeops.simulator.reply import Problem
from claudeops.simulator.stream import message_document

LIFETIME_S = 24 * 3600
RESULTS_KEPT_S = 29 * 24 * 3600
OUTCOMES = ("succeeded", "errored", "canceled", "expired")


class Item(msgspec.Struct):
    """One request of a batch. ``outcome`` None: not processed yet."""

    custom_id: str
    params: msgspec.Raw
    outcome: Content | Problem | Literal["canceled", "expired"] | None = None

    def kind(self) -> str:
        """Which of the request counts it belongs to."""
        if self.outcome is None:
            return "processing"
        if isinstance(self.outcome, str):
            return self.outcome
        return "succeeded" if isinstance(self.outcome, Content) else "errored"


class Batch:
    """One batch. ``call`` is the request that made it; times that it shows are seconds since the epoch."""

    def __init__(self, call: Call, items: list[Item], created_at_s: float) -> None:
        assert call.account is not None
        self.id = mint("msgbatch", call.dice)
        self.call = call
        self.items = items
        self.organization = call.account.organization
        self.workspace_id = call.account.workspace_id
        self.created_at_s = created_at_s
        self.ended_at_s: float | None = None
        self.cancel_at_s: float | None = None
        self.archived_at_s: float | None = None
        self.processed = 0

    @property
    def status(self) -> str:
        """``in_progress``, ``canceling`` or ``ended``."""
        if self.ended_at_s is not None:
            return "ended"
        return "in_progress" if self.cancel_at_s is None else "canceling"

    @property
    def waiting(self) -> int:
        """Items that are still to be processed."""
        return 0 if self.ended_at_s is not None else len(self.items) - self.processed

    def close(self, rest: Literal["canceled", "expired"], now_s: float) -> None:
        """End it; what was not processed is ``rest``."""
        for item in self.items[self.processed :]:
            item.outcome = rest
            item.params = _NOTHING
        self.ended_at_s = now_s

    def counts(self) -> dict[str, int]:
        """``request_counts``: everything is ``processing`` until the whole batch has ended."""
        if self.ended_at_s is None:
            return {"processing": len(self.items), **dict.fromkeys(OUTCOMES, 0)}
        found = Counter(item.kind() for item in self.items)
        return {"processing": 0, **{outcome: found[outcome] for outcome in OUTCOMES}}

    def document(self, base_url: str) -> dict[str, Any]:
        """The batch as the API shows it."""
        has_results = self.ended_at_s is not None and self.archived_at_s is None
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status,
            "request_counts": self.counts(),
            "created_at": rfc3339(int(self.created_at_s)),
            "expires_at": rfc3339(int(self.created_at_s) + LIFETIME_S),
            "ended_at": _time(self.ended_at_s),
            "cancel_initiated_at": _time(self.cancel_at_s),
            "archived_at": _time(self.archived_at_s),
            "results_url": f"{base_url}/v1/messages/batches/{self.id}/results" if has_results else None,
        }

    def result_lines(self) -> Iterator[bytes]:
        """The results, one JSON document a line, in the order of the items."""
        for number, item in enumerate(self.items):
            yield msgspec.json.encode({"custom_id": item.custom_id, "result": self._result(item, number)}) + b"\n"

    def _result(self, item: Item, number: int) -> dict[str, Any]:
        outcome = item.outcome
        if isinstance(outcome, Content):
            return {"type": "succeeded", "message": message_document(outcome)}
        if isinstance(outcome, Problem):
            return {"type": "errored", "error": outcome.document(f"{self.call.request_id}{number:06d}")}
        return {"type": item.kind()}


_NOTHING = msgspec.Raw(b"")


def finish(item: Item, outcome: Content | Problem) -> None:
    """Keep what became of the item, and let go of what it asked."""
    item.outcome = outcome
    item.params = _NOTHING


def _time(second: float | None) -> str | None:
    return None if second is None else rfc3339(int(second))
