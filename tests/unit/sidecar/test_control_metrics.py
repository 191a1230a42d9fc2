"""The page that Prometheus scrapes, and the page that explains it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import msgspec
import pytest

from claudeops.catalogue.price import Tokens
from claudeops.exchange import Assignment, Lease, Rates
from claudeops.policy.level import STALE_S, Sample
from claudeops.policy.rates import INPUT
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.config import ConfigHolder
from claudeops.sidecar.metrics import FAMILIES, MetricsPage
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
LINE = re.compile(r'^(claudeops_[a-z0-9_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (-?[0-9.e+-]+|NaN)$')


class Scrape:
    """A proxy at second 100 and its page."""

    def __init__(self) -> None:
        self.runtime = Runtime(lambda: 100.0, wall_clock=lambda: 1.8e9)
        self.holder = ConfigHolder(lambda config: self.runtime.apply_config(config, 100.0))
        self.page = MetricsPage(self.runtime, self.holder, lambda: {"idle": 2, "busy": 1, "opening": 0})

    def samples(self) -> dict[str, float]:
        return dict(read(self.page.text(100.0).decode()))


def read(text: str) -> Iterator[tuple[str, float]]:
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = LINE.match(line)
        assert found, line
        yield found[1] + (found[2] or ""), float(found[3])


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
    for seconds in (0.004, 0.3, 1000.0):
        for histogram in (
            primary.duration,
            primary.first_token,
            primary.queue_wait,
            primary.overhead,
            primary.output_interval,
            primary.estimate_error,
        ):
            histogram.observe(seconds)
    model.group.limiter.see_level(INPUT, Sample(limit_per_s=10_000.0, remaining=60_000.0, sent_at=99.0), 100.0)
    lease = Lease(rates=Rates(requests=5.0, input_tokens=600.0, output_tokens=70.0))
    scrape.runtime.apply_assignment(Assignment(epoch=1, version=1, leases={model.group.name: lease}), sent_at=100.0, now=100.0)
    scrape.runtime.in_flight = 4
    return scrape


def test_a_proxy_without_configuration_has_a_page_too() -> None:
    samples = Scrape().samples()
    assert samples["claudeops_inflight_requests"] == 0
    assert not any(name.startswith("claudeops_config_info") for name in samples)


def test_answers_are_counted_by_tier_code_and_reason(busy: Scrape) -> None:
    samples = busy.samples()
    labels = f'workload="support/bot",model="{MODEL}"'
    assert samples[f'claudeops_requests_total{{{labels},tier="primary",code="200",reason=""}}'] == 8
    assert samples[f'claudeops_requests_total{{{labels},tier="primary",code="429",reason="quota"}}'] == 1
    assert samples[f'claudeops_requests_total{{{labels},tier="fallback",code="200",reason=""}}'] == 2


def test_what_concerns_the_api_is_summed_over_the_tiers(busy: Scrape) -> None:
    samples = busy.samples()
    assert samples[f'claudeops_upstream_responses_total{{model="{MODEL}",code="200"}}'] == 10
    assert samples[f'claudeops_throttled_total{{model="{MODEL}",cause="RateLimited"}}'] == 3
    assert samples[f'claudeops_retries_total{{model="{MODEL}",cause="429"}}'] == 3
    assert samples[f'claudeops_tokens_total{{model="{MODEL}",kind="input"}}'] == 120
    assert samples[f'claudeops_tokens_total{{model="{MODEL}",kind="cache_read"}}'] == 1_000
    assert samples[f'claudeops_cost_usd_total{{model="{MODEL}"}}'] == 0.00074
    assert samples[f'claudeops_cost_saved_usd_total{{model="{MODEL}",by="cache"}}'] == 0.0019


def test_adjusted_parameters_are_counted_by_what_became_of_them(busy: Scrape) -> None:
    found = {name: value for name, value in busy.samples().items() if name.startswith("claudeops_sampling_adjusted_total")}
    prefix = f'claudeops_sampling_adjusted_total{{model="{MODEL}",parameter='
    assert found == {
        f'{prefix}"temperature",what="left_out"}}': 3,
        f'{prefix}"temperature",what="clamped"}}': 2,
        f'{prefix}"thinking_blocks",what="left_out"}}': 1,
        f'{prefix}"max_tokens",what="warned"}}': 2,
    }


@pytest.mark.parametrize("name", ["request_duration", "time_to_first_token", "queue_wait", "overhead", "output_token_interval"])
def test_histograms_are_cumulative_and_end_with_everything(busy: Scrape, name: str) -> None:
    samples = busy.samples()
    labels = f'workload="support/bot",model="{MODEL}",tier="primary"'
    buckets = [value for key, value in samples.items() if key.startswith(f"claudeops_{name}_seconds_bucket{{{labels}")]
    assert buckets == sorted(buckets) and buckets[-1] == 3
    assert samples[f'claudeops_{name}_seconds_bucket{{{labels},le="+Inf"}}'] == samples[f"claudeops_{name}_seconds_count{{{labels}}}"] == 3
    assert samples[f"claudeops_{name}_seconds_sum{{{labels}}}"] == pytest.approx(1000.304)


def test_the_lease_its_buckets_and_the_level_seen_are_gauges(busy: Scrape) -> None:
    samples = busy.samples()
    group = busy.runtime.models[MODEL].group.name
    assert samples[f'claudeops_lease_tokens{{group="{group}",dimension="requests",what="rate"}}'] == 5
    assert samples[f'claudeops_lease_tokens{{group="{group}",dimension="outputTokens",what="rate"}}'] == 70
    assert samples[f'claudeops_limit_level_ratio{{group="{group}",dimension="inputTokens"}}'] == pytest.approx(1.0)
    assert f'claudeops_limit_level_ratio{{group="{group}",dimension="requests"}}' not in samples
    stale = busy.page.text(100.0 + STALE_S + 1.0)
    assert b"claudeops_limit_level_ratio{" not in stale


def test_breakers_pool_and_configuration(busy: Scrape) -> None:
    samples = busy.samples()
    assert samples[f'claudeops_breaker_state{{model="{MODEL}"}}'] == 0
    breaker = busy.runtime.models[MODEL].breaker
    for second in range(5):
        breaker.throttled(100.0 + second, 100.0 + second)
    assert busy.samples()[f'claudeops_breaker_state{{model="{MODEL}"}}'] == 2
    assert samples['claudeops_pool_connections{state="idle"}'] == 2
    assert samples["claudeops_inflight_requests"] == 4
    assert samples[f'claudeops_config_info{{revision="3",hash="{busy.holder.current_hash}",source="file"}}'] == 1
    busy.holder.offer_bytes(b"{", "file")
    assert busy.samples()["claudeops_config_errors_total"] == 1


def test_label_values_are_escaped(busy: Scrape) -> None:
    named = msgspec.structs.replace(CONFIG, revision=4, workload=WorkloadKey(namespace='a"b', name="c\\d\ne"))
    assert busy.holder.offer(named, "file")
    assert r'workload="a\"b/c\\d\ne"' in busy.page.text(100.0).decode()
    busy.samples()


def test_every_family_has_one_help_and_one_type_line_before_its_samples(busy: Scrape) -> None:
    text = busy.page.text(100.0).decode()
    names = re.findall(r"^# TYPE claudeops_(\S+) (\w+)$", text, re.MULTILINE)
    assert dict(names) == {name: kind for name, (kind, _) in FAMILIES.items()} and len(names) == len(FAMILIES)
    current = ""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif not line.startswith("#"):
            assert re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0]) == current or line.startswith(current)


def test_the_busy_page_shows_every_family_that_is_documented(busy: Scrape) -> None:
    shown = {re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", name)[0]) for name in busy.samples()}
    assert shown == {f"claudeops_{name}" for name in FAMILIES}


def test_the_document_explains_exactly_what_is_served_with_its_type_and_labels(busy: Scrape) -> None:
    rows = re.findall(r"^\| `claudeops_(\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == {name: kind for name, (kind, _) in FAMILIES.items()}
    assert len(rows) == len(FAMILIES)
    served: dict[str, set[str]] = {name: set() for name in FAMILIES}
    for key in busy.samples():
        name = re.sub(r"_(bucket|sum|count)$", "", re.split(r"\{", key.removeprefix("claudeops_"))[0])
        served[name] |= set(re.findall(r'([a-z_]+)="', key)) - {"le"}
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows} == served
