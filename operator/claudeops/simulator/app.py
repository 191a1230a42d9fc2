"""The API: which path does what, and how a call goes through its stages to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256

from claudeops.simulator.batchdesk import BatchDesk
from claudeops.simulator.call import CACHE_CONTROL, Call
from claudeops.simulator.encoding import decode_body
from claudeops.simulator.filedesk import FileDesk
from claudeops.simulator.http import Connection, Request
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.modelinfo import list_models, retrieve_model
from claudeops.simulator.organization import OrganizationDesk
from claudeops.simulator.pace import Dice
from claudeops.simulator.playback import Playback, whole_answer
from claudeops.simulator.production import GARBAGE, Production
from claudeops.simulator.prompt import breakpoints
from claudeops.simulator.referee import LoggedRequest, Referee
from claudeops.simulator.reply import BROKEN, JSON_LINES, TOO_LARGE, Answer, Problem, not_found
from claudeops.simulator.route import Target, body_limit_bytes, find_target
from claudeops.simulator.sequence import ACCOUNT_STAGES, ADMIN_STAGES, BATCH_STAGES, COUNT_STAGES, FILE_STAGES, MESSAGE_STAGES
from claudeops.simulator.world import Stage, World

Operation = Callable[[Call], Answer | Problem | None]
"""Answers a call; None: it answers later by itself."""

_ABSENT: tuple[Sequence[Stage], Operation] = ((), lambda call: not_found("Not found"))


class Api:
    """Answers every path under ``/v1``."""

    def __init__(self, world: World, referee: Referee) -> None:
        self._world = world
        self._referee = referee
        self._pace = Dice(world.config)
        self._loop = asyncio.get_running_loop()
        self.in_flight = 0
        self.streams = 0
        self.batches = batches = BatchDesk(world)
        self.files = files = FileDesk(world)
        organization = OrganizationDesk(world)
        world.find_file = files.source
        today = world.identity.today
        self._operations: dict[str, tuple[Sequence[Stage], Operation]] = {
            "message": (MESSAGE_STAGES, self._produce),
            "count": (COUNT_STAGES, lambda call: Answer.of({"input_tokens": call.lookup.use.total})),
            "create_batch": (BATCH_STAGES, batches.create),
            "list_batches": (BATCH_STAGES, batches.list_page),
            "retrieve_batch": (BATCH_STAGES, batches.retrieve),
            "cancel_batch": (BATCH_STAGES, batches.cancel),
            "delete_batch": (BATCH_STAGES, batches.delete),
            "batch_results": (BATCH_STAGES, lambda call: self._stream(call, batches.results)),
            "upload_file": (FILE_STAGES, files.upload),
            "list_files": (FILE_STAGES, files.list_page),
            "retrieve_file": (FILE_STAGES, files.retrieve),
            "delete_file": (FILE_STAGES, files.delete),
            "file_content": (FILE_STAGES, files.content),
            "exchange_token": ((), world.tokens.exchange),
            "organization": (ADMIN_STAGES, organization.describe),
            "list_rate_limits": (ADMIN_STAGES, organization.list_rate_limits),
            "list_workspace_rate_limits": (ADMIN_STAGES, organization.list_workspace_rate_limits),
            "update_workspace_rate_limit": (ADMIN_STAGES, organization.update_workspace_rate_limit),
            "list_spend_limits": (ADMIN_STAGES, organization.list_spend_limits),
            "list_effective_spend_limits": (ADMIN_STAGES, organization.list_effective_spend_limits),
            "list_models": (ACCOUNT_STAGES, lambda call: list_models(call, today())),
            "retrieve_model": (ACCOUNT_STAGES, lambda call: retrieve_model(call, today())),
        }

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request, now or later."""
        target = find_target(request.method, request.path)
        problem = misdirected(request, target) or decode_body(request, body_limit_bytes(request.path))
        call = Call(request, connection, self._world.identity.dice_for(request), self._loop.time())
        if problem is not None or target is None or target.operation is None:
            self._refuse(call, problem or not_found("Not found"))
            return
        call.names = target.names
        stages, operation = self._operations.get(target.operation, _ABSENT)
        found = self._walk(call, stages) or operation(call)
        if isinstance(found, Answer):
            self._answer(call, found)
        elif found is not None:
            self._refuse(call, found)

    def _stream(self, call: Call, operation: Operation) -> Answer | Problem | None:
        """An operation that writes its answer itself when it can be given."""
        found = operation(call)
        if found is None:
            self._log(call, 200, None)
        return found

    def _produce(self, call: Call) -> Answer | Problem | None:
        """Begin an answer to a Messages request."""
        assert call.model is not None
        pace = self._pace.draw(call.model, self._world.pace_dice(call))
        if call.transcript is None:
            production = Production(call, self._world, pace, call.dice)
            production.on_head = lambda code: self._log(call, code, None)
            production.on_end = self._count_in(call)
            production.start()
        elif call.is_stream:
            playback = Playback(call, self._world, call.transcript, pace)
            playback.on_end = self._count_in(call)
            self._log(call, 200, None)
            playback.start_stream()
        else:
            return whole_answer(call, call.transcript)
        return None

    def _count_in(self, call: Call) -> Callable[[], None]:
        """Count a running answer; what it returns counts it out again."""
        is_stream = call.is_stream
        self.in_flight += 1
        self.streams += is_stream

        def end() -> None:
            self.in_flight -= 1
            self.streams -= is_stream

        return end

    def _walk(self, call: Call, stages: Sequence[Stage]) -> Problem | None:
        for stage in stages:
            problem = stage(call, self._world)
            if problem is not None:
                return problem
        return None

    # -- answers

    def _break(self, call: Call) -> None:
        """Leave the client without an answer, as the fault says."""
        if call.fault is not None and call.fault.kind == "garbage":
            call.connection.write_raw(GARBAGE, is_last=True)
        else:
            call.connection.reset()

    def _answer(self, call: Call, answer: Answer) -> None:
        self._log(call, 200, None)
        call.connection.respond(200, answer.lines + call.lines(has_ratelimits=True), answer.body)

    def _refuse(self, call: Call, problem: Problem) -> None:
        self._log(call, problem.status, problem.message)
        if problem is BROKEN:
            self._break(call)
            return
        lines = JSON_LINES + call.lines(has_ratelimits=problem.has_ratelimits)
        if problem.retry_after_s is not None:
            lines += b"retry-after: %d\r\n" % problem.retry_after_s
        if problem.status == 529 or problem.retry_after_s is not None:
            lines += b"x-should-retry: true\r\n"
        call.connection.respond(problem.status, lines, problem.body(call.request_id))

    def _log(self, call: Call, code: int, error: str | None) -> None:
        if call.fault is not None:
            self._referee.by_fault[call.fault.kind] += 1
        self._referee.answered(entry_of(call, code, error))


