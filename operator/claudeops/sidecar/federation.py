"""Keyless: this pod's ServiceAccount token becomes a short-lived access token of the API, again and again before it expires."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import Final

from claudeops.errors import ClaudeOpsError, UpstreamTimeout, UpstreamUnavailable
from claudeops.policy.backoff import full_jitter_s
from claudeops.proxyconfig import Federation
from claudeops.sidecar.config import TokenFile
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.tokenformat import AccessToken, exchange_request, read_answer
from claudeops.wire.transit import Transit

TIMEOUT_S: Final = 30.0
"""For one exchange, as in the API's SDKs."""
MARGIN_S: Final = 120.0
"""A token is replaced this long before its end, as in the API's SDKs, or with a fifth of a longer life left; a very short one (the
least is 60 s) after half of it."""
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_LAST_S: Final = 60.0
REFUSED_EVERY_S: Final = 10.0
_LOG = logging.getLogger("claudeops.sidecar.federation")
Send = Callable[[Transit, tuple[bytes, bytes]], None]


def renewal_delay_s(lifetime_s: float, rng: Random) -> float:
    """How long a token of this lifetime is used before the next one is asked for; jittered by a tenth, so that a fleet that started
    together does not ask together."""
    margin_s = min(lifetime_s / 2.0, max(MARGIN_S, lifetime_s / 5.0))
    return (lifetime_s - margin_s) * rng.uniform(0.9, 1.0)


class TokenSource:
    """Keeps ``runtime``'s credentials while the configuration asks for federation. The last good token holds until its own end."""

    def __init__(self, runtime: Runtime, identity: TokenFile) -> None:
        self._runtime = runtime
        self._identity = identity
        self._federation: Federation | None = None
        self._exchange: Exchange | None = None
        self._due_at = self._refused_at = float("-inf")
        self._failures = 0
        self.expires_at = 0.0
        """By the runtime's clock; 0.0 without a token."""
        self.error = "not asked yet"

    def follow(self, federation: Federation | None) -> None:
        """Another federation, or none, is in force: what was asked for the one before is not used."""
        if self._exchange is not None:
            self._exchange.drop_upstream()
            self._exchange = None
        self._federation = federation
        self._failures = 0
        self._due_at = float("-inf")
        self.expires_at = 0.0
        self.error = "not asked yet"

    def sweep(self, now: float, send: Send) -> None:
        """Once a second: ask when it is time, give up what is not answered, and let go of a token that is over."""
        if self._federation is None:
            return
        if self.expires_at and now >= self.expires_at:
            self.expires_at = 0.0
            self._runtime.set_token(None)
        if self._exchange is not None:
            self._exchange.check()
        elif now >= self._due_at:
            self._ask(self._federation, now, send)

    def refused(self, now: float) -> None:
        """The API did not take the token: ask for another one, and not again for a while. The old one is used meanwhile."""
        if self._federation is not None and now - self._refused_at >= REFUSED_EVERY_S:
            self._refused_at = now
            self._due_at = float("-inf")

    def _ask(self, federation: Federation, now: float, send: Send) -> None:
        target = self._runtime.target
        assert target is not None, "a configuration is in force"
        try:
            request = exchange_request(federation, self._identity.read(), host=target.host, prefix=target.prefix)
        except ClaudeOpsError as error:
            return self._fail(str(error), now)
        self._exchange = Exchange(self, now)
        send(self._exchange, request)

    def answered(self, exchange: Exchange, token: AccessToken | ClaudeOpsError) -> None:
        """The end of an exchange."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        now = self._runtime.clock()
        if isinstance(token, ClaudeOpsError):
            return self._fail(str(token), now)
        self.expires_at = exchange.sent_at + token.expires_in
        self._due_at = exchange.sent_at + renewal_delay_s(token.expires_in, self._runtime.rng)
        self._failures = 0
        self._runtime.set_token(token.access_token.encode("ascii"))
        if self.error:
            _LOG.info("access token in use", extra={"lifetimeS": token.expires_in})
        self.error = ""

    def now(self) -> float:
        """The runtime's clock."""
        return self._runtime.clock()

    def _fail(self, reason: str, now: float) -> None:
        self._due_at = now + 0.5 + full_jitter_s(self._failures, BACKOFF_FIRST_S, BACKOFF_LAST_S, self._runtime.rng)
        self._failures += 1
        if reason != self.error:
            _LOG.warning("no access token; one got before stays in use until it expires", extra={"reason": reason})
        self.error = reason
        self._runtime.key_error = f"no access token: {reason}"


class Exchange(Transit):
    """One request to the token endpoint."""

    __slots__ = ("body", "sent_at", "source", "status")

    def __init__(self, source: TokenSource, now: float) -> None:
        super().__init__()
        self.source = source
        self.sent_at = now
        self.status = 0
        self.body = b""

    def response(self, status: int, head: bytes, body: bytes, is_complete: bool) -> None:
        self.status = status
        self.more(body, is_complete)

    def more(self, body: bytes, is_complete: bool) -> None:
        self.body += body
        if is_complete:
            self.source.answered(self, self._read())

    def _read(self) -> AccessToken | ClaudeOpsError:
        try:
            return read_answer(self.status, self.body)
        except ClaudeOpsError as error:
            return error

    def failed(self, reason: str, *, is_unreachable: bool) -> None:
        self.source.answered(self, UpstreamUnavailable(reason))

    def check(self) -> None:
        if self.source.now() - self.sent_at >= TIMEOUT_S:
            self.drop_upstream()
            self.source.answered(self, UpstreamTimeout("the API's token endpoint did not answer in time"))

    def client_gone(self) -> None:
        """There is no client."""

    def client_slow(self, is_slow: bool) -> None:
        """There is no client."""
