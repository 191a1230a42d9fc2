"""The page that Prometheus scrapes, and the page that explains it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from functools import cache

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from claudeops.catalogue.price import Tokens
from claudeops.exchange import Assignment, Lease, Rates
from claudeops.policy.breaker import CAUSES
from claudeops.policy.level import STALE_S, Sample
from claudeops.policy.rates import INPUT
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.config import ConfigHolder
from claudeops.sidecar.exposition import OPENMETRICS_TYPE, PLAIN_TYPE, content_type, render
from claudeops.sidecar.ledger import NO_MODEL, UNKNOWN
from claudeops.sidecar.metrics import FAMILIES, HISTOGRAM, Measures
from claudeops.sidecar.model import FALLBACK, PRIMARY
from claudeops.sidecar.runtime import Runtime

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "metrics.md"
MODEL = "claude-sonnet-5-5"
CONFIG = ProxyConfig(
    revision=3,
    workload=WorkloadKey(namespace="support", name="bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    model=ModelChoice(name=MODEL),
)


class Scrape:
    """A proxy at second 100 and its page."""

    def __init__(self) -> None:
        self.runtime = Runtime(lambda: 100.0, wall_clock=lambda: 1.8e9)
        self.holder = ConfigHolder(lambda config: self.runtime.apply_config(config, 100.0))
        self.measures = Measures(
            self.runtime,
            self.holder,
            lambda: {"idle": 2, "busy": 1, "opening": 0},
            opened_counts=lambda: {"new": 2, "resumed": 1, "failed": 0},
        )

    def text(self, kind: str = PLAIN_TYPE, now: float = 100.0) -> str:
        return b"".join(render(self.measures, kind, now=now, wall_offset_s=1.8e9 - 100.0)).decode()

    def samples(self, now: float = 100.0) -> Mapping[Series, float]:
        return parse(self.text(now=now))

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get(series(f"claudeops_{name}", **labels))


HEAD = b"HTTP/1.1 200 OK\r\nRequest-Id: req_9\r\n\r\n"
Series = tuple[str, frozenset[tuple[str, str]]]


@cache
def parse(page: str) -> Mapping[Series, float]:
    """The reference's own parser is slow: each page is read once, however many of its values are looked at."""
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return {series(sample.name, **sample.labels): sample.value for sample in samples}


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


@pytest.fixture
def busy() -> Scrape:
    scrape = Scrape()
    assert scrape.holder.offer(CONFIG, "file")
    model = scrape.runtime.model(MODEL, 100.0)
    assert model is not None
    primary, fallback = model.counters[PRIMARY], model.counters[FALLBACK]
    primary.requests.update({(200, ""): 8, (429, "quota"): 1})
    fallback.requests[(200, "")] = 2
    primary.upstream.update({200: 8, 429: 3})
    fallback.upstream[200] = 2
    primary.throttles["RateLimited"] = 3
    primary.retries["429"] = 3
    primary.adjusted.update({"temperature": 5, "thinking_blocks": 1})
    primary.left_out["temperature"] = 3
    fallback.warned["max_tokens"] = 2
    model.used.standard.add(Tokens(input=120, output=40, cache_read=1_000))
    model.used.guessed.output, model.used.web_searches = 9, 2
    other = scrape.runtime.used_by("claude-of-tomorrow")
    other.standard.output = 5
    other.count_unknown(NO_MODEL)
    for seconds in (0.004, 0.3, 1000.0):
        for histogram in (
            primary.context_used,
            primary.first_token,
            primary.queue_wait,
            primary.overhead,
            primary.output_interval,
            primary.estimate_error,
        ):
            histogram.observe(seconds)
        primary.duration.trace(seconds, HEAD if seconds > 0.1 else b"HTTP/1.1 200 OK\r\n\r\n", 99.0)
    model.group.limiter.see_level(INPUT, Sample(limit_per_s=10_000.0, remaining=60_000.0, sent_at=99.0), 100.0)
    lease = Lease(rates=Rates(requests=5.0, input_tokens=600.0, output_tokens=70.0))
    scrape.runtime.apply_assignment(Assignment(epoch=1, version=1, leases={model.group.name: lease}), sent_at=100.0, now=100.0)
    scrape.runtime.in_flight = 4
    return scrape


