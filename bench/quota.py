"""How much of the organisation's limit three proxies use, and what it costs in 429s: simulator, fleet exchange and proxies, all real."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import pathlib
import random
import ssl
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bench.machine import free_port, running, wait_for_port
from bench.result import Row, record
from bench.subject import Subject, our_proxy
from claudeops.exchange import PATH, TOKEN_AUDIENCE
from claudeops.fleet import Denied, ExchangeHooks, ExchangeServer, Fleet, Identity
from claudeops.fleet.certificates import issue_authority, issue_serving
from claudeops.proxyconfig import BreakerPolicy, Connections, ControllerAddress, ModelChoice, ProxyConfig, Rates, Upstream, WorkloadKey
from claudeops.translate.terms import QuotaTerms, WorkloadTerms

MODEL, GROUP, SERVER_NAME = "claude-sonnet-5-5", "sonnet-5.5", "exchange.bench.svc"
WORKLOAD = WorkloadKey(namespace="bench", name="bench")
LIMITS = Rates(requests_per_minute=600, input_tokens_per_minute=600_000, output_tokens_per_minute=120_000)
MEAN_OUTPUT_TOKENS = 482.0
"""Of a log-normal with median 350 and sigma 0.8."""
DEMAND = 3.0
INSTANCES = ("pod-0", "pod-1", "pod-2")
SEED = 7
BARRED_BURST_S = 5.0
WORDS = ("alpha", "bravo", "carbon", "delta", "ember", "forest", "granite", "harbor")


class Outcome(NamedTuple):
    """What the referee and the callers saw between the two marks."""

    burst_s: float
    used_percent: dict[str, float]
    upstream_requests: int
    upstream_throttled: int
    answers: dict[str, int]

    @property
    def binding_percent(self) -> float:
        """Use of the limit that binds."""
        return max(self.used_percent.values())

    @property
    def throttled_percent(self) -> float:
        """429s of the API in percent of what was sent."""
        return 100.0 * self.upstream_throttled / max(1, self.upstream_requests + self.upstream_throttled)


@contextlib.asynccontextmanager
async def exchange(folder: pathlib.Path, document: ProxyConfig, limits: Rates = LIMITS) -> AsyncIterator[ProxyConfig]:
    """The fleet and its server in this process; yields the document with the controller's address in it."""
    now = datetime.datetime.now(datetime.UTC)
    authority = issue_authority(now)
    serving = issue_serving(authority, (SERVER_NAME,), now)
    pair = folder / "pair.pem"
    pair.write_text(serving.key + serving.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    fleet = Fleet(wall_offset_s=time.time() - time.monotonic())
    fleet.begin(1, time.monotonic())
    server = ExchangeServer(fleet, ExchangeHooks(authenticate=_identify), ssl_context=context)
    port = await server.start("127.0.0.1", 0)
    address = ControllerAddress(
        url=f"https://127.0.0.1:{port}{PATH}", server_name=SERVER_NAME, ca_bundle=authority.certificate, audience=TOKEN_AUDIENCE
    )
    document = msgspec.structs.replace(document, controller=address)
    fleet.set_quota(QuotaTerms(name="bench", upstream=document.upstream.base_url, limits=MappingProxyType({GROUP: limits})))
    fleet.set_workload(_terms(), document)
    fleet.observe(WORKLOAD, expected=len(INSTANCES), replicas=len(INSTANCES))
    server.touch()
    try:
        yield document
    finally:
        await server.stop()


class Callers:
    """An open-loop Poisson stream of requests to one proxy; half of them streamed. A refusal is not repeated."""

    def __init__(self, port: int, rate_per_s: float, seed: int) -> None:
        self._port = port
        self._rate_per_s = rate_per_s
        self._dice = random.Random(seed)
        self.answers: Counter[str] = Counter()

    async def run(self, duration_s: float) -> None:
        """Sends for this long; ends when every caller has its answer."""
        end = time.monotonic() + duration_s
        due = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            while due < end:
                due += self._dice.expovariate(self._rate_per_s)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                calls.create_task(self._call(self._body()))

    def _body(self) -> bytes:
        words = round(self._dice.lognormvariate(6.3, 0.8))
        text = " ".join(self._dice.choices(WORDS, k=min(20_000, words)))
        message = {"role": "user", "content": text}
        return json.dumps({"model": MODEL, "max_tokens": 8192, "stream": self._dice.random() < 0.5, "messages": [message]}).encode()

    async def _call(self, body: bytes) -> None:
        head = (
            f"POST /v1/messages HTTP/1.1\r\nhost: bench\r\nx-api-key: x\r\nanthropic-version: 2023-06-01\r\n"
            f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(head.encode() + body)
            answer = await reader.read(-1)
            writer.close()
        except OSError as error:
            self.answers[type(error).__name__] += 1
            return
        lines = answer.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")
        reason = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("x-claudeops-reason:")), "")
        self.answers[f"{lines[0].split(' ')[1]} {reason}".strip()] += 1


