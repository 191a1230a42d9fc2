"""What an answer's usage is booked as: model, terms, money."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, cast

import pytest
from tests.unit.table import every

from claudeops.catalogue.price import Tokens, usd
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey
from claudeops.sidecar.call import Call
from claudeops.sidecar.ledger import UNKNOWN
from claudeops.sidecar.model import PRIMARY
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.settle import settle_usage
from claudeops.sidecar.usage import EventReader, Usage, read_answer
from claudeops.wire.http1 import RequestHead
from claudeops.wire.server import ServerConnection

OPUS, HAIKU, SONNET = "claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-5-5"
CONFIG = ProxyConfig(
    revision=1,
    workload=WorkloadKey(namespace="support", name="bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    model=ModelChoice(name=OPUS),
)
PLAIN = {"input_tokens": 1_000, "output_tokens": 100}


class Desk:
    """Settles answers of one model."""

    def __init__(self, model: str = OPUS) -> None:
        self.runtime = Runtime(lambda: 100.0, wall_clock=lambda: 1.8e9)
        self.runtime.apply_config(CONFIG, 100.0)
        self.asked = model

    def call(self, *, is_streamed: bool = False) -> Call:
        nobody = cast(Any, None)
        call = Call(cast(RequestHead, nobody), b"{}", cast(ServerConnection, nobody), caller=nobody, now=100.0)
        model = self.runtime.model(self.asked, 100.0)
        assert model is not None
        call.model, call.group, call.tier, call.is_streamed = model, model.group, PRIMARY, is_streamed
        call.estimated_total, call.estimated_uncached, call.estimated_input = 900.0, 700.0, 700.0
        call.group.limiter.try_admit(700.0, 100.0, is_streamed)
        return call

    def settle(self, call: Call) -> None:
        settle_usage(call, self.runtime, 101.0)

    def answered(self, usage: Any, **members: Any) -> Usage:
        call = self.call()
        assert read_answer(call.usage, json.dumps({"model": self.asked, "content": [{}], "usage": usage} | members).encode())
        self.settle(call)
        return call.usage

    def streamed(self, *events: dict[str, Any]) -> Usage:
        call = self.call(is_streamed=True)
        reader = EventReader(call.usage)
        for event in events:
            reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        self.settle(call)
        return call.usage

    def tokens(self, model: str | None = None) -> Tokens:
        return self.runtime.ledger[model or self.asked].tokens()

    def cost(self, model: str | None = None) -> Decimal:
        return usd(sum(self.runtime.ledger[model or self.asked].cost_pico().values()))

    def unknown(self, model: str | None = None) -> dict[str, int]:
        return self.runtime.ledger[model or self.asked].unknown


@every(
    ("usage", "dollars"),
    [
        (PLAIN, "0.006"),  # 1,000 x $4 + 100 x $20
        (PLAIN | {"service_tier": "standard", "speed": "standard", "inference_geo": "global"}, "0.006"),
        (PLAIN | {"inference_geo": "us"}, "0.0066"),
        (PLAIN | {"speed": "fast"}, "0.012"),
        (PLAIN | {"service_tier": "batch"}, "0.003"),
        (PLAIN | {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 5}}, "0.036"),
        (PLAIN | {"server_tool_use": None, "iterations": None, "cache_creation": None}, "0.006"),
        (PLAIN | {"cache_read_input_tokens": 1_000}, "0.0062"),
        (PLAIN | {"cache_creation_input_tokens": 1_000}, "0.011"),
        (PLAIN | {"cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600}}, "0.0128"),
    ],
)
def test_the_terms_that_an_answer_names_decide_its_cost(usage: dict[str, Any], dollars: str) -> None:
    desk = Desk()
    desk.answered(usage)
    assert desk.cost() == Decimal(dollars)
    assert desk.unknown() == {}


def test_a_long_prompt_pays_more_for_all_of_the_answer() -> None:
    desk = Desk(HAIKU)
    desk.answered({"input_tokens": 60_000, "cache_read_input_tokens": 40_000, "output_tokens": 1_000})
    assert desk.cost() == Decimal("0.0069")
    desk.answered({"input_tokens": 60_001, "cache_read_input_tokens": 40_000, "output_tokens": 1_000})
    assert desk.cost() == Decimal("0.0069") + Decimal("0.0345005")


def test_the_split_of_cache_writes_in_message_start_holds_to_the_end_and_what_is_written_later_is_for_five_minutes() -> None:
    desk = Desk()
    start = {"input_tokens": 10, "cache_creation_input_tokens": 100, "output_tokens": 1}
    split = {"cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}}
    desk.streamed(
        {"type": "message_start", "message": {"model": OPUS, "usage": start | split}},
        {"type": "content_block_start", "index": 0},
        {"type": "message_delta", "delta": {}, "usage": {"cache_creation_input_tokens": 125, "input_tokens": 15, "output_tokens": 7}},
    )
    assert desk.tokens() == Tokens(input=15, output=7, cache_write_5m=55, cache_write_1h=70)


def test_terms_of_message_start_hold_to_the_end() -> None:
    desk = Desk()
    desk.streamed(
        {"type": "message_start", "message": {"model": OPUS, "usage": PLAIN | {"speed": "fast", "inference_geo": "us"}}},
        {"type": "content_block_start", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}},
    )
    assert desk.cost() == Decimal("0.0176")  # (1,000 x 4 + 200 x 20) x 2 x 1.1 millionths


def test_rounds_of_a_server_tool_loop_do_not_teach_a_wrong_size_of_the_prompt() -> None:
    desk = Desk()
    call = desk.call(is_streamed=True)
    reader = EventReader(call.usage)
    for event in (
        {"type": "message_start", "message": {"model": OPUS, "usage": {"input_tokens": 2_679, "output_tokens": 1}}},
        {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 10_682, "output_tokens": 510}},
    ):
        reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    desk.settle(call)
    assert desk.tokens() == Tokens(input=10_682, output=510)
    errors = call.model.counters[PRIMARY].estimate_error
    assert errors.sum == pytest.approx(900.0 / 2_679)


def test_every_round_is_paid_at_its_own_model_and_compaction_is_not_forgotten() -> None:
    desk = Desk()
    one = {"input_tokens": 1_000, "output_tokens": 100, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    rounds = [
        {"type": "compaction", "input_tokens": 5_000, "output_tokens": 200},
        {"type": "message", **one},
        {"type": "advisor_message", "model": SONNET, **one},
    ]
    usage = desk.answered(one | {"iterations": rounds})
    assert desk.tokens() == Tokens(input=6_000, output=300)
    assert desk.tokens(SONNET) == Tokens(input=1_000, output=100)
    assert (desk.cost(), desk.cost(SONNET)) == (Decimal("0.03"), Decimal("0.003"))
    assert (usage.uncached, usage.output) == (6_000, 300), "what counts against the limits of the model that was asked"


def test_what_the_api_s_own_fallback_served_is_booked_on_the_model_that_served() -> None:
    desk = Desk()
    declined = {"type": "message", "model": OPUS, "input_tokens": 1_000, "output_tokens": 0}
    served = {"type": "fallback_message", "model": SONNET, "input_tokens": 1_000, "output_tokens": 100}
    desk.answered({"input_tokens": 1_000, "output_tokens": 100, "iterations": [declined, served]}, model=SONNET)
    assert desk.tokens() == Tokens(input=1_000)
    assert desk.cost() == 0, "a refusal before output is not billed, but counts"
    assert (desk.tokens(SONNET), desk.cost(SONNET)) == (Tokens(input=1_000, output=100), Decimal("0.003"))
    desk.answered(PLAIN, model=SONNET)
    assert desk.cost(SONNET) == Decimal("0.006")


def test_an_alias_is_its_model() -> None:
    desk = Desk("claude-haiku-4-5-20251001")
    desk.answered(PLAIN, model="claude-haiku-4-5")
    assert desk.tokens() == Tokens(input=1_000, output=100)
    assert set(desk.runtime.ledger) == {OPUS, desk.asked}


@pytest.mark.parametrize(
    ("usage", "members", "model", "cause"),
    [
        (PLAIN, {"model": "claude-of-tomorrow"}, UNKNOWN, "model"),
        (PLAIN | {"service_tier": "priority"}, {}, OPUS, "terms"),
        (PLAIN | {"service_tier": "batch", "speed": "fast"}, {}, OPUS, "terms"),
        (None, {}, OPUS, "usage"),
        ({"input_tokens": "many"}, {}, OPUS, "usage"),
    ],
)
def test_a_cost_that_is_not_known_is_said(usage: Any, members: dict[str, Any], model: str, cause: str) -> None:
    desk = Desk()
    desk.answered(usage, **members)
    assert desk.unknown(model) == {cause: 1}
    assert desk.cost(model) == 0


def test_an_answer_of_another_form_keeps_its_top_level_usage() -> None:
    desk = Desk()
    desk.answered(PLAIN | {"iterations": {"new": "form"}, "server_tool_use": ["new"]})
    assert desk.tokens() == Tokens(input=1_000, output=100)


@pytest.mark.parametrize(
    ("category", "content", "dollars"),
    [("cyber", [], "0"), (None, [], "0"), ("bio", [], "0.004"), ("reasoning_extraction", [], "0.004"), ("cyber", [{}], "0.004")],
)
def test_a_refusal_before_output_is_free_but_for_some_categories(category: str | None, content: list[Any], dollars: str) -> None:
    desk = Desk()
    details = {"type": "refusal", "category": category, "explanation": None}
    desk.answered({"input_tokens": 1_000, "output_tokens": 0}, content=content, stop_reason="refusal", stop_details=details)
    assert desk.cost() == Decimal(dollars)
    assert desk.tokens() == Tokens(input=1_000), "it counts all the same"


@pytest.mark.parametrize(("has_content", "dollars"), [(False, "0"), (True, "0.006")])
def test_a_refused_stream_is_free_where_no_content_came(has_content: bool, dollars: str) -> None:
    desk = Desk()
    desk.streamed(
        {"type": "message_start", "message": {"model": OPUS, "usage": {"input_tokens": 1_000, "output_tokens": 1}}},
        *([{"type": "content_block_start", "index": 0}] if has_content else []),
        {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": None}, "usage": {"output_tokens": 100}},
    )
    assert desk.cost() == Decimal(dollars)


def test_a_stream_that_breaks_off_costs_its_exact_input_and_an_estimate_of_its_output() -> None:
    desk = Desk()
    call = desk.call(is_streamed=True)
    reader = EventReader(call.usage)
    start = {"type": "message_start", "message": {"model": OPUS, "usage": {"input_tokens": 1_000, "output_tokens": 2}}}
    reader.feed(f"event: message_start\ndata: {json.dumps(start)}\n\n".encode())
    call.usage.guess(100)
    desk.settle(call)
    used = desk.runtime.ledger[OPUS]
    assert (used.tokens(), used.guessed.tokens()) == (Tokens(input=1_000, output=100), Tokens(output=98))
    assert desk.cost() == Decimal("0.006")


def test_what_broke_off_before_anything_was_said_is_an_estimate_as_a_whole() -> None:
    desk = Desk()
    call = desk.call()
    call.usage.guess(50)
    desk.settle(call)
    used = desk.runtime.ledger[OPUS]
    assert used.tokens() == used.guessed.tokens() == Tokens(input=700, output=50, cache_read=200)
    assert desk.unknown() == {}