def test_a_proxy_without_configuration_has_a_page_too() -> None:
    scrape = Scrape()
    assert scrape.value("inflight_requests") == 0
    assert not any(name.startswith("claudeops_config_info") for name, _ in scrape.samples())


def test_answers_are_counted_by_tier_code_and_reason(busy: Scrape) -> None:
    served = {"workload": "support/bot", "model": MODEL}
    assert busy.value("requests_total", **served, tier="primary", code="200", reason="") == 8
    assert busy.value("requests_total", **served, tier="primary", code="429", reason="quota") == 1
    assert busy.value("requests_total", **served, tier="fallback", code="200", reason="") == 2


def test_what_concerns_the_api_is_summed_over_the_tiers(busy: Scrape) -> None:
    assert busy.value("upstream_responses_total", model=MODEL, code="200") == 10
    assert busy.value("throttled_total", model=MODEL, cause="RateLimited") == 3
    for cause in ("RampLimited", "SpendLimited", "FastLimited"):
        assert busy.value("throttled_total", model=MODEL, cause=cause) == 0, "there from the start, so that the first one is an increase"
    assert busy.value("retries_total", model=MODEL, cause="429") == 3


def test_tokens_and_cost_are_shown_by_kind_and_what_is_not_known_is_said(busy: Scrape) -> None:
    assert busy.value("tokens_total", model=MODEL, kind="input") == 120
    assert busy.value("tokens_total", model=MODEL, kind="cache_read") == 1_000
    assert busy.value("cost_usd_total", model=MODEL, kind="input") == 0.000_24
    assert busy.value("cost_usd_total", model=MODEL, kind="output") == 0.000_4
    assert busy.value("cost_usd_total", model=MODEL, kind="cache_read") == 0.000_1
    assert busy.value("cost_usd_total", model=MODEL, kind="web_search") == 0.02
    assert busy.value("cost_saved_usd_total", model=MODEL, by="cache") == 0.001_9
    assert busy.value("tokens_estimated_total", model=MODEL, kind="output") == 9
    assert busy.value("tokens_total", model=UNKNOWN, kind="output") == 5
    assert busy.value("cost_unknown_requests_total", model=UNKNOWN, cause="model") == 1
    assert busy.value("cost_usd_total", model=UNKNOWN, kind="output") is None


def test_names_that_the_api_makes_up_are_one_series(busy: Scrape) -> None:
    before = len(busy.samples())
    for number in range(100):
        busy.runtime.used_by(f"claude-invented-{number}").standard.output += 1
    assert len(busy.samples()) == before


def test_adjusted_parameters_are_counted_by_what_became_of_them(busy: Scrape) -> None:
    found = {labels: value for (name, labels), value in busy.samples().items() if name == "claudeops_sampling_adjusted_total"}
    expected = {
        ("temperature", "left_out"): 3,
        ("temperature", "clamped"): 2,
        ("thinking_blocks", "left_out"): 1,
        ("max_tokens", "warned"): 2,
    }
    assert found == {series("", model=MODEL, parameter=name, what=what)[1]: value for (name, what), value in expected.items()}


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.kind == HISTOGRAM])
def test_histograms_are_cumulative_and_end_with_everything(busy: Scrape, name: str) -> None:
    labels = {"workload": "support/bot", "model": MODEL, "tier": "primary"} | ({"what": "input"} if name == "estimate_error_ratio" else {})
    parts = {dict(found)["le"]: value for (full, found), value in busy.samples().items() if full == f"claudeops_{name}_bucket"
             and dict(found)["tier"] == "primary" and dict(found).get("what") != "output"}  # fmt: skip
    buckets = [parts[bound] for bound in sorted(parts, key=float)]
    assert buckets == sorted(buckets)
    assert parts["+Inf"] == busy.value(f"{name}_count", **labels) == 3
    assert busy.value(f"{name}_sum", **labels) == pytest.approx(1000.304)


