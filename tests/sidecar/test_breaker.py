"""What opens a model's breaker, what does not, and how it closes: on real connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.sidecar.raw_upstream import raw_upstream, read_request
from tests.sidecar.recorder import Answer, message, recorder, whole
from tests.sidecar.rig import FALLBACK, PRIMARY, Rig, ask, config, proxy, resilience, run, until

from claudeops.policy.breaker import BreakerParameters
from claudeops.proxyconfig import BreakerPolicy, ModelChoice, ProxyConfig, Retry, Timeouts

ERROR = b'{"type":"error","error":{"type":"%b","message":"no"}}'
SPENT = b'{"type":"error","error":{"type":"rate_limit_error","message":"no","details":{"error_code":"enforced_spend_limit_reached"}}}'


def document(url: str, *, open_for_s: float = 30.0, consecutive_throttles: int = 2, **parts: Any) -> ProxyConfig:
    """A breaker that opens at the first error, or the second 429."""
    breaker = BreakerPolicy(minimum_requests=1, error_percent=50, consecutive_throttles=consecutive_throttles, open_for_s=open_for_s)
    retry = Retry(max_attempts=1, initial_backoff_s=0.01, max_backoff_s=0.02, budget_percent=100)
    return config(url, **({"resilience": resilience(breaker=breaker, retry=retry)} | parts))


EAGER = BreakerPolicy(minimum_requests=1, error_percent=50)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that takes requests and never answers."""
    await read_request(reader)
    await reader.read()


def state(rig: Rig) -> str:
    return rig.runtime.models[PRIMARY].breaker.state


def test_errors_of_the_client_spend_limits_and_our_own_sheds_never_count() -> None:
    async def test() -> None:
        answers: dict[str, Answer] = {
            str(status): whole(ERROR % b"invalid_request_error", status=status) for status in (400, 403, 404, 413, 422)
        }
        answers["spent"] = whole(SPENT, status=429)
        async with recorder(lambda body: answers[body["metadata"]["user_id"]]) as api, proxy(document(api.url)) as rig:
            for name, (head, _) in answers.items():
                for _ in range(3):
                    reply = await rig.call(ask(metadata={"user_id": name}))
                    assert head.startswith(b"HTTP/1.1 %d" % reply.status)
            assert len(api.seen) == 3 * len(answers), "and nothing of that is repeated"
            rig.runtime.max_in_flight = 0
            rig.pipeline.admission.latency.value = 1e6
            for _ in range(3):
                assert (await rig.call(ask())).reason in ("quota", "deadline")
            assert state(rig) == "Closed"
            assert rig.runtime.models[PRIMARY].breaker.counts(rig.runtime.clock()) == (0, 0)

    run(test)


def test_whose_patience_was_short_says_nothing_and_who_left_a_silent_upstream_does() -> None:
    async def test() -> None:
        slow = Timeouts(connect_s=1, first_byte_s=20, stream_idle_s=20, total_s=20)
        async with raw_upstream(silent) as api, proxy(document(api.url, resilience=resilience(breaker=EAGER, timeouts=slow))) as rig:
            reply = await rig.call(ask(), headers={"x-stainless-timeout": "0.1"})
            assert (reply.status, reply.reason) == (504, "upstream")
            assert (state(rig), rig.runtime.models[PRIMARY].counters[0].upstream) == ("Closed", {})
        short = Timeouts(connect_s=1, first_byte_s=20, stream_idle_s=20, total_s=0.5)
        async with raw_upstream(silent) as api, proxy(document(api.url, resilience=resilience(breaker=EAGER, timeouts=short))) as rig:
            assert (await rig.call(ask())).status == 504
            assert state(rig) == "Open", "what the workload itself allows an answer to take is no client's impatience"
        quick = Timeouts(connect_s=1, first_byte_s=0.8, stream_idle_s=20, total_s=20)
        quick_rules = resilience(breaker=EAGER, timeouts=quick)
        async with raw_upstream(silent) as api, proxy(document(api.url, resilience=quick_rules), sweep_s=30.0) as rig:
            for is_streamed, silent_s, expected in ((True, 0.0, "Closed"), (False, 0.25, "Closed"), (True, 0.25, "Open")):
                client = await rig.connect()
                await client.send(json.dumps(ask(stream=is_streamed)).encode())
                await until(lambda: rig.runtime.in_flight == 1)
                since = rig.runtime.clock()
                await until(lambda: rig.runtime.clock() >= since + silent_s)  # noqa: B023 - awaited here
                client.writer.transport.abort()
                await until(lambda: rig.runtime.in_flight == 0)
                assert state(rig) == expected, (is_streamed, silent_s)
            assert rig.runtime.models[PRIMARY].counters[0].upstream == {504: 1}

    run(test)