async def measure(burst_s: float, warm_s: float, window_s: float) -> Outcome:
    """One run: warm up, then the window."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        port = free_port()
        limits = ",".join(
            str(int(rate or 0)) for rate in (LIMITS.requests_per_minute, LIMITS.input_tokens_per_minute, LIMITS.output_tokens_per_minute)
        )
        command = [
            *(sys.executable, "-m", "claudeops", "simulate", "--port", str(port), "--tier", "none", "--limit", f"{GROUP}={limits}"),
            *("--burst-s", str(burst_s), "--seed", str(SEED), "--output-median", "350", "--tokens-per-event", "10"),
        ]
        wait_for_port(port, stack.enter_context(running(command, log=folder / "simulator.log")))
        document = ProxyConfig(
            revision=1,
            workload=WORKLOAD,
            upstream=Upstream(base_url=f"http://127.0.0.1:{port}"),
            model=ModelChoice(name=MODEL),
            connections=Connections(min=4, max=200),
        )
        async with exchange(folder, document) as shared:
            subjects: list[Subject] = []
            for instance in INSTANCES:
                subjects.append(await asyncio.to_thread(stack.enter_context, our_proxy(folder / instance, shared, instance=instance)))
            limit_rps = (LIMITS.output_tokens_per_minute or 0.0) / 60.0 / MEAN_OUTPUT_TOKENS
            rate_per_s = DEMAND * limit_rps / len(subjects)
            callers = [Callers(subject.port, rate_per_s, SEED + number) for number, subject in enumerate(subjects)]
            load = asyncio.gather(*(caller.run(warm_s + window_s) for caller in callers))
            await asyncio.sleep(warm_s)
            before = await asyncio.to_thread(referee, port)
            await asyncio.sleep(window_s)
            after = await asyncio.to_thread(referee, port)
            await load
            answers = sum((caller.answers for caller in callers), Counter())
            if not answers["200"]:
                raise RuntimeError(f"nothing was answered: {answers}")
            return _outcome(burst_s, before, after, answers)


def referee(port: int) -> dict[str, Any]:
    """What was really used of the group's limits so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_sim/stats", timeout=5) as answer:
        stats = json.load(answer)
    used: dict[str, float] = next((group["used"] for group in stats["groups"] if group["group"] == GROUP), {})
    return {"now": stats["now"], **{field: used.get(field, 0) for field in ("requests", "input_tokens", "output_tokens", "throttled")}}


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bursts", type=float, nargs="+", default=[5.0, 1.0, 60.0])
    parser.add_argument("--warm-s", type=float, default=20.0)
    parser.add_argument("--window-s", type=float, default=120.0)
    args = parser.parse_args()
    rows, details = [], {}
    for burst_s in args.bursts:
        outcome = asyncio.run(measure(burst_s, args.warm_s, args.window_s))
        sent = outcome.upstream_requests + outcome.upstream_throttled
        throttled = f"{outcome.throttled_percent:.2f} % ({outcome.upstream_throttled} of {sent})"
        what = f"share of the organisation's limit used · 429s of the API, 3 proxies, {DEMAND:g} × demand, burst {burst_s:g} s"
        bar = "≥ 95 % · ≤ 0.2 %" if burst_s == BARRED_BURST_S else "reported"
        rows.append(Row(what, bar, f"{outcome.binding_percent:.1f} % · {throttled}", outcome.binding_percent, "%"))
        details[f"burst_{burst_s:g}_s"] = outcome._asdict()
        print(f"  burst {burst_s:g} s: {outcome}", flush=True)
    record("quota", rows, details)


async def _identify(token: str) -> Identity | Denied:
    return Identity(instance=token, workload=WORKLOAD) if token in INSTANCES else Denied("no proxy of this bench")


def _terms() -> WorkloadTerms:
    return WorkloadTerms(
        workload=WORKLOAD,
        quota="bench",
        tiers=(MODEL,),
        groups=MappingProxyType({MODEL: GROUP}),
        weight=100,
        guaranteed=Rates(),
        maximum=Rates(),
        max_in_flight=None,
        connections=Connections(min=4, max=200),
        breaker=BreakerPolicy(),
        scaling=None,
        objectives=(),
    )


def _outcome(burst_s: float, before: dict[str, Any], after: dict[str, Any], answers: Counter[str]) -> Outcome:
    minutes = (after["now"] - before["now"]) / 60.0
    limits = {
        "requests": LIMITS.requests_per_minute,
        "input_tokens": LIMITS.input_tokens_per_minute,
        "output_tokens": LIMITS.output_tokens_per_minute,
    }
    used = {field: round(100.0 * (after[field] - before[field]) / (minutes * (limit or 1.0)), 2) for field, limit in limits.items()}
    requests, throttled = (after[field] - before[field] for field in ("requests", "throttled"))
    return Outcome(burst_s, used, int(requests), int(throttled), dict(answers))


if __name__ == "__main__":
    main()
