"""The request path: the list of stages, and what the process that runs it needs to know.

::

    runtime = Runtime(time.monotonic, wall_clock=time.time)
    pipeline = Pipeline(loop, runtime)
    runtime.apply_config(config, time.monotonic()); runtime.set_key(b"sk-...")
    await loop.create_server(pipeline.new_connection, "127.0.0.1", 4141)
    every second: pipeline.sweep()
    on SIGTERM: pipeline.start_drain(); until pipeline.is_idle or the grace period is over; pipeline.close()
"""

from __future__ import annotations

import math
import re
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Final

from claudeops.sidecar.admission import AUXILIARY_CONNECTIONS, Admission
from claudeops.sidecar.answer import PARKED, Answer, framing_refusal, refusal
from claudeops.sidecar.call import Call
from claudeops.sidecar.caller import SESSION, Caller
from claudeops.sidecar.edit import edited
from claudeops.sidecar.endpoint import COUNT_TOKENS, MESSAGES, MODELS, POOLS, PROBE
from claudeops.sidecar.failure import Failure
from claudeops.sidecar.flight import Flights
from claudeops.sidecar.group import AUXILIARY
from claudeops.sidecar.model import PRIMARY
from claudeops.sidecar.passage import Passage, examine
from claudeops.sidecar.probe import Probe, wants_probe
from claudeops.sidecar.recovery import Recovery
from claudeops.sidecar.relay import Relay
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.settle import count_passage, settle_answer
from claudeops.sidecar.stage.cache import cache
from claudeops.sidecar.stage.estimate import estimate
from claudeops.sidecar.stage.parse import parse
from claudeops.sidecar.stage.policy import policy
from claudeops.sidecar.stage.pool import count_only, relay_only
from claudeops.sidecar.stage.route import give_up_probe, route
from claudeops.sidecar.stage.session import no_key, session
from claudeops.sidecar.target import Target, open_pool
from claudeops.sidecar.usage import Usage
from claudeops.sidecar.wireformat import UNREADABLE
from claudeops.wire.dial import Dialer
from claudeops.wire.http1 import CLOSE_LINE, RequestHead
from claudeops.wire.listener import ServerContext
from claudeops.wire.pool import Pool
from claudeops.wire.server import ServerConnection
from claudeops.wire.transit import Transit, size_bytes

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
DROPPED: Final = re.compile(rb"x-api-key|authorization|x-claudeops-.*")
"""Request headers that are read here and never sent on: both kinds of credentials, and what is meant for the proxy."""
HELLO: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LAST_HELLO: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n%b\r\n" % CLOSE_LINE
Stage = Callable[[Call, Runtime], Answer | None]