def test_a_burst_of_429s_counts_once() -> None:
    async def test() -> None:
        everybody = asyncio.Event()
        arrived: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, body = await read_request(reader)
            arrived.append(body)
            await everybody.wait()
            head, (data,) = whole(ERROR % b"rate_limit_error", status=429)
            writer.write(head + b"\r\n\r\n" + data)
            await writer.drain()

        async with raw_upstream(script) as api, proxy(document(api.url)) as rig:
            calls = [asyncio.ensure_future(rig.call(ask())) for _ in range(10)]
            await until(lambda: len(arrived) == 10)
            everybody.set()
            assert {reply.status for reply in await asyncio.gather(*calls)} == {429}
            assert rig.runtime.models[PRIMARY].breaker.throttles == 1
            assert state(rig) == "Closed"

    run(test)


def test_half_open_one_request_probes_and_the_others_go_on_elsewhere() -> None:
    async def test() -> None:
        both = ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,))
        is_well = False

        def answer(body: Any) -> Answer:
            if body["model"] == PRIMARY and not is_well:
                return whole(ERROR % b"overloaded_error", status=529)
            return whole(message())

        async with recorder(answer) as api, proxy(document(api.url, model=both), sweep_s=30.0) as rig:
            assert (await rig.call(ask())).headers["x-claudeops-model"] == FALLBACK
            breaker = rig.runtime.models[PRIMARY].breaker
            for is_well in (False, True):
                assert breaker.state == "Open"
                breaker.reopen_at = 0.0
                api.seen.clear()
                replies = await asyncio.gather(*(rig.call(ask()) for _ in range(8)))
                assert {reply.status for reply in replies} == {200}
                probes = [body for _, body in api.seen if json.loads(body)["model"] == PRIMARY]
                assert len(probes) == 1 or is_well, "behind a probe that was well all go there again"
            assert state(rig) == "Closed"

    run(test)


def test_a_probe_of_our_own_is_small_and_never_beside_another() -> None:
    async def test() -> None:
        failed = asyncio.Event()

        def answer(body: Any) -> Answer:
            if not failed.is_set():
                failed.set()
                return whole(ERROR % b"api_error", status=500)
            head, pieces = whole(message())
            return head, (pieces[0][:5],)  # the rest never comes

        async with recorder(answer) as api, proxy(document(api.url, open_for_s=0.05), sweep_s=0.01) as rig:
            assert (await rig.call(ask())).status == 500
            breaker = rig.runtime.models[PRIMARY].breaker
            breaker.parameters = BreakerParameters(open_s=3600.0)
            await until(lambda: len(api.seen) == 2)
            for _ in range(20):
                rig.pipeline.sweep()
            assert len(rig.pipeline.probes) == 1
            await rig.call(ask())
            assert len(api.seen) == 2
            assert api.last["max_tokens"] <= 50
            assert b"stream" not in api.seen[-1][1]

    run(test)


def test_a_token_count_that_is_called_off_leaves_the_running_probe_alone() -> None:
    async def test() -> None:
        failed = asyncio.Event()

        def answer(_: Any) -> Answer:
            if not failed.is_set():
                failed.set()
                return whole(ERROR % b"api_error", status=500)
            return whole(b"{}")[0], (b"{",)  # the rest never comes

        async with recorder(answer) as api, proxy(document(api.url, open_for_s=0.05), sweep_s=0.01) as rig:
            assert (await rig.call(ask())).status == 500
            rig.runtime.models[PRIMARY].breaker.parameters = BreakerParameters(open_s=3600.0)
            await until(lambda: len(rig.pipeline.probes) == 1 and len(api.seen) == 2)
            client = await rig.connect()
            await client.send(json.dumps({"model": PRIMARY, "messages": ask()["messages"]}).encode(), path="/v1/messages/count_tokens")
            await until(lambda: len(api.seen) == 3)
            assert rig.pipeline.admission.auxiliary_in_flight == 1
            probe_at = rig.runtime.models[PRIMARY].breaker.probe_at
            client.close()
            await until(lambda: rig.pipeline.admission.auxiliary_in_flight == 0)
            assert rig.runtime.models[PRIMARY].breaker.probe_at == probe_at

    run(test)
