"""``POST /v1/oauth/token``: identity tokens in, short-lived access tokens out, for the federation rules of the configuration.

Facts from ``anthropic.lib.credentials`` and ``types.organization.federation`` of the Python SDK 2.12. Signatures are not checked: a token
counts as signed by a trusted issuer when it has three parts and claims that fit its rule.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable

import msgspec

from claudeops.simulator.call import Call
from claudeops.simulator.config import Account, FederationRule, SimulatorConfig
from claudeops.simulator.http import Request
from claudeops.simulator.reply import Answer, Problem

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
API_BETA = "oauth-2025-04-20"
EXCHANGE_BETA = "oidc-federation-2026-04-01"
ACCESS_PREFIX = "sk-ant-oat01-sim"
SHORTEST_LIFE_S = 60


class TokenProblem(Problem, frozen=True):
    """A refusal in OAuth's shape (RFC 6749 section 5.2): ``type`` is its error word."""

    def document(self, request_id: str) -> dict[str, str]:
        """The error document; the request's id is in the headers only."""
        return {"error": self.type, "error_description": self.message}


class _Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request's body."""

    grant_type: str
    assertion: str
    federation_rule_id: str
    organization_id: str
    service_account_id: str | None = None
    workspace_id: str | None = None


class _Claims(msgspec.Struct, frozen=True):
    """What an identity token says."""

    sub: str
    aud: str | list[str]
    exp: float


class TokenDesk:
    """Gives tokens out, and knows whose they are until they expire. ``clock``: monotonic seconds."""

    def __init__(self, config: SimulatorConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._tokens: dict[str, tuple[Account, float]] = {}

    def exchange(self, call: Call) -> Answer | Problem:
        """The operation."""
        if not {API_BETA, EXCHANGE_BETA} <= _flags(call.request):
            return _refused(f"the header anthropic-beta must name {API_BETA} and {EXCHANGE_BETA}")
        try:
            asked = msgspec.json.decode(call.request.body, type=_Exchange)
        except msgspec.DecodeError as error:
            return _refused(str(error))
        if asked.grant_type != GRANT_TYPE:
            return TokenProblem(400, "unsupported_grant_type", f"grant_type must be {GRANT_TYPE}")
        rule = self._config.federation_rules.get(asked.federation_rule_id)
        reason, left_s = _misfit(asked, rule)
        if reason or rule is None:
            return TokenProblem(401, "invalid_grant", reason)
        lifetime_s = int(max(SHORTEST_LIFE_S, min(rule.token_lifetime_s, 2 * left_s)))
        token = f"{ACCESS_PREFIX}-{call.dice.getrandbits(128):032x}"
        self._tokens[token] = (rule.account, self._clock() + lifetime_s)
        call.account = rule.account
        return Answer.of({"access_token": token, "token_type": "Bearer", "expires_in": lifetime_s, "scope": "workspace:inference"})

    def account_of(self, token: str, request: Request) -> Account | Problem | None:
        """Whose access token this is; None for what is no access token."""
        if not token.startswith(ACCESS_PREFIX):
            return None
        account, expires_at = self._tokens.get(token, (None, 0.0))
        if account is None:
            return Problem(401, "authentication_error", "Invalid bearer token")
        if self._clock() >= expires_at:
            return Problem(
                401, "authentication_error", "OAuth token has expired. Please obtain a new token or refresh your existing token."
            )
        if API_BETA not in _flags(request):
            return Problem(401, "authentication_error", "OAuth authentication is currently not supported.")
        return account

    def revoke(self) -> None:
        """No token given out so far is valid any longer."""
        self._tokens.clear()


def _misfit(asked: _Exchange, rule: FederationRule | None) -> tuple[str, float]:
    """Why the identity token does not fit the rule (empty: it does), and how long it is still valid."""
    claims = _claims(asked.assertion)
    if rule is None or claims is None:
        return "no federation rule matches this identity token", 0.0
    left_s = claims.exp - time.time()
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if left_s <= 0:
        return "the identity token has expired", 0.0
    is_fit = (
        rule.audience in audiences
        and claims.sub.startswith(rule.subject_prefix)
        and asked.organization_id == rule.account.organization_id
        and asked.service_account_id in (None, rule.service_account_id)
        and asked.workspace_id in (None, rule.account.workspace_id)
    )
    return "" if is_fit else "no federation rule matches this identity token", left_s


def _claims(assertion: str) -> _Claims | None:
    parts = assertion.split(".")
    if len(parts) != 3 or not all(parts):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None


def _flags(request: Request) -> set[str]:
    return {flag.strip() for flag in request.header(b"anthropic-beta").split(",")}


def _refused(message: str) -> Problem:
    return TokenProblem(400, "invalid_request", message)
