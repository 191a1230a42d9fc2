"""The API: which path does what, and how a call goes through its stages to an answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from claudeops.catalogue import Model, load_catalogue
from claudeops.catalogue.lookup import EFFORT_LEVELS
from claudeops.simulator.call import BROKEN, Call, Problem
from claudeops.simulator.http import Connection, Request
from claudeops.simulator.message import MessageRequest
from claudeops.simulator.pace import Dice
from claudeops.simulator.production import GARBAGE, JSON_LINES, Production
from claudeops.simulator.prompt import breakpoints
from claudeops.simulator.referee import LoggedRequest, Referee
from claudeops.simulator.stage import COUNT_STAGES, MESSAGE_STAGES, MODEL_STAGES, World

MODELS_PATH = "/v1/models"
MAX_PAGE = 1000


class Api:
    """Answers every path under ``/v1``."""

    def __init__(self, world: World, referee: Referee) -> None:
        self._world = world
        self._referee = referee
        self._pace = Dice(world.config)
        self._dice = random.Random(f"content {world.config.seed}")
        self._loop = asyncio.get_running_loop()
        self.in_flight = 0
        self.streams = 0

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request, now or later."""
        request_id = f"req_sim{self._dice.getrandbits(88):022x}"
        call = Call(request, connection, request_id, self._loop.time())
        problem = misdirected(request)
        if problem is not None:
            self._refuse(call, problem)
        elif request.path == "/v1/messages":
            self._message(call)
        elif request.path == "/v1/messages/count_tokens":
            self._count(call)
        else:
            self._models(call)

    # -- endpoints

    def _message(self, call: Call) -> None:
        problem = self._walk(call, MESSAGE_STAGES)
        if problem is not None:
            self._refuse(call, problem)
        else:
            self._produce(call)

    def _produce(self, call: Call) -> None:
        assert call.model is not None
        production = Production(call, self._world, self._pace.draw(call.model), self._dice)
        is_stream = call.is_stream
        self.in_flight += 1
        self.streams += is_stream

        def end() -> None:
            self.in_flight -= 1
            self.streams -= is_stream

        production.on_head = lambda code: self._log(call, code, None)
        production.on_end = end
        production.start()

    def _count(self, call: Call) -> None:
        problem = self._walk(call, COUNT_STAGES)
        if problem is not None:
            self._refuse(call, problem)
            return
        self._answer(call, {"input_tokens": call.lookup.use.total})

    def _models(self, call: Call) -> None:
        problem = self._walk(call, MODEL_STAGES)
        if problem is None:
            name = call.request.path[len(MODELS_PATH) :].strip("/")
            found = model_page(call.request) if not name else one_model(name)
            if not isinstance(found, Problem):
                self._answer(call, found)
                return
            problem = found
        self._refuse(call, problem)

    def _walk(self, call: Call, stages: Sequence[Any]) -> Problem | None:
        for stage in stages:
            problem: Problem | None = stage(call, self._world)
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

    def _answer(self, call: Call, document: Any) -> None:
        self._log(call, 200, None)
        call.connection.respond(200, JSON_LINES + call.lines(has_ratelimits=True), msgspec.json.encode(document))

    def _refuse(self, call: Call, problem: Problem) -> None:
        self._log(call, problem.status, problem.message)
        if problem is BROKEN:
            self._break(call)
            return
        lines = JSON_LINES + call.lines(has_ratelimits=problem.has_ratelimits)
        if problem.retry_after_s is not None:
            lines += b"retry-after: %d\r\n" % problem.retry_after_s
        if problem.status in (429, 529):
            lines += b"x-should-retry: true\r\n"
        call.connection.respond(problem.status, lines, problem.body(call.request_id))

    def _log(self, call: Call, code: int, error: str | None) -> None:
        if call.fault is not None:
            self._referee.by_fault[call.fault.kind] += 1
        self._referee.answered(entry_of(call, code, error))


def misdirected(request: Request) -> Problem | None:
    """A path or method that the API does not have."""
    path, method = request.path, request.method
    if path in ("/v1/messages", "/v1/messages/count_tokens"):
        return None if method == "POST" else Problem(405, "invalid_request_error", "Method Not Allowed")
    if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
        return None if method in ("GET", "HEAD") else Problem(405, "invalid_request_error", "Method Not Allowed")
    return Problem(404, "not_found_error", "Not found")


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
        cache_control_count=0 if message is None else len(breakpoints(message)) + (message.cache_control is not None),
        stainless={n.decode("latin-1"): v.decode("latin-1") for n, v in headers.items() if n.startswith(b"x-stainless-")},
        header_names=request.header_names,
        body_sha256=sha256(request.body).hexdigest(),
        error=error,
        input_tokens=call.lookup.use.total,
    )


def model_page(request: Request) -> dict[str, Any] | Problem:
    """``GET /v1/models``: a page of the list."""
    text = request.parameter("limit", "20")
    if not text.isdigit() or not 1 <= int(text) <= MAX_PAGE:
        return Problem(400, "invalid_request_error", f"limit: Input should be between 1 and {MAX_PAGE}")
    models = list(load_catalogue().models)
    ids = [model.id for model in models]
    after, before = request.parameter("after_id"), request.parameter("before_id")
    begin = ids.index(after) + 1 if after in ids else 0
    end = ids.index(before) if before in ids else len(ids)
    page = models[begin:end][: int(text)]
    return {
        "data": [model_info(model) for model in page],
        "has_more": begin + len(page) < end,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def one_model(name: str) -> dict[str, Any] | Problem:
    """``GET /v1/models/{id}``."""
    model = load_catalogue().model(name)
    return Problem(404, "not_found_error", f"model: {name}") if model is None else model_info(model)


def model_info(model: Model) -> dict[str, Any]:
    """One model as the API lists it: no prices, no sampling capability."""
    rule = load_catalogue().thinking_rule(model.thinking)
    levels = model.effort.levels if model.effort is not None else ()
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id.replace("-", " ").title(),
        "line": model.line,
        "lifecycle": "deprecated" if model.status == "deprecated" else "active",
        "created_at": None if model.released_at is None else f"{model.released_at}T00:00:00Z",
        "deprecated_at": None if model.deprecated_at is None else f"{model.deprecated_at}T00:00:00Z",
        "retires_at": None if model.retires_at is None else f"{model.retires_at}T00:00:00Z",
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
        "capabilities": {
            "batch": {"supported": True},
            "image_input": {"supported": True},
            "pdf_input": {"supported": True},
            "effort": {"supported": bool(levels), **{level: {"supported": level in levels} for level in EFFORT_LEVELS}},
            "thinking": {"supported": True, "types": {kind: {"supported": True} for kind in rule.accepts}},
        },
    }
