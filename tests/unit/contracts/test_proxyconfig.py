"""The controller → sidecar contract: what it looks like on disk, and that nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.golden import check_golden
from tests.unit.table import every

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import (
    Bounds,
    BreakerPolicy,
    Connections,
    ControllerAddress,
    EffortBounds,
    Federation,
    Limits,
    ModelChoice,
    Objective,
    ProxyConfig,
    Queue,
    Rates,
    Resilience,
    Retry,
    Sampling,
    ThinkingChoice,
    Timeouts,
    Upstream,
    WorkloadKey,
    content_hash,
    decode_config,
    encode_config,
)

GOLDEN = Path(__file__).parent / "golden"
SMALLEST = ProxyConfig(
    revision=1,
    workload=WorkloadKey(namespace="shop", name="support-bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    model=ModelChoice(name="claude-sonnet-5-5"),
)
FULL = ProxyConfig(
    revision=1763800000000,
    workload=WorkloadKey(namespace="shop", name="support-bot"),
    upstream=Upstream(
        base_url="http://simulator.claude-simulator.svc:8080", ca_bundle="PEM of the API", proxy_url="http://proxy.corp:3128"
    ),
    model=ModelChoice(name="claude-sonnet-5-5", client_choice="Listed", fallbacks=("claude-haiku-5-5", "claude-haiku-4-5")),
    federation=Federation(rule_id="fdrl_01", organization_id="5f0c7c1e", service_account_id="svac_01", workspace_id="wrkspc_01"),
    controller=ControllerAddress(
        url="https://claudeops-exchange.claudeops-system.svc:8443",
        server_name="claudeops-exchange.claudeops-system.svc",
        ca_bundle="PEM of the exchange",
        audience="claudeops.dev/exchange",
    ),
    sampling=Sampling(
        profile="maths",
        on_violation="Reject",
        temperature=Bounds(default=0.3, min=0.2, max=0.4),
        top_p=Bounds(max=0.95),
        prefer="TopP",
        max_tokens=Bounds(default=2048, max=8192),
        effort=EffortBounds(default="medium", allowed=("low", "medium", "xhigh")),
        thinking=ThinkingChoice(mode="Budget", budget_tokens=2048),
    ),
    limits=Limits(
        baseline={"sonnet-5.5": Rates(requests_per_minute=30, input_tokens_per_minute=10_000, output_tokens_per_minute=2_000)},
        maximum=Rates(requests_per_minute=600),
        max_in_flight=256,
        max_replicas=10,
        queue=Queue(max_wait_s=10, max_length=500),
    ),
    resilience=Resilience(
        retry=Retry(max_attempts=3, initial_backoff_s=0.5, max_backoff_s=30, budget_percent=10),
        breaker=BreakerPolicy(
            consecutive_throttles=4, error_percent=40, minimum_requests=10, window_s=20, open_for_s=15, probe_max_tokens=20
        ),
        timeouts=Timeouts(connect_s=2, first_byte_s=90, stream_idle_s=60, total_s=300),
    ),
    prompt_cache="Always",
    single_flight="Identical",
    endpoints=("Batches", "Files"),
    session_header="x-chat-id",
    connections=Connections(min=2, max=20, protocol="HTTP2"),
    objectives=(
        Objective(indicator="TimeToFirstToken", threshold_s=1, objective_percent=95),
        Objective(indicator="Latency", threshold_s=5, objective_percent=99.5),
    ),
)
BOTH = pytest.mark.parametrize("config", [SMALLEST, FULL], ids=["smallest", "full"])


@pytest.mark.parametrize(("name", "config"), [("smallest", SMALLEST), ("full", FULL)])
def test_the_document_keeps_its_shape(name: str, config: ProxyConfig) -> None:
    check_golden(GOLDEN / f"proxyconfig-{name}.json", json.loads(encode_config(config)))


@pytest.mark.parametrize(("name", "config"), [("smallest", SMALLEST), ("full", FULL)])
def test_a_document_of_an_earlier_build_still_reads(name: str, config: ProxyConfig) -> None:
    assert decode_config((GOLDEN / f"proxyconfig-{name}.json").read_bytes()) == config


@BOTH
def test_a_document_that_was_read_has_stable_bytes(config: ProxyConfig) -> None:
    """Whole numbers given for rates become floats when read: whoever compares hashes must compare documents that were read."""
    raw = encode_config(decode_config(encode_config(config)))
    assert encode_config(decode_config(raw)) == raw


def test_the_full_example_says_every_field() -> None:
    """A field that is added and not exemplified would have no golden file."""
    silent = {field.name for field in msgspec.structs.fields(ProxyConfig) if field.default == getattr(FULL, field.name)}
    assert silent == {"schema_version"}


@every(
    ("change", "path"),
    [
        ({"surprise": 1}, "surprise"),
        ({"schemaVersion": 2}, "schemaVersion"),
        ({"revision": -1}, "revision"),
        ({"model": {"name": ""}}, "model.name"),
        ({"model": {"name": "m", "fallbacks": ["a"] * 6}}, "model.fallbacks"),
        ({"upstream": {"baseUrl": "ftp://a"}}, "upstream.baseUrl"),
        ({"upstream": {"baseUrl": "https://a", "proxyUrl": "http://user:word@proxy"}}, "upstream.proxyUrl"),
        ({"connections": {"protocol": "HTTP3"}}, "connections.protocol"),
        ({"promptCache": "Auto"}, "promptCache"),
        ({"limits": {"maxReplicas": 0}}, "limits.maxReplicas"),
        ({"resilience": {"breaker": {"probeMaxTokens": 51}}}, "resilience.breaker.probeMaxTokens"),
        ({"controller": {"url": "http://a", "serverName": "a", "caBundle": "", "audience": "a"}}, "controller.url"),
        ({"workload": {"namespace": "shop"}}, "workload"),
        ({"revision": None}, "revision"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(change: dict[str, Any], path: str) -> None:
    document = {**json.loads(encode_config(SMALLEST)), **change}
    with pytest.raises(InvalidResource, match=path.rpartition(".")[2]) as refusal:
        decode_config(json.dumps(document).encode())
    assert "proxy.json is not a ProxyConfig of schema version 1" in str(refusal.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b'{"revision": 1}'])
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidResource):
        decode_config(raw)


@BOTH
@given(position=st.floats(0, 1, exclude_max=True))
@settings(max_examples=25)
def test_half_a_document_is_refused(config: ProxyConfig, position: float) -> None:
    raw = encode_config(config)
    with pytest.raises(InvalidResource):
        decode_config(raw[: int(position * len(raw))])


def test_the_hash_is_over_everything_but_the_revision() -> None:
    assert content_hash(FULL) == content_hash(msgspec.structs.replace(FULL, revision=7))
    assert len(content_hash(FULL)) == 12
    for field in msgspec.structs.fields(ProxyConfig):
        if field.name not in ("schema_version", "revision"):
            changed = msgspec.structs.replace(FULL, **{field.name: getattr(SMALLEST, field.name)})
            assert (content_hash(changed) == content_hash(FULL)) == (changed == FULL), field.name
