"""The exchange of tokens, as far as it is no I/O."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.table import every

from claudeops.errors import UpstreamRejected
from claudeops.proxyconfig import Federation
from claudeops.sidecar.federation import renewal_delay_s
from claudeops.sidecar.tokenformat import exchange_request, merge_beta, read_answer


def test_the_exchange_is_asked_for_as_the_apis_sdk_does() -> None:
    full = Federation(rule_id="fdrl_1", organization_id="org", service_account_id="svac_1", workspace_id="wrkspc_1")
    head, body = exchange_request(full, "a.b.c", host=b"api", prefix=b"/base")
    assert head.startswith(b"POST /base/v1/oauth/token HTTP/1.1\r\nhost: api\r\n")
    assert b"\r\nanthropic-beta: oauth-2025-04-20,oidc-federation-2026-04-01\r\n" in head
    assert head.endswith(b"\r\ncontent-length: %d\r\n\r\n" % len(body))
    assert json.loads(body) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "a.b.c",
        "federation_rule_id": "fdrl_1",
        "organization_id": "org",
        "service_account_id": "svac_1",
        "workspace_id": "wrkspc_1",
    }
    _, body = exchange_request(Federation(rule_id="fdrl_1", organization_id="org"), "a.b.c", host=b"api", prefix=b"")
    assert set(json.loads(body)) == {"grant_type", "assertion", "federation_rule_id", "organization_id"}


def test_a_token_is_read_whatever_else_the_answer_says() -> None:
    token = read_answer(200, b'{"access_token":"sk-ant-oat01-x","expires_in":600,"scope":"s","new":{}}')
    assert (token.access_token, token.expires_in) == ("sk-ant-oat01-x", 600)


@every(
    ("status", "body", "words"),
    [
        (401, b'{"error":"invalid_grant","error_description":"no rule"}', "answered 401: invalid_grant: no rule"),
        (400, b'{"type":"error","error":{"type":"invalid_request_error","message":"bad"}}', "answered 400: bad"),
        (502, b"<html>the assertion a.b.c</html>", "answered 502: without a reason"),
        (200, b'{"access_token":"t","expires_in":0}', "over already"),
        (200, b'{"access_token":"t t","expires_in":60}', "cannot be used as a Bearer token"),
        (200, b'{"access_token":"t","expires_in":60,"token_type":"mac"}', "cannot be used as a Bearer token"),
        (200, b'{"access_token":"secret"}', "something else than a token"),
        (200, b"[]", "something else than a token"),
    ],
)
def test_anything_else_is_a_reason_without_secrets(status: int, body: bytes, words: str) -> None:
    with pytest.raises(UpstreamRejected) as caught:
        read_answer(status, body)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "a.b.c" not in str(caught.value)


def test_a_long_reason_is_cut() -> None:
    with pytest.raises(UpstreamRejected) as caught:
        read_answer(400, json.dumps({"error": "x" * 10_000}).encode())
    assert len(str(caught.value)) < 400


@settings(max_examples=40, deadline=None)
@given(lifetime_s=st.floats(60.0, 86_400.0), seed=st.integers(0, 1000))
def test_a_token_is_renewed_well_before_its_end_and_not_at_once(lifetime_s: float, seed: int) -> None:
    delay_s = renewal_delay_s(lifetime_s, Random(seed))
    assert 0.45 * lifetime_s <= delay_s * 1.0001
    assert lifetime_s - delay_s >= min(120.0, lifetime_s / 2.0) - 1e-6


@pytest.mark.parametrize(
    ("lines", "merged"),
    [
        (b"a: b\r\n", b"a: b\r\nanthropic-beta: x\r\n"),
        (b"Anthropic-Beta: y, z\r\na: b\r\n", b"a: b\r\nanthropic-beta: y,z,x\r\n"),
        (b"anthropic-beta: x\r\nanthropic-beta:\r\nanthropic-beta: y,x\r\n", b"anthropic-beta: x,y\r\n"),
    ],
)
def test_a_beta_flag_joins_those_of_the_client_on_one_line(lines: bytes, merged: bytes) -> None:
    assert merge_beta(lines, b"x") == merged
