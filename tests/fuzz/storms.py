"""Fuzz target: everything at once, on a clock of its own. Clients of all kinds come, wait, leave; the API fails in every way that the
simulator knows; configurations, leases, flips and keys change meanwhile; at last the proxy drains.

Whatever happened: each request is answered once, as it should be, or was left; nothing holds a place, a stream, a connection or a timer;
what was debited and given back adds up to what the limiters hold; tokens and requests are those that the simulator has counted; and every
breaker has closed again."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.fuzz.book import Book
from tests.fuzz.choices import Choices
from tests.sidecar.rig import FALLBACK, KEY, PRIMARY, Client, Reply, ask, config, resilience
from tests.virtual_loop import VirtualLoop, run_virtually

from claudeops.catalogue import RateLimits
from claudeops.exchange import Assignment, Flip, Lease, Rates
from claudeops.policy.breaker import CLOSED
from claudeops.proxyconfig import BreakerPolicy, Connections, Limits, ModelChoice, ProxyConfig, Queue, Retry, Timeouts
from claudeops.sidecar.pipeline import Pipeline
from claudeops.sidecar.runtime import Runtime
from claudeops.simulator import Simulator
from claudeops.simulator.config import SimulatorConfig
from claudeops.simulator.fault import Fault

GROUPS = {PRIMARY: "sonnet-4.x", FALLBACK: "haiku-5.5"}
AUXILIARY = ("count-tokens", "other", "batches")
WITHIN_S = 20.0
"""So long new requests come."""
QUIET_S = 400.0
"""So long after the last of them all must be over: more than any time limit, pause or retry-after here."""
FINAL = {"policy", "credentials"}
WAITED = {"quota", "queue_full", "deadline", "breaker_open", "draining", "not_ready"}
FAULTS: list[dict[str, Any]] = [
    {"kind": "throttle", "retry_after_s": 1},
    {"kind": "throttle", "retry_after_s": 4},
    {"kind": "overloaded"},
    {"kind": "error500"},
    {"kind": "stream_error", "after_events": 0},
    {"kind": "stream_error", "after_events": 2},
    {"kind": "reset"},
    {"kind": "reset", "after_events": 0},
    {"kind": "reset", "after_events": 2},
    {"kind": "garbage"},
    {"kind": "garbage", "after_events": 1},
    {"kind": "half_json", "after_events": 1},
    {"kind": "slow", "delay_s": 2.0, "factor": 0.3},
    {"kind": "slow", "delay_s": 9.0},
    {"kind": "error", "code": "enforced_spend_limit_reached"},
    {"kind": "error", "code": "ramp_limit_exceeded", "retry_after_s": 2},
    {"kind": "error", "code": "conflict_error"},
    {"kind": "error", "code": "invalid_request_error"},
    {"kind": "error", "code": "authentication_error"},
    {"kind": "refusal"},
    {"kind": "big_event", "after_events": 1, "size_bytes": 300_000},
]


def check(data: bytes) -> None:
    """One storm."""
    with complaints() as lines:
        run_virtually(lambda loop: Storm(loop, Choices(data), seed=len(data)).run())
        assert not lines, lines


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What is logged as a warning or worse."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


class Storm:
    """One run. ``replies`` counts (status, reason) of whole answers, ``broken`` streams that ended with an error event."""

    def __init__(self, loop: VirtualLoop, choices: Choices, *, seed: int) -> None:
        self.loop = loop
        self.choices = choices
        self.seed = seed
        self.replies: Counter[tuple[int, str]] = Counter()
        self.broken = self.left = self.sent = self.batches = 0
        self.open = 0
        self.apis: tuple[Simulator, ...] = ()
        self.runtime: Runtime
        self.pipeline: Pipeline
        self.books: dict[str, Book] = {}
        self.port = 0
        self.revision = self.version = 0

    async def run(self) -> None:
        choices = self.choices
        limits = RateLimits(60, 60_000, 20_000) if choices.chance(25) else RateLimits(6_000, 10_000_000, 1_000_000)
        settings = SimulatorConfig(tier=None, limits=dict.fromkeys(GROUPS.values(), limits), output_median_tokens=60.0, seed=self.seed)
        async with Simulator(settings) as one, Simulator(settings) as other:
            self.apis = (one, other)
            self.runtime = runtime = Runtime(self.loop.clock, wall_clock=self.loop.time, rng=Random(self.seed))
            self.pipeline = pipeline = Pipeline(self.loop, runtime)
            runtime.apply_config(self._config(), runtime.clock())
            runtime.set_key(KEY)
            for name in (*GROUPS.values(), *AUXILIARY):
                group: Any = runtime.group(name, runtime.clock())
                group.limiter = self.books[name] = Book(group.limiter)
            server = await self.loop.create_server(pipeline.new_connection, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            sweeper = self.loop.create_task(self._sweep())
            try:
                await self._blow()
            finally:
                sweeper.cancel()
                server.close()
                pipeline.close()
                await asyncio.sleep(0.01)
        self._check()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.pipeline.sweep()
            probed = [probe.model.id for probe in self.pipeline.probes]
            if len(set(probed)) < len(probed):
                self.loop.errors.append(f"two probes at a time: {probed}")

    # -- what happens

    async def _blow(self) -> None:
        choices = self.choices
        self.loop.connecting = self._connecting
        spread_s = choices.one_of((WITHIN_S, WITHIN_S, 2.0))
        plan: list[tuple[float, Any]] = [(choices.below(256) / 255 * spread_s, self._visit) for _ in range(8 + choices.below(40))]
        happenings = [self._set_faults, self._set_faults, self._reconfigure, self._assign, self._assign, self._take_key]
        for _ in range(choices.below(12)):
            plan.append((choices.below(256) / 255 * WITHIN_S, choices.one_of(happenings)))
        drains_at = choices.below(256) / 255 * WITHIN_S * 2 if choices.chance(30) else None
        if drains_at is not None:
            plan.append((drains_at, self.pipeline.start_drain))
        plan.append((WITHIN_S * 1.5, self._clear_up))
        async with asyncio.timeout(WITHIN_S + QUIET_S):
            await asyncio.gather(*(self._later(at_s, what) for at_s, what in plan))
        await asyncio.sleep(120.0)

    async def _later(self, at_s: float, what: Any) -> None:
        await asyncio.sleep(at_s)
        work = what()
        if work is not None:
            await work

    def _connecting(self, port: int) -> float:
        return self.choices.one_of((0.0, 0.0, 0.0, 0.01, 0.4, 3.0, -0.001, -0.5)) if any(port == api.port for api in self.apis) else 0.0

    def _clear_up(self) -> None:
        """The weather is fine again."""
        for api in self.apis:
            api.set_faults([])
        self.loop.connecting = lambda port: 0.0
        self.runtime.set_key(KEY)
        self.version += 1
        self.assign(Assignment(epoch=1, version=self.version, ttl_s=10_000.0))

    def _set_faults(self) -> None:
        choices = self.choices
        faults = []
        for _ in range(choices.below(4)):
            fault = dict(choices.one_of(FAULTS)) | {"probability": choices.one_of((0.1, 0.3, 1.0))}
            if choices.chance(60):
                fault["model"] = choices.one_of((PRIMARY, PRIMARY, FALLBACK))
            if choices.chance(20):
                fault["count"] = 1 + choices.below(8)
            faults.append(Fault(**fault))
        for api in self.apis:
            api.set_faults(faults)

    def _take_key(self) -> None:
        self.runtime.set_key(None)
        self.loop.call_later(self.choices.one_of((0.1, 2.0)), self.runtime.set_key, KEY)

    def _reconfigure(self) -> None:
        self.runtime.apply_config(self._config(), self.runtime.clock())

    def _config(self) -> ProxyConfig:
        choices = self.choices
        self.revision += 1
        names = choices.one_of(((PRIMARY, FALLBACK), (PRIMARY, FALLBACK), (PRIMARY,), (FALLBACK, PRIMARY)))
        return config(
            choices.one_of((*self.apis[:1] * 3, self.apis[1])).url,
            revision=self.revision,
            model=ModelChoice(name=names[0], fallbacks=names[1:], client_choice=choices.one_of(("Never", "Never", "Allowed"))),
            single_flight=choices.one_of(("Identical", "Identical", "Off")),
            endpoints=choices.one_of((("Batches",), ())),
            prompt_cache=choices.one_of(("Client", "Always")),
            limits=Limits(
                max_in_flight=choices.one_of((None, 1, 2, 5)),
                queue=Queue(max_wait_s=choices.one_of((1.0, 5.0, 20.0)), max_length=choices.one_of((1, 5, 100))),
            ),
            connections=Connections(min=choices.one_of((0, 2)), max=choices.one_of((1, 3, 50))),
            resilience=resilience(
                retry=Retry(
                    max_attempts=choices.one_of((1, 2, 4)), initial_backoff_s=choices.one_of((0.1, 2.0)), max_backoff_s=5.0,
                    budget_percent=choices.one_of((0.0, 20.0, 100.0)),
                ),
                breaker=BreakerPolicy(
                    consecutive_throttles=choices.one_of((1, 3, 5)), minimum_requests=choices.one_of((1, 3, 20)), window_s=10.0,
                    open_for_s=choices.one_of((1.0, 6.0)),
                ),
                timeouts=Timeouts(
                    connect_s=1.0, first_byte_s=choices.one_of((2.0, 20.0)), stream_idle_s=choices.one_of((1.0, 20.0)),
                    total_s=choices.one_of((8.0, 60.0)),
                ),
            ),
        )  # fmt: skip

    def _assign(self) -> None:
        choices = self.choices
        self.version += 1
        leases = {}
        for group in GROUPS.values():
            if choices.chance(70):
                requests, tokens, output = choices.one_of(((0.5, 200.0, 60.0), (2.0, 2_000.0, 120.0), (50.0, 1e6, 1e5), (0.0, 0.0, 0.0)))
                rates = Rates(requests=requests, input_tokens=tokens, output_tokens=output)
                leases[group] = Lease(rates=rates, is_contended=bool(choices.below(2)))
        flips = [Flip(model=PRIMARY, may_probe=bool(choices.below(2)))] if choices.chance(30) else []
        self.assign(
            Assignment(
                epoch=1, version=self.version, ttl_s=choices.one_of((2.0, 15.0)), leases=leases, flips=flips,
                connections=choices.one_of((None, 1, 4)), max_in_flight=choices.one_of((None, None, 2)),
                retry_budget_scale=choices.one_of((1.0, 0.0)),
            )
        )  # fmt: skip

    def assign(self, assignment: Assignment) -> None:
        now = self.runtime.clock()
        self.runtime.apply_assignment(assignment, sent_at=now, now=now)

    # -- clients

    async def _visit(self) -> None:
        """One client: a request or two on one connection, and perhaps it leaves before the answer."""
        choices = self.choices
        kind = choices.one_of(("json", "json", "json", "json", "stream", "stream", "stream", "count", "models", "batch"))
        body, headers = self._request(kind)
        leaves_after_s = choices.one_of((0.001, 0.05, 0.5, 1.5, 4.0)) if choices.chance(30) else None
        rounds = 2 if leaves_after_s is None and choices.chance(15) else 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        client = Client(reader, writer)
        try:
            if choices.chance(5):
                return await self._break_off(client, body)
            for _ in range(rounds):
                await self._send(client, kind, body, headers)
            if choices.chance(5):
                writer.write_eof()
            if choices.chance(15):
                await asyncio.sleep(3.0)  # and reads nothing meanwhile
            if leaves_after_s is None:
                await self._wait(client, kind, rounds)
            else:
                await self._leave(client, kind, leaves_after_s)
        finally:
            writer.transport.abort()

    def _request(self, kind: str) -> tuple[dict[str, Any], dict[str, str]]:
        choices = self.choices
        body = ask(choices.one_of(("same", "same", "same", "other", "x" * 3_000)), max_tokens=choices.one_of((20, 400)))
        body["model"] = choices.one_of((PRIMARY, PRIMARY, FALLBACK, "claude-nobody"))
        if choices.chance(20):
            body["temperature"] = 0.5
        if choices.chance(20):
            body["system"] = [{"type": "text", "text": "Manual. " * 2_000, "cache_control": {"type": "ephemeral"}}]
        if kind == "stream":
            body["stream"] = True
        headers = {}
        if choices.chance(30):
            headers["x-stainless-timeout"] = choices.one_of(("1", "3", "10"))
        if choices.chance(30):
            headers["x-claudeops-priority"] = "background"
        if choices.chance(40):
            headers["x-claudeops-session"] = choices.one_of(("a", "b"))
        return body, headers

    async def _send(self, client: Client, kind: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        self.sent += 1
        self.open += 1
        if kind == "batch":
            self.batches += 1
            items = [{"custom_id": f"item-{number}", "params": body} for number in range(4)]
            await client.send(json.dumps({"requests": items}).encode(), path="/v1/messages/batches", headers=headers)
        elif kind == "models":
            await client.send(b"", path="/v1/models", method="GET", headers=headers)
        elif kind == "count":
            counted = {name: value for name, value in body.items() if name != "max_tokens"}
            await client.send(json.dumps(counted).encode(), path="/v1/messages/count_tokens", headers=headers)
        else:
            await client.send(json.dumps(body).encode(), headers=headers)

    async def _break_off(self, client: Client, body: dict[str, Any]) -> None:
        """The client leaves before its request is whole."""
        client.writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + json.dumps(body).encode()[:50])
        await asyncio.sleep(0.5)

    async def _wait(self, client: Client, kind: str, rounds: int) -> None:
        """Behind an answer that says so the connection ends; one that drains may do so before it has seen what was sent."""
        while rounds:
            try:
                reply = await client.read()
            except asyncio.IncompleteReadError as error:
                assert self.runtime.is_draining and not error.partial
                break
            self._judge(reply, kind)
            rounds -= 1
            if reply.headers.get("connection") == "close":
                break
        self.sent -= rounds
        self.open -= rounds

    async def _leave(self, client: Client, kind: str, after_s: float) -> None:
        """The answer may come before."""
        try:
            async with asyncio.timeout(after_s):
                self._judge(await client.read(), kind)
        except TimeoutError:
            self.open -= 1
            self.left += 1
            sock = client.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _judge(self, reply: Reply, kind: str) -> None:
        """The answer must be whole and in the API's form."""
        self.open -= 1
        reason = reply.reason or ""
        if reply.status != 200:
            document = reply.json
            assert document["type"] == "error" and document["error"]["message"], reply.body
        elif reply.headers["content-type"].startswith("text/event-stream"):
            last = reply.events[-1][0]
            assert last in ("message_stop", "error"), reply.body[-300:]
            self.broken += last == "error"
        else:
            assert reply.json
        if reason in WAITED:
            assert 1 <= int(reply.headers["retry-after"]) <= 60, reply.headers
        assert reply.headers.get("x-should-retry") == "false" or reason not in FINAL
        self.replies[reply.status, reason] += 1

    # -- what must hold

    def _check(self) -> None:
        runtime, pipeline = self.runtime, self.pipeline
        assert self.open == 0
        assert (runtime.in_flight, runtime.queued) == (0, 0)
        assert not pipeline.flights.open and not pipeline.probes and not pipeline.recovery.backing_off
        for name, group in runtime.groups.items():
            gate = group.limiter.gate
            assert (group.in_flight, gate.in_flight, gate.streams, group.queue.waiting) == (0, 0, 0, 0), name
            assert abs(group.queued_input) < 1e-6 and group.queue.first() is None and not group.queue.sessions, name
        for pool in (pipeline.pool, pipeline.auxiliary):
            assert pool is not None
            assert (pool.busy, pool.opening, pool.promised, pool.waiting, pool.tasks) == (0, 0, 0, {}, set())
        for model in runtime.tiers:
            assert model.breaker.state == CLOSED or runtime.is_draining, (model.id, model.breaker.state, model.breaker.reason)
        assert not pipeline.server.connections
        assert not [name for name in self.loop.timers() if not name.startswith("claudeops.simulator.")], self.loop.timers()
        self._check_answers()
        for name, book in self.books.items():
            book.check(name, runtime.clock())
        self._check_use()

    def _check_answers(self) -> None:
        """Each request was counted once, as what the client has seen."""
        counted: Counter[tuple[int, str]] = Counter()
        for model in self.runtime.models.values():
            for counters in model.counters:
                counted.update(counters.requests)
        for group in self.runtime.groups.values():
            counted.update(group.counters.answers)
        assert sum(counted.values()) == self.sent, (counted, self.replies, self.left)
        for key, number in self.replies.items():
            if key[1]:
                assert counted[key] >= number, (key, counted, self.replies)

    def _check_use(self) -> None:
        all_stats = [api.stats() for api in self.apis]
        faults = {name for stats in all_stats for name in stats.by_fault}
        guessed = sum(used.guessed.tokens().prompt for used in self.runtime.ledger.values())
        unknown = sum(sum(used.unknown.values()) for used in self.runtime.ledger.values())
        for model, name in GROUPS.items():
            served = [group.used for stats in all_stats if (group := stats.group(name)) is not None]
            used = self.runtime.groups[name].counters
            assert used.used_requests == sum(one.requests for one in served), (name, faults)
            account = self.runtime.ledger.get(model)
            if account is None or guessed or unknown:
                continue
            tokens = account.tokens()
            assert tokens.input + tokens.cache_write_5m + tokens.cache_write_1h == sum(one.input_tokens for one in served), name
            assert tokens.cache_read == sum(one.cache_read_tokens for one in served), name
            is_cut = self.left or self.broken or "stream_error" in faults  # then only message_start has named an output
            if not (is_cut or account.guessed.tokens().output):
                assert tokens.output == round(sum(one.output_tokens for one in served)), name