def test_the_lease_its_buckets_and_the_level_seen_are_gauges(busy: Scrape) -> None:
    group = busy.runtime.models[MODEL].group.name
    assert busy.value("lease_tokens", group=group, dimension="requests", what="rate") == 5
    assert busy.value("lease_tokens", group=group, dimension="outputTokens", what="rate") == 70
    assert busy.value("limit_level_ratio", group=group, dimension="inputTokens") == pytest.approx(1.0)
    assert busy.value("limit_level_ratio", group=group, dimension="requests") is None
    assert not any(name == "claudeops_limit_level_ratio" for name, _ in busy.samples(now=100.0 + STALE_S + 1.0))


def test_breakers_pool_and_configuration(busy: Scrape) -> None:
    assert busy.value("breaker_state", model=MODEL) == 0
    breaker = busy.runtime.models[MODEL].breaker
    for second in range(5):
        breaker.throttled(100.0 + second, 100.0 + second)
    assert busy.value("breaker_state", model=MODEL) == 2
    opened = {cause: busy.value("breaker_opened_total", model=MODEL, cause=cause) for cause in CAUSES}
    assert opened == {"ConsecutiveThrottles": 1, "ErrorShare": 0, "Unreachable": 0}
    assert busy.value("pool_connections", state="idle") == 2
    assert busy.value("connections_opened_total", outcome="resumed") == 1
    assert busy.value("inflight_requests") == 4
    assert busy.value("config_info", revision="3", hash=busy.holder.current_hash, source="file") == 1
    busy.holder.offer_bytes(b"{", "file")
    assert busy.value("config_errors_total") == 1


def test_label_values_are_escaped(busy: Scrape) -> None:
    named = msgspec.structs.replace(CONFIG, revision=4, workload=WorkloadKey(namespace='a"b', name="c\\d\ne"))
    assert busy.holder.offer(named, "file")
    assert busy.value("requests_total", workload='a"b/c\\d\ne', model=MODEL, tier="primary", code="200", reason="") == 8


def test_openmetrics_has_the_same_samples_and_the_api_s_request_ids(busy: Scrape) -> None:
    text = busy.text(OPENMETRICS_TYPE)
    families = list(openmetrics_families(text))
    samples = {series(sample.name, **sample.labels): sample.value for family in families for sample in family.samples}
    assert samples == busy.samples()
    exemplars = {
        (sample.name, sample.exemplar.labels["request_id"], sample.exemplar.value, float(sample.exemplar.timestamp or 0))
        for family in families
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert exemplars == {
        ("claudeops_request_duration_seconds_bucket", "req_9", 0.3, 1.8e9 - 1.0),
        ("claudeops_request_duration_seconds_bucket", "req_9", 1000.0, 1.8e9 - 1.0),
    }
    assert " # {" not in busy.text()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PLAIN_TYPE),
        ("*/*", PLAIN_TYPE),
        ("text/plain;version=0.0.4;q=0.5", PLAIN_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", OPENMETRICS_TYPE),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept: str, kind: str) -> None:
    assert content_type(accept) == kind


def test_the_busy_page_shows_every_family_that_is_documented(busy: Scrape) -> None:
    assert {_family_of(name) for name, _ in busy.samples()} == set(FAMILIES)


def test_the_document_explains_exactly_what_is_served_with_its_type_and_labels(busy: Scrape) -> None:
    rows = re.findall(r"^\| `claudeops_(\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == {name: family.kind for name, family in FAMILIES.items()}
    assert len(rows) == len(FAMILIES)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows}
    assert documented == {name: set(family.labels) for name, family in FAMILIES.items()}


def _family_of(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name.removeprefix("claudeops_"))


def test_requests_to_batches_and_files_are_counted_under_their_pool() -> None:
    scrape = Scrape()
    assert scrape.holder.offer(CONFIG, "file")
    counters = scrape.runtime.group("batches", 100.0).counters
    counters.answers[(200, "")] = 3
    counters.duration.observe(0.2)
    labels = {"workload": "support/bot", "model": "batches", "tier": "primary"}
    assert scrape.value("requests_total", **labels, code="200", reason="") == 3
    assert scrape.value("request_duration_seconds_count", **labels) == 1
