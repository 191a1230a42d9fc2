"""The API's token endpoint: what is asked and what is answered. Source: ``anthropic.lib.credentials`` of the Python SDK 2.12.

One request is an RFC 7523 ``jwt-bearer`` grant in JSON. The token goes out as ``Authorization: Bearer`` and needs the API's own beta flag;
the exchange needs that and one more.
"""

# No postponed annotations here: msgspec would evaluate each of them again, as text, at every start.

from typing import Final

import msgspec

from claudeops.errors import UpstreamRejected
from claudeops.proxyconfig import Federation

TOKEN_PATH: Final = b"/v1/oauth/token"
GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
API_BETA: Final = b"oauth-2025-04-20"
"""On every request that carries such a token."""
EXCHANGE_BETA: Final = b"oidc-federation-2026-04-01"
MAX_REASON_LETTERS: Final = 256


class AccessToken(msgspec.Struct, frozen=True):
    """The answer; what else it says does not matter here."""

    access_token: str
    expires_in: float
    token_type: str = "Bearer"  # noqa: S105 - a word of OAuth


class _Refusal(msgspec.Struct, frozen=True):
    """OAuth's error body, or the API's."""

    error: msgspec.Raw = msgspec.Raw(b"null")
    error_description: str = ""


class _ApiError(msgspec.Struct, frozen=True):
    message: str = ""


def exchange_request(federation: Federation, assertion: str, *, host: bytes, prefix: bytes) -> tuple[bytes, bytes]:
    """Head and body."""
    asked = {
        "grant_type": GRANT_TYPE,
        "assertion": assertion,
        "federation_rule_id": federation.rule_id,
        "organization_id": federation.organization_id,
    }
    if federation.service_account_id:
        asked["service_account_id"] = federation.service_account_id
    if federation.workspace_id:
        asked["workspace_id"] = federation.workspace_id
    body = msgspec.json.encode(asked)
    head = (
        b"POST %b%b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\ncontent-type: application/json\r\n"
        b"anthropic-beta: %b,%b\r\nuser-agent: claudeops\r\ncontent-length: %d\r\n\r\n"
    ) % (prefix, TOKEN_PATH, host, API_BETA, EXCHANGE_BETA, len(body))
    return head, body


def read_answer(status: int, body: bytes) -> AccessToken:
    """Raises UpstreamRejected, with a reason that repeats nothing secret, for everything but a usable token."""
    if status != 200:
        raise UpstreamRejected(f"the API's token endpoint answered {status}: {_reason(body) or 'without a reason'}")
    try:
        answer = msgspec.json.decode(body, type=AccessToken)
    except msgspec.DecodeError as error:
        raise UpstreamRejected(f"the API's token endpoint answered with something else than a token: {error}") from None
    token = answer.access_token
    if answer.token_type.lower() != "bearer" or not token or any(not "!" <= letter <= "~" for letter in token):
        raise UpstreamRejected("the API's token endpoint answered with a token that cannot be used as a Bearer token")
    if not 0.0 < answer.expires_in < 1e9:
        raise UpstreamRejected("the API's token endpoint answered with a token that is over already")
    return answer


def _reason(body: bytes) -> str:
    """The error's words, never more of the body: an endpoint may echo what it was sent."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
        code = msgspec.json.decode(refusal.error, type=str | _ApiError | None)
    except msgspec.DecodeError:
        return ""
    words = code.message if isinstance(code, _ApiError) else ": ".join(part for part in (code, refusal.error_description) if part)
    return words[:MAX_REASON_LETTERS]


def merge_beta(lines: bytes, flag: bytes) -> bytes:
    """Header lines, each with its end, with ``flag`` among the values of one ``anthropic-beta`` line."""
    kept: list[bytes] = []
    flags: list[bytes] = []
    for line in lines.splitlines(keepends=True):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"anthropic-beta":
            flags += [part.strip() for part in value.split(b",") if part.strip()]
        else:
            kept.append(line)
    return b"%banthropic-beta: %b\r\n" % (b"".join(kept), b",".join(dict.fromkeys([*flags, flag])))
