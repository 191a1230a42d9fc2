"""``/v1/messages/batches``: create, list, look at, cancel, read the results of and delete batches, each workspace its own."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from claudeops.simulator.batch import LIFETIME_S, RESULTS_KEPT_S, Batch, Item, finish
from claudeops.simulator.batchitem import ItemDesk
from claudeops.simulator.call import Call
from claudeops.simulator.faultstage import subject_of
from claudeops.simulator.message import message_of
from claudeops.simulator.paging import page_by_id
from claudeops.simulator.reply import Answer, Problem, invalid, not_found
from claudeops.simulator.world import World

START_S = 30.0
"""How long a batch waits before its items are processed; divided by the configured speed. Plausible, not measured."""
CANCEL_S = 5.0
"""How long a batch is ``canceling``; likewise."""
SHORTEST_KEPT_S = 60.0
"""Results are kept for 29 days divided by the speed, but never shorter than this."""
SLICE = 100
"""Items that are processed, or written as results, before other work gets its turn."""
BUFFERED_BYTES = 1 << 20
"""Results wait while the connection holds more than this unsent."""
RESUME_S = 0.005
DEFAULT_MAX_ITEMS = 100_000
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_RESULT_LINES = b"content-type: application/x-jsonl\r\n"


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: msgspec.Raw


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Item]


_DECODER = msgspec.json.Decoder(_Body)


class BatchDesk:
    """All batches. Every wait is divided by the configured speed, the 24 hours until a batch expires among them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items = ItemDesk(world)
        self._loop = asyncio.get_running_loop()
        self._batches: dict[str, Batch] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def clear(self) -> None:
        """Forget every batch."""
        for batch in self._batches.values():
            batch.close("canceled", 0.0)
        self._batches.clear()

    def waiting(self, organization: str) -> int:
        """Items of an organisation's batches that are not processed yet."""
        return sum(batch.waiting for batch in self._batches.values() if batch.organization == organization)

    # -- operations

    def create(self, call: Call) -> Answer | Problem:
        """``POST /v1/messages/batches``: the form is checked now, each item's ``params`` when it is processed."""
        try:
            body = _DECODER.decode(call.request.body)
        except msgspec.DecodeError as error:
            return invalid(message_of(error))
        problem = self._objection(call, body.requests)
        if problem is not None:
            return problem
        batch = Batch(call, [Item(item.custom_id, item.params) for item in body.requests], self._world.identity.now_s())
        self._batches[batch.id] = batch
        if self._world.faults.is_stalled(subject_of(call), time.time()):
            self._after(LIFETIME_S, self._expire, batch)
        else:
            self._after(START_S, self._process, batch)
        return self._shown(call, batch)

    def list_page(self, call: Call) -> Answer | Problem:
        """``GET /v1/messages/batches``: newest first."""
        assert call.account is not None
        mine = [batch for batch in reversed(self._batches.values()) if batch.workspace_id == call.account.workspace_id]
        page = page_by_id(call.request, mine, lambda batch: batch.id)
        if isinstance(page, Problem):
            return page
        found, members = page
        return Answer.of({"data": [batch.document(base_url(call)) for batch in found], **members})

    def retrieve(self, call: Call) -> Answer | Problem:
        """``GET /v1/messages/batches/{id}``."""
        batch = self._find(call)
        return batch if isinstance(batch, Problem) else self._shown(call, batch)

    def cancel(self, call: Call) -> Answer | Problem:
        """``POST /v1/messages/batches/{id}/cancel``: what is not processed by then is canceled; idempotent until it has ended."""
        batch = self._find(call)
        if isinstance(batch, Problem):
            return batch
        if batch.status == "ended":
            return invalid(f"Batch {batch.id} has already ended and cannot be canceled.")
        if batch.cancel_at_s is None:
            batch.cancel_at_s = self._world.identity.now_s()
            self._after(CANCEL_S, self._end_canceled, batch)
        return self._shown(call, batch)

    def delete(self, call: Call) -> Answer | Problem:
        """``DELETE /v1/messages/batches/{id}``: only when it has ended."""
        batch = self._find(call)
        if isinstance(batch, Problem):
            return batch
        if batch.status != "ended":
            return invalid(f"Batch {batch.id} cannot be deleted while it is being processed. Cancel it first.")
        del self._batches[batch.id]
        return Answer.of({"id": batch.id, "type": "message_batch_deleted"})

    def results(self, call: Call) -> Answer | Problem | None:
        """``GET /v1/messages/batches/{id}/results``: JSON lines, written as fast as the client reads them."""
        batch = self._find(call)
        if isinstance(batch, Problem):
            return batch
        if batch.status != "ended":
            return not_found(f"Batch {batch.id} has no available results: it is still being processed.")
        if batch.archived_at_s is not None:
            return not_found(f"Batch {batch.id} has no available results: they were archived.")
        call.connection.begin_stream(_RESULT_LINES + call.lines(has_ratelimits=False))
        self._write(call, batch.result_lines())
        return None

    # -- processing

    def _process(self, batch: Batch) -> None:
        """The next slice of items; the batch ends with the last one."""
        batch.call.request.body = b""
        if batch.status != "in_progress":
            return
        for item in batch.items[batch.processed : batch.processed + SLICE]:
            finish(item, self._items.answer(batch.call, item.params))
            batch.processed += 1
        if batch.processed < len(batch.items):
            self._loop.call_soon(self._process, batch)
        else:
            self._end(batch)

    def _end(self, batch: Batch) -> None:
        batch.ended_at_s = self._world.identity.now_s()
        self._loop.call_later(max(SHORTEST_KEPT_S, RESULTS_KEPT_S / self._world.config.speed), self._archive, batch)

    def _end_canceled(self, batch: Batch) -> None:
        if batch.status == "canceling":
            batch.close("canceled", self._world.identity.now_s())

    def _expire(self, batch: Batch) -> None:
        """After 24 hours: what was not processed by then has expired."""
        if batch.ended_at_s is None:
            batch.close("expired", self._world.identity.now_s())

    def _archive(self, batch: Batch) -> None:
        batch.archived_at_s = self._world.identity.now_s()
        batch.items = []

    def _write(self, call: Call, lines: Iterator[bytes]) -> None:
        """The next lines of the results, unless the client is behind."""
        connection = call.connection
        if connection.transport.is_closing():
            return
        if connection.transport.get_write_buffer_size() > BUFFERED_BYTES:
            self._loop.call_later(RESUME_S, self._write, call, lines)
            return
        data = b"".join(islice(lines, SLICE))
        if data:
            connection.write_chunk(data)
            self._loop.call_soon(self._write, call, lines)
        else:
            connection.end_stream()

    # -- checks

    def _objection(self, call: Call, items: list[_Item]) -> Problem | None:
        """What is wrong with a batch as such."""
        assert call.account is not None
        if not items:
            return invalid("requests: List should have at least 1 item")
        limits = self._world.pools.batch_limits
        largest = DEFAULT_MAX_ITEMS if limits is None else limits.requests_per_batch
        if len(items) > largest:
            return invalid(f"requests: List should have at most {largest} items")
        wrong = _wrong_item(items)
        if wrong is not None:
            return invalid(wrong)
        if limits is not None and self.waiting(call.account.organization) + len(items) > limits.queued_requests:
            message = f"This request would exceed your organization's limit of {limits.queued_requests:,} requests that wait in batches."
            return Problem(429, "rate_limit_error", message, 60)
        return None

    def _find(self, call: Call) -> Batch | Problem:
        batch = self._batches.get(call.names[0])
        if batch is None or call.account is None or batch.workspace_id != call.account.workspace_id:
            return not_found(f"Batch not found: {call.names[0]}")
        return batch

    def _shown(self, call: Call, batch: Batch) -> Answer:
        return Answer.of(batch.document(base_url(call)))

    def _after(self, wait_s: float, then: Callable[[Batch], None], batch: Batch) -> None:
        self._loop.call_later(wait_s / self._world.config.speed, then, batch)


def base_url(call: Call) -> str:
    """How the client reached the API: what ``results_url`` begins with."""
    host = call.request.header(b"host") or "localhost"
    scheme = "https" if call.connection.transport.get_extra_info("sslcontext") is not None else "http"
    return f"{scheme}://{host}"


def _wrong_item(items: list[_Item]) -> str | None:
    """What is wrong with the first item whose form is wrong; None when all can be told apart and processed."""
    seen: set[str] = set()
    for number, item in enumerate(items):
        if _CUSTOM_ID.fullmatch(item.custom_id) is None:
            return f"requests.{number}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
        if item.custom_id in seen:
            return f"requests.{number}.custom_id: '{item.custom_id}' is not unique"
        if bytes(memoryview(item.params)[:1]) != b"{":
            return f"requests.{number}.params: Input should be a valid dictionary"
        seen.add(item.custom_id)
    return None