def misdirected(request: Request, target: Target | None) -> Problem | None:
    """A path or method that the API does not have, or a body that its edge does not let in."""
    if target is None:
        return not_found("Not found")
    if target.operation is None:
        return Problem(405, "invalid_request_error", "Method Not Allowed")
    return TOO_LARGE if request.is_too_large else None


def entry_of(call: Call, code: int, error: str | None) -> LoggedRequest:
    """The call as the referee keeps it."""
    request, message = call.request, call.message
    headers = request.headers
    return LoggedRequest(
        at=call.started_at,
        method=request.method,
        path=request.path,
        model="" if message is None else message.model,
        key=call.key[-4:],
        client=request.client,
        code=code,
        stream=call.is_stream,
        api_version=request.header(b"anthropic-version"),
        user_agent=request.header(b"user-agent"),
        sampling={} if message is None else message.sampling(),
        max_tokens=message.max_tokens if isinstance(message, MessageRequest) else None,
        effort=None if message is None else message.effort(),
        thinking=None if message is None else message.thinking_type(),
        cache_control_count=_breakpoint_count(request, message),
        stainless={n.decode("latin-1"): v.decode("latin-1") for n, v in headers.items() if n.startswith(b"x-stainless-")},
        header_names=request.header_names,
        body_sha256=sha256(request.body).hexdigest(),
        error=error,
        input_tokens=call.lookup.use.total,
    )


def _breakpoint_count(request: Request, message: CountRequest | None) -> int:
    """How many prompt-cache breakpoints the request has."""
    if message is None or CACHE_CONTROL not in request.body:
        return 0
    return len(breakpoints(message)) + (message.cache_control is not None)
