"""A batch's items are held to what a single request would be held to, but nothing is put right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.table import every

from claudeops.proxyconfig import Bounds, ModelChoice, ProxyConfig, Sampling, Upstream, WorkloadKey
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.batch_inspector import BatchInspector, SeenIds
from claudeops.sidecar.model import PRIMARY as PRIMARY_TIER
from claudeops.sidecar.runtime import Runtime

PRIMARY = "claude-sonnet-4-6"
FALLBACK = "claude-haiku-5-5"
LOCKED = "claude-opus-4-8"
MAXIMUM = Sampling(profile="p", on_violation="Clamp", temperature=Bounds(max=0.5), max_tokens=Bounds(max=100))


def runtime(**parts: Any) -> Runtime:
    found = Runtime(lambda: 0.0, wall_clock=lambda: 0.0)
    document = {"model": ModelChoice(name=PRIMARY, fallbacks=(FALLBACK,))} | parts
    workload = WorkloadKey(namespace="shop", name="bot")
    found.apply_config(ProxyConfig(revision=1, workload=workload, upstream=Upstream(base_url="http://127.0.0.1:9"), **document), 0.0)
    return found


def item(custom_id: str = "a", **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": {"model": PRIMARY, "max_tokens": 64, "messages": []} | params}


def inspect(items: list[Any], on: Runtime | None = None, version: str | None = "2023-06-01") -> Answer | None:
    inspector = BatchInspector(on or runtime(), version)
    return inspector.feed(json.dumps({"requests": items}).encode()) or inspector.end()


@pytest.mark.parametrize(
    ("parts", "params"),
    [
        ({}, {}),
        ({}, {"temperature": 0.3}),
        ({"sampling": MAXIMUM}, {"temperature": 0.5, "max_tokens": 100}),
        ({"model": ModelChoice(name=PRIMARY, client_choice="Listed", fallbacks=(FALLBACK,))}, {"model": FALLBACK}),
        ({"model": ModelChoice(name=PRIMARY, client_choice="Allowed")}, {"model": LOCKED}),
        ({"sampling": Sampling(profile="p", on_violation="Warn", max_tokens=Bounds(max=10))}, {}),
    ],
)
def test_what_the_policy_allows_passes(parts: dict[str, Any], params: dict[str, Any]) -> None:
    assert inspect([item(), item("b", **params)], runtime(**parts)) is None


@every(
    ("parts", "params", "status", "words"),
    [
        ({}, {"model": FALLBACK}, 403, "may not use model 'claude-haiku-5-5'"),
        ({"model": ModelChoice(name=PRIMARY, client_choice="Listed")}, {"model": LOCKED}, 403, "name one of claude-sonnet-4-6"),
        ({"model": ModelChoice(name=PRIMARY, client_choice="Allowed")}, {"model": "nobody-1"}, 403, "nobody-1"),
        ({"sampling": MAXIMUM}, {"temperature": 0.9}, 400, "temperature 0.9 is beyond the maximum 0.5"),
        ({"sampling": MAXIMUM}, {"max_tokens": 101}, 400, "max_tokens 101 is beyond the maximum 100"),
        ({}, {"temperature": 0.5, "top_p": 0.5}, 400, "does not take top_p as sent"),
        ({}, {"max_tokens": 10**9}, 400, "does not take max_tokens as sent"),
        ({"model": ModelChoice(name=LOCKED)}, {"model": LOCKED, "temperature": 0.5}, 400, "does not take temperature as sent"),
    ],
)
def test_what_would_be_clamped_left_out_or_replaced_refuses_the_batch_and_names_the_item(
    parts: dict[str, Any], params: dict[str, Any], status: int, words: str
) -> None:
    name = params["model"] if parts.get("model", ModelChoice(name=PRIMARY)).name == LOCKED else PRIMARY
    answer = inspect([item("fine", model=name), item("bad", **params), item("bad", **params)], runtime(**parts))
    assert answer is not None
    assert (answer.reason, answer.status) == ("policy", status)
    assert answer.message.startswith('requests.1 (custom_id "bad"): ')
    assert words in answer.message


def test_the_api_version_decides_what_is_taken() -> None:
    answer = inspect([item(temperature=0.5)], version="2026-10-21")
    assert answer is not None and "anthropic-version 2026-10-21 does not take temperature" in answer.message


def test_what_is_only_warned_of_is_counted() -> None:
    found = runtime(sampling=Sampling(profile="p", on_violation="Warn", max_tokens=Bounds(max=10)))
    assert inspect([item("a"), item("b")], found) is None
    assert found.models[PRIMARY].counters[PRIMARY_TIER].warned == {"max_tokens": 2}


@every(
    ("second", "words"),
    [
        (item("a"), "custom_id must be unique"),
        (item("b c"), "custom_id must match"),
        (item(""), "custom_id must match"),
        (item("b", stream=True), "params.stream"),
        (item("b", max_tokens=0), "params.max_tokens"),
        (item("b", speed="fast"), "params.speed"),
        (item("b", fallbacks="default"), "params.fallbacks"),
        ({"custom_id": "b"}, "requests.1: Object missing required field `params`"),
        ({"params": {}}, "requests.1: "),
        (item("b", model=None), "requests.1: "),
        ([], "requests.1: must be an object"),
    ],
)
def test_what_the_api_refuses_in_a_batch_is_refused_at_once(second: Any, words: str) -> None:
    answer = inspect([item("a"), second])
    assert answer is not None
    assert (answer.reason, answer.status) == ("bad_request", 400)
    assert answer.message.startswith("requests.1")
    assert words in answer.message


def test_ids_are_told_apart_however_many_there_are() -> None:
    seen = SeenIds()
    names = [f"id-{number}" for number in range(3000)]
    assert all(map(seen.add, names))
    assert not any(map(seen.add, names))
    assert len(seen.slots) <= 8192
