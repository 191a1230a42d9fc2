"""Keyless: the proxy shows the API its pod's identity token, and works with the access token it gets; over sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import pathlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.sidecar.rig import Rig, ask, config, proxy, run, simulator, until

from claudeops.proxyconfig import Federation, ProxyConfig
from claudeops.sidecar.credentials import Credentials
from claudeops.simulator import Simulator
from claudeops.simulator.config import Account, FederationRule

SUBJECT = "system:serviceaccount:shop:bot"
RULE = FederationRule(audience="https://api.anthropic.com", subject_prefix=SUBJECT)
FEDERATION = Federation(rule_id="fdrl_shop", organization_id=Account().organization_id)


def identity(*, subject: str = SUBJECT, audience: str = RULE.audience, valid_s: float = 3600.0) -> str:
    """A ServiceAccount token, but for its signature."""
    claims = {"sub": subject, "aud": [audience], "exp": time.time() + valid_s}
    parts = ({"alg": "RS256", "kid": "k"}, claims)
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts), "c2lnbmF0dXJl"])


def keyless(url: str, **parts: Any) -> ProxyConfig:
    return config(url, **({"federation": FEDERATION} | parts))


class Keyless:
    """A proxy whose credentials are kept as in the product, on faster sweeps."""

    def __init__(self, rig: Rig, folder: pathlib.Path) -> None:
        self.rig = rig
        self.token_path = folder / "token"
        self.key_path = folder / "api-key"
        self.credentials = Credentials(rig.runtime, key_path=str(self.key_path), identity_path=str(self.token_path))

    def follow(self, document: ProxyConfig) -> None:
        self.rig.apply(document)
        self.credentials.follow(document)

    def sweep(self) -> None:
        self.credentials.poll()
        pool = self.rig.pipeline.auxiliary
        assert pool is not None
        self.credentials.sweep(pool.send)

    async def log_in(self) -> bytes:
        """The access token that it gets for a good identity."""
        self.token_path.write_text(identity())
        await until(lambda: self.rig.runtime.key is not None)
        assert self.rig.runtime.key is not None
        return self.rig.runtime.key

    @property
    def state(self) -> Any:
        return self.credentials.describe(self.rig.runtime.clock())


@contextlib.asynccontextmanager
async def keyless_proxy(document: ProxyConfig, folder: pathlib.Path) -> AsyncIterator[Keyless]:
    async with proxy(document) as rig:
        rig.runtime.set_key(None)
        found = Keyless(rig, folder)
        found.credentials.follow(document)

        async def sweep() -> None:
            while True:
                found.sweep()
                await asyncio.sleep(0.01)

        task = asyncio.get_running_loop().create_task(sweep())
        try:
            yield found
        finally:
            task.cancel()


def api() -> Simulator:
    return simulator(federation_rules={"fdrl_shop": RULE})


@contextlib.asynccontextmanager
async def keyless_pair(folder: pathlib.Path) -> AsyncIterator[tuple[Simulator, Keyless]]:
    """An API, and a proxy that has no key for it."""
    async with api() as claude, keyless_proxy(keyless(claude.url), folder) as found:
        yield claude, found


def exchanges(of: Simulator) -> list[Any]:
    return [request for request in of.requests() if request.path == "/v1/oauth/token"]


def test_an_identity_token_is_exchanged_and_the_access_token_used(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        caplog.set_level(logging.DEBUG)
        async with keyless_pair(tmp_path) as (claude, found):
            token = await found.log_in()
            reply = await found.rig.call(ask(), headers={"anthropic-beta": "files-api-2025-04-14", "authorization": "Bearer of-the-client"})
            assert reply.status == 200, reply.body
            (sent,) = [request for request in claude.requests() if request.path == "/v1/messages"]
            names = [name.lower() for name in sent.header_names]
            assert (names.count("authorization"), names.count("anthropic-beta"), names.count("x-api-key")) == (1, 1, 0)
            assert len(exchanges(claude)) == 1
            assert found.state["source"] == "Federation"
            assert 2500 < found.state["expiresInS"] <= 3600
            for secret in (token.decode(), found.token_path.read_text()):
                assert secret not in caplog.text
                assert secret not in json.dumps(found.state)

    run(test)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "cannot read the token"),
        (identity(audience="somebody-else"), "401: invalid_grant: no federation rule matches"),
        (identity(subject="system:serviceaccount:shop:other"), "no federation rule matches"),
        (identity(valid_s=-1), "the identity token has expired"),
        ("no.jwt", "no federation rule matches"),
    ],
    ids=["absent", "audience", "subject", "expired", "no-jwt"],
)
def test_without_an_access_token_requests_are_refused_with_the_reason_until_it_heals(
    token: str | None, words: str, tmp_path: pathlib.Path
) -> None:
    async def test() -> None:
        async with keyless_pair(tmp_path) as (_, found):
            if token is not None:
                found.token_path.write_text(token)
            await until(lambda: words in (found.state["error"] or ""))
            reply = await found.rig.call(ask())
            assert (reply.status, reply.reason, reply.headers["x-should-retry"]) == (503, "credentials", "false")
            assert words in reply.json["error"]["message"]
            await found.log_in()
            assert (await found.rig.call(ask())).status == 200
            assert found.state["error"] is None

    run(test)


def test_a_token_is_replaced_before_its_end_without_a_failed_request(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        async with keyless_pair(tmp_path) as (claude, found):
            first = await found.log_in()
            jumped_s = 3400.0  # the proxy's clock alone: the API's own still honours both tokens
            clock = found.rig.runtime.clock
            found.rig.runtime.clock = lambda: clock() + jumped_s
            await until(lambda: found.rig.runtime.key != first)
            assert found.rig.runtime.key is not None
            assert (await found.rig.call(ask())).status == 200
            assert len(exchanges(claude)) == 2

    run(test)


def test_the_last_good_token_holds_until_its_end_and_no_longer(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        async with keyless_pair(tmp_path) as (_, found):
            await found.log_in()
            found.token_path.write_text("broken")
            clock = found.rig.runtime.clock
            found.rig.runtime.clock = lambda: clock() + 3400.0
            await until(lambda: "401" in (found.state["error"] or ""))
            assert (await found.rig.call(ask())).status == 200
            found.rig.runtime.clock = lambda: clock() + 3700.0
            await until(lambda: found.rig.runtime.key is None)
            reply = await found.rig.call(ask())
            assert (reply.status, reply.reason) == (503, "credentials")
            assert "no federation rule matches" in reply.json["error"]["message"]

    run(test)


def test_a_token_that_the_api_no_longer_takes_is_replaced(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        async with keyless_pair(tmp_path) as (claude, found):
            first = await found.log_in()
            claude.revoke_tokens()
            reply = await found.rig.call(ask())
            assert (reply.status, reply.reason) == (503, "credentials")
            assert "refused the access token" in reply.json["error"]["message"]
            await until(lambda: found.rig.runtime.key != first)
            assert (await found.rig.call(ask())).status == 200
            assert len(exchanges(claude)) == 2

    run(test)


def test_an_unreachable_token_endpoint_is_a_reason_too_and_heals(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        async with api() as claude:
            port = claude.port
            url = claude.url
        async with keyless_proxy(keyless(url), tmp_path) as found:
            found.token_path.write_text(identity())
            await until(lambda: "cannot connect to the upstream" in (found.state["error"] or ""))
            reply = await found.rig.call(ask())
            assert (reply.status, reply.reason) == (503, "credentials")
            async with simulator(port=port, federation_rules={"fdrl_shop": RULE}):
                await until(lambda: found.rig.runtime.key is not None)
                assert (await found.rig.call(ask())).status == 200

    run(test)


def test_a_change_between_key_and_federation_takes_effect_both_ways(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        async with keyless_pair(tmp_path) as (claude, found):
            found.key_path.write_text("sk-ant-sim-key\n")
            await found.log_in()
            client = await found.rig.connect()

            async def used() -> set[str]:
                await client.send(json.dumps(ask()).encode())
                assert (await client.read()).status == 200
                return {name.lower() for name in claude.requests()[0].header_names} & {"authorization", "x-api-key", "anthropic-beta"}

            assert await used() == {"authorization", "anthropic-beta"}
            found.follow(config(claude.url, revision=2))
            assert await used() == {"x-api-key"}
            found.follow(keyless(claude.url, revision=3))
            assert found.rig.runtime.key is None
            await until(lambda: found.rig.runtime.key is not None)
            assert await used() == {"authorization", "anthropic-beta"}

    run(test)


def test_a_key_that_comes_late_or_changes_is_used_without_a_restart(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        async with simulator() as claude, keyless_proxy(config(claude.url), tmp_path) as found:
            reply = await found.rig.call(ask())
            assert (reply.status, reply.reason) == (503, "credentials")
            found.key_path.write_text("sk-ant-wrong")
            await until(lambda: found.rig.runtime.key == b"sk-ant-wrong")
            reply = await found.rig.call(ask())
            assert (reply.status, reply.reason) == (503, "credentials")
            found.key_path.write_text("sk-ant-sim-right")
            await until(lambda: found.rig.runtime.key == b"sk-ant-sim-right")
            assert (await found.rig.call(ask())).status == 200

    run(test)