class Pipeline:
    """Owns listener state, upstream pools and the stage lists of one :class:`Runtime`.

    A walk is synchronous; a stage that must wait parks the call and the rest of the list is resumed later.
    """

    def __init__(self, loop: AbstractEventLoop, runtime: Runtime) -> None:
        self.loop = loop
        self.runtime = runtime
        self.admission = Admission(loop, runtime, resume=self._resume, refuse=self.refuse)
        self.recovery = Recovery(loop, runtime, admission=self.admission, walk_again=self.walk_again)
        self.flights = Flights(runtime, walk_again=self.walk_again, renew=self.admission.renew)
        self.server = ServerContext(self.handle, framing_refusal, handle_head=self.take, dropped=DROPPED, max_body_bytes=MAX_BODY_BYTES)
        self.probes: set[Probe] = set()
        self.dialer = Dialer(loop, runtime.rng)
        self.target: Target | None = None
        self.host = b""
        self.session_header = SESSION
        self.pool: Pool | None = None
        self.auxiliary: Pool | None = None
        self.routed: tuple[Stage, ...] = (
            route,
            policy,
            # vision: image sizes and resolution take their place here,
            self.flights.identify,
            cache,
            estimate,
            # context: the window and its declared action,
            # store: stored responses,
            self.flights.join,
            self.admission.admit,
            self.send,
        )
        """From route on: what a walk that starts again walks."""
        self.message_stages: tuple[Stage, ...] = (parse, session, *self.routed)
        self.counted: tuple[Stage, ...] = (route, policy, count_only, self.admission.admit, self.send)
        self.count_stages: tuple[Stage, ...] = (parse, session, *self.counted)
        self.relayed: tuple[Stage, ...] = (relay_only, self.admission.admit, self.send)
        self.relay_stages: tuple[Stage, ...] = (session, *self.relayed)
        self.passed: tuple[Stage, ...] = (examine, self.admission.admit, self.pass_on)
        self.passage_stages: tuple[Stage, ...] = (session, *self.passed)
        self.sending: tuple[Stage, ...] = (self.send,)
        self.passing: tuple[Stage, ...] = (self.pass_on,)
        runtime.on_change = self._changed
        runtime.on_room = self._room
        self._changed()

    # -- for the process

    def new_connection(self) -> Any:
        """The protocol factory of the API's listener (4141)."""
        return self.server.new_connection()

    def sweep(self) -> None:
        """Once a second: time limits, lease phases, half-open probes. No timer per request."""
        runtime = self.runtime
        now = runtime.clock()
        runtime.refresh_leases(now)
        self.server.sweep()
        self.admission.expire(now)
        for pool in (self.pool, self.auxiliary):
            if pool is not None:
                pool.sweep()
        self._sweep_probes(now)

    def start_drain(self) -> None:
        """Refuse new requests, close idle client connections, finish what is parked or runs."""
        self.runtime.start_drain()
        self.server.drain()

    @property
    def is_idle(self) -> bool:
        """Nothing is parked, nothing runs."""
        return not any(connection.transit is not None for connection in self.server.connections)

    def pool_counts(self) -> dict[str, int]:
        """Upstream connections by state: ``idle``, ``busy``, ``opening``."""
        pools = [pool for pool in (self.pool, self.auxiliary) if pool is not None]
        counts = [pool.counts() for pool in pools]
        return {state: sum(count[at] for count in counts) for at, state in enumerate(("idle", "busy", "opening"))}

    def close(self) -> None:
        """Close all connections, idle or not."""
        self.server.close()
        for pool in (self.pool, self.auxiliary):
            if pool is not None:
                pool.close()

    # -- the walk

    def handle(self, head: RequestHead, body: bytes, client: ServerConnection) -> None:
        """A whole request has arrived."""
        caller = head.note
        if not isinstance(caller, Caller) or caller.host is not self.host:
            caller = self._read_caller(head)
        if caller.kind in POOLS:
            client.transit = passage = Passage(head, client, caller=caller, pipeline=self)
            return self._walk(passage, self.passage_stages)
        call = Relay(head, body, client, caller=caller, pipeline=self)
        client.transit = call
        kind = caller.kind
        if kind == MESSAGES:
            self._walk(call, self.message_stages)
        elif kind == COUNT_TOKENS:
            self._walk(call, self.count_stages)
        elif kind == MODELS:
            self._walk(call, self.relay_stages)
        elif kind == PROBE:
            client.write(LAST_HELLO if self.runtime.is_draining else HELLO)
            client.finish()
        else:
            self.refuse(call, Answer("no_such_path", f"{head.path.decode('latin-1')} is not a path of the Claude API that is open here"))

    def take(self, head: RequestHead, client: ServerConnection) -> Transit | None:
        """The head of a request with a body has arrived. What goes to batches and files is not held: it is taken in parts."""
        caller = self._read_caller(head)
        if caller.kind not in POOLS:
            return None
        passage = Passage(head, client, caller=caller, pipeline=self)
        client.slow(True)
        self._walk(passage, self.passage_stages)
        return passage

    def _read_caller(self, head: RequestHead) -> Caller:
        target = self.target
        if target is None:
            caller = Caller(head, self.host)
        else:
            caller = Caller(head, self.host, prefix=target.prefix, beta=target.beta, session_header=self.session_header)
        head.note = caller
        return caller

    def walk_again(self, call: Call) -> None:
        """From route on, with the client's own body; to the upstream that is in force now."""
        give_up_probe(call)
        call.walked_at = self.runtime.clock()
        if call.caller.host is not self.host:
            call.caller = self._read_caller(call.head)
        kind = call.caller.kind
        if kind == MESSAGES:
            stages = self.routed
        elif kind == COUNT_TOKENS:
            stages = self.counted
        else:
            stages = self.passed if kind in POOLS else self.relayed
        self._walk(call, stages)

    def refuse(self, call: Call, answer: Answer) -> None:
        """End the walk with an answer of our own, and that of those who share the call; but what policy says of it is not about them."""
        followers = self.flights.leave(call) if call.flight is not None else ()
        call.is_over = True
        give_up_probe(call)
        call.status = answer.status
        now = self.runtime.clock()
        if call.caller.kind in POOLS:
            count_passage(call, now, reason=answer.reason)
        else:
            settle_answer(call, self.runtime, now, reason=answer.reason)
        client = call.client
        assert isinstance(client, ServerConnection)
        keep_alive = call.head.keep_alive and not client.is_body_open and not self.runtime.is_draining
        client.write(refusal(answer, keep_alive=keep_alive, request_id=self.new_request_id()))
        client.finish()
        for follower in followers:
            if answer.reason == "policy":
                self.walk_again(follower)
            else:
                self.refuse(follower, answer)

    def forget(self, call: Call) -> None:
        """The call waits no longer, wherever it waits."""
        give_up_probe(call)
        self.flights.leave(call)
        self.admission.forget(call)
        self.recovery.forget(call)

    def new_request_id(self) -> str:
        """For answers that are not the API's."""
        return f"req_claudeops_{self.runtime.rng.getrandbits(64):016x}"

    def _walk(self, call: Call, stages: tuple[Stage, ...]) -> None:
        runtime = self.runtime
        for stage in stages:
            answer = stage(call, runtime)
            if answer is not None:
                if answer is not PARKED:
                    self.refuse(call, answer)
                return

    def _resume(self, call: Call) -> None:
        """Continue behind admission."""
        self._walk(call, self.passing if call.caller.kind in POOLS else self.sending)

    # -- stages of its own

    def send(self, call: Call, runtime: Runtime) -> Answer | None:
        """send: one attempt, on a pooled connection."""
        assert isinstance(call, Relay)
        if runtime.key is None:
            self._give_place_back(call)
            return no_key(runtime)
        pool = self.auxiliary if call.group.is_auxiliary else self.pool
        assert pool is not None
        try:
            body = edited(call.body, call.edits, call.asked) if call.edits else (call.body,)
        except UNREADABLE as error:  # in a member that no stage has read
            self._give_place_back(call)
            return Answer("bad_request", f"the request body is not JSON: {error}")
        caller = call.caller
        if call.head.method == b"GET":
            call.request = (b"%b%b\r\n" % (caller.head_line, runtime.auth_line), b"")
        else:
            head = b"%b%bcontent-length: %d\r\n\r\n" % (caller.head_line, runtime.auth_line, size_bytes(body))
            call.request = (head,) + body  # noqa: RUF005 - compiled, unpacking goes by a list
        if call.attempts or call.is_again:
            call.usage = Usage()
            call.produced = 0.0
            call.begin_attempt()
        else:
            runtime.retry_budget.deposit()
        call.attempts += 1
        call.sent_at = runtime.clock()
        pool.send(call, call.request)
        return None

    def pass_on(self, call: Call, runtime: Runtime) -> Answer | None:
        """pass_on: the head goes out, the rest follows as it comes."""
        assert isinstance(call, Passage)
        if runtime.key is None:
            self._give_place_back(call)
            return no_key(runtime)
        assert self.auxiliary is not None
        call.begin(self.auxiliary, runtime.auth_line)
        return None

    def _give_place_back(self, call: Call) -> None:
        """It was admitted, and will not be sent."""
        now = call.admitted_at
        call.group.limiter.refund(call.estimated_input, now, entered_at=now, is_streamed=call.is_streamed)
        self.admission.release(call, now)

    # -- probes

    def _sweep_probes(self, now: float) -> None:
        runtime = self.runtime
        for probe in list(self.probes):
            probe.check()
        config, pool = runtime.config, self.pool
        if config is None or pool is None or runtime.key is None or runtime.is_draining:
            return
        asked = {probe.model for probe in self.probes}
        for model in runtime.tiers:
            if model not in asked and wants_probe(model, now):
                probe = Probe(self, model, timeout_s=config.resilience.timeouts.first_byte_s, now=now)
                self.probes.add(probe)
                pool.send(probe, probe.request(config.resilience.breaker.probe_max_tokens))

    def end_probe(self, probe: Probe, failure: Failure | None) -> None:
        """A probe of our own was answered (`failure`: None), or was not."""
        self.probes.discard(probe)
        model, now = probe.model, self.runtime.clock()
        status = 200 if failure is None else failure.status
        upstream = model.counters[PRIMARY].upstream
        upstream[status] = upstream.get(status, 0) + 1
        if failure is None:
            self.recovery.model_succeeded(model, probe.sent_at, now)
        else:
            self.recovery.judge_model(model, failure, probe.sent_at, now)

    # -- hooks of the runtime

    def _changed(self) -> None:
        """Configuration, tiers or breakers are not what they were: whoever waits walks again."""
        self._point_at_target()
        self.flights.close_all()
        for call in (*self.admission.drain_queues(self.runtime.clock()), *self.recovery.take_stranded()):
            if not call.is_over:
                self.walk_again(call)
        self._room()

    def _room(self) -> None:
        """Leases or pool sizes have changed."""
        if self.pool is not None:
            self.pool.limit = self.runtime.connections
        self.admission.recheck(self.runtime.clock())

    def _point_at_target(self) -> None:
        runtime = self.runtime
        target = runtime.target
        if runtime.config is None or target is None:
            return
        connect_s = runtime.config.resilience.timeouts.connect_s
        self.server.patience_ticks = math.ceil(runtime.config.resilience.timeouts.stream_idle_s)
        session_header = runtime.config.session_header.encode()
        if session_header != self.session_header:
            self.session_header = session_header
            self.host = bytes(bytearray(target.host))  # another object: what was derived from heads before is derived anew
        if target is not self.target:
            self.target = target
            self.host = target.host
            for old in (self.pool, self.auxiliary):
                if old is not None:
                    old.close()
            self.server.memo.clear()
            self.pool = open_pool(target, self.dialer, limit=runtime.connections, connect_timeout_s=connect_s)
            self.auxiliary = Pool(self.dialer, target.address, limit=AUXILIARY_CONNECTIONS * len(AUXILIARY), connect_timeout_s=connect_s)
            self.loop.call_soon(self.pool.warm)
        for pool in (self.pool, self.auxiliary):
            if pool is not None:
                pool.connect_timeout_s = connect_s
        if self.pool is not None:
            self.pool.minimum = runtime.config.connections.min
