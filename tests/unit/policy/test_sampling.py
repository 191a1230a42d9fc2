from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claudeops.catalogue.lookup import EFFORT_LEVELS, load_catalogue
from claudeops.catalogue.model import Model
from claudeops.policy.legality import ModelRules, effort_cap, illegal_sampling, is_thinking
from claudeops.policy.sampling import KNOWN_MAX, REMOVE, Asked, Bound, Profile, SamplingPolicy

CATALOGUE = load_catalogue()
OLD, NEW = "2023-06-01", "2026-10-21"


def rules(name: str, version: str = OLD) -> ModelRules:
    model = CATALOGUE.model(name)
    assert model is not None
    return rules_of(model, version)


def rules_of(model: Model, version: str) -> ModelRules:
    return ModelRules(
        sampling=CATALOGUE.sampling_rule(model.sampling, version),
        thinking=CATALOGUE.thinking_rule(model.thinking),
        effort_levels=None if model.effort is None else model.effort.levels,
        max_output_tokens=model.max_output_tokens,
    )


def asked(max_tokens: int | None = 1000, **values: Any) -> Asked:
    request = Asked(max_tokens)
    for name, value in values.items():
        setattr(request, name, value)
    return request


MATHS = Profile(temperature=Bound(0.3, 0.2, 0.4), top_p=Bound(0.9, None, 0.95), max_tokens=Bound(2048, None, 8192))


def test_a_wrong_temperature_is_clamped_where_the_model_takes_one() -> None:
    out = SamplingPolicy(rules("claude-sonnet-4-6"), MATHS).adjust(asked(temperature=0.9))
    assert out.edits == {"temperature": b"0.4"}
    assert out.names == ["temperature"]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_it_is_left_out_where_the_model_takes_none_and_that_is_never_a_violation(version: str) -> None:
    strict = Profile(on_violation="Reject", temperature=Bound(0.3, 0.2, 0.4))
    out = SamplingPolicy(rules("claude-sonnet-5-5", version), strict).adjust(asked(temperature=0.9))
    assert out.edits == {"temperature": REMOVE}
    assert out.violation is None


def test_the_default_is_added_only_where_the_client_sent_neither_and_is_no_adjustment() -> None:
    policy = SamplingPolicy(rules("claude-sonnet-4-6"), MATHS)
    silent = policy.adjust(asked())
    assert silent.edits == {"temperature": b"0.3"}
    assert silent.names == []
    assert policy.adjust(asked(top_p=0.8)).edits == {}
    assert policy.adjust(asked(temperature=0.25)).edits == {}


def test_the_preferred_default_is_sent_where_only_one_may_be() -> None:
    creative = Profile(temperature=Bound(1.0), top_p=Bound(0.9), prefer_top_p=True)
    assert SamplingPolicy(rules("claude-sonnet-4-6"), creative).adjust(asked()).edits == {"top_p": b"0.9"}


def test_a_default_that_is_not_legal_is_not_added() -> None:
    assert SamplingPolicy(rules("claude-sonnet-5-5"), MATHS).adjust(asked()).edits == {}
    assert SamplingPolicy(rules("claude-haiku-5-5"), MATHS).adjust(asked()).edits == {}
    thinking = asked(thinking="enabled", budget_tokens=1024, max_tokens=4000)
    assert SamplingPolicy(rules("claude-sonnet-4-6"), MATHS).adjust(thinking).edits == {}


def test_what_the_bounds_make_illegal_is_left_out() -> None:
    out = SamplingPolicy(rules("claude-haiku-5-5"), MATHS).adjust(asked(temperature=1.0))
    assert out.edits == {"temperature": REMOVE}


def test_reject_refuses_with_what_to_send_instead_and_warn_lets_pass() -> None:
    bound = Bound(0.3, 0.2, 0.4)
    reject = SamplingPolicy(rules("claude-sonnet-4-6"), Profile(on_violation="Reject", temperature=bound)).adjust(asked(temperature=0.9))
    assert reject.violation is not None
    assert "temperature 0.9" in reject.violation
    assert "send 0.4" in reject.violation
    warn = SamplingPolicy(rules("claude-sonnet-4-6"), Profile(on_violation="Warn", temperature=bound)).adjust(asked(temperature=0.9))
    assert (warn.edits, warn.warnings, warn.violation) == ({}, ["temperature"], None)


def test_the_policies_bounds_clamp_whatever_the_profile_does() -> None:
    profile = Profile(on_violation="Warn", temperature=Bound(max=0.4), hard_temperature=Bound(max=0.8), hard_max_tokens=Bound(max=500.0))
    out = SamplingPolicy(rules("claude-sonnet-4-6"), profile).adjust(asked(temperature=0.9))
    assert out.edits == {"temperature": b"0.8", "max_tokens": b"500"}


def test_max_tokens_has_default_bound_and_the_models_maximum() -> None:
    policy = SamplingPolicy(rules("claude-sonnet-5-5"), Profile(max_tokens=Bound(2048, None, 8192)))
    assert policy.adjust(asked(max_tokens=None)).edits == {"max_tokens": b"2048"}
    assert policy.adjust(asked(max_tokens=9000)).edits == {"max_tokens": b"8192"}
    free = SamplingPolicy(rules("claude-sonnet-5-5"), Profile())
    assert free.adjust(asked(max_tokens=10_000_000)).edits == {"max_tokens": b"%d" % free.rules.max_output_tokens}
    assert free.adjust(asked(max_tokens=None)).edits == {}


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "budget_tokens"])
@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["above", "below"])
def test_a_number_that_no_float_holds_is_a_number_out_of_bounds(name: str, value: int) -> None:
    policy = SamplingPolicy(rules("claude-sonnet-4-5"), MATHS)
    request = asked(thinking="enabled", budget_tokens=2000)
    setattr(request, name, value)
    out = policy.adjust(request)
    assert out.violation is None and (name != "max_tokens" or "max_tokens" in out.edits)


def test_effort_is_bounded_defaulted_and_left_out_where_unsupported() -> None:
    profile = Profile(effort_default="medium", effort_allowed=("low", "medium"))
    policy = SamplingPolicy(rules("claude-sonnet-5-5"), profile)
    assert policy.adjust(asked(effort="max")).edits == {"output_config.effort": b'"medium"'}
    assert policy.adjust(asked(effort="low")).edits == {}
    assert policy.adjust(asked()).edits == {"output_config.effort": b'"medium"'}
    assert SamplingPolicy(rules("claude-sonnet-4-5"), profile).adjust(asked(effort="low")).edits == {"output_config.effort": REMOVE}
    assert SamplingPolicy(rules("claude-opus-4-6"), Profile()).adjust(asked(effort="xhigh")).edits == {"output_config.effort": b'"high"'}


def test_a_fallbacks_thinking_is_what_its_model_takes() -> None:
    request = asked(thinking="enabled", budget_tokens=2000, max_tokens=4000)
    out = SamplingPolicy(rules("claude-haiku-5-5"), Profile()).adjust(request)
    assert out.edits == {"thinking.type": b'"adaptive"', "thinking.budget_tokens": REMOVE}
    assert SamplingPolicy(rules("claude-sonnet-4-5"), Profile()).adjust(asked(thinking="adaptive")).edits == {"thinking": REMOVE}
    assert SamplingPolicy(rules("claude-sonnet-5-5"), Profile()).adjust(asked(thinking="disabled")).edits == {
        "thinking.type": b'"between_tools"'
    }


def test_thinking_off_holds_the_effort_to_what_goes_with_it() -> None:
    out = SamplingPolicy(rules("claude-opus-5"), Profile()).adjust(asked(thinking="disabled", effort="max"))
    assert out.edits == {"output_config.effort": b'"high"'}


def test_the_profiles_thinking_mode_is_sent_only_where_it_differs_from_the_models_own() -> None:
    adaptive, off = Profile(thinking_mode="Adaptive"), Profile(thinking_mode="Off")
    assert SamplingPolicy(rules("claude-opus-4-8"), adaptive).adjust(asked()).edits == {"thinking": b'{"type":"adaptive"}'}
    assert SamplingPolicy(rules("claude-sonnet-5-5"), adaptive).adjust(asked()).edits == {}
    assert SamplingPolicy(rules("claude-sonnet-4-6"), off).adjust(asked()).edits == {}
    assert SamplingPolicy(rules("claude-opus-5"), off).adjust(asked()).edits == {"thinking": b'{"type":"disabled"}'}
    assert SamplingPolicy(rules("claude-opus-4-8"), adaptive).adjust(asked(can_think=False)).edits == {}


def test_a_thinking_budget_fits_below_max_tokens_or_is_not_sent() -> None:
    profile = Profile(thinking_mode="Budget", thinking_budget_tokens=4000)
    policy = SamplingPolicy(rules("claude-sonnet-4-5"), profile)
    assert policy.adjust(asked(max_tokens=8000)).edits == {"thinking": b'{"type":"enabled","budget_tokens":4000}'}
    assert policy.adjust(asked(max_tokens=3000)).edits == {"thinking": b'{"type":"enabled","budget_tokens":2999}'}
    assert policy.adjust(asked(max_tokens=1000)).edits == {}
    plain = SamplingPolicy(rules("claude-sonnet-4-5"), Profile(max_tokens=Bound(max=2000.0)))
    clamped = plain.adjust(asked(max_tokens=9000, thinking="enabled", budget_tokens=8000))
    assert clamped.edits == {"max_tokens": b"2000", "thinking.budget_tokens": b"1999"}


def test_the_same_question_gets_the_same_shared_answer() -> None:
    policy = SamplingPolicy(rules("claude-sonnet-5-5"), MATHS)
    assert policy.adjust(asked(max_tokens=10)) is policy.adjust(asked(max_tokens=10))
    assert policy.adjust(asked(max_tokens=8193)).edits != policy.adjust(asked(max_tokens=8192)).edits


def test_what_is_remembered_is_bounded_in_number_and_in_size() -> None:
    policy = SamplingPolicy(rules("claude-sonnet-5-5"), MATHS)
    for tokens in range(1, 2 * KNOWN_MAX):
        policy.adjust(asked(max_tokens=tokens))
    policy.adjust(asked(effort="x" * 1_000_000))
    assert 0 < len(policy.known) <= KNOWN_MAX
    assert not any("xx" in str(key) for key in policy.known)


bounds = st.tuples(st.none() | st.floats(0.0, 1.0), st.floats(0.0, 0.5), st.floats(0.5, 1.0)).map(lambda row: Bound(*row)) | st.just(
    Bound()
)
profiles = st.builds(
    Profile,
    on_violation=st.sampled_from(["Clamp", "Warn"]),
    temperature=bounds,
    top_p=bounds,
    max_tokens=st.builds(Bound, default=st.none() | st.just(2048.0), max=st.none() | st.sampled_from([1000.0, 5000.0])),
    prefer_top_p=st.booleans(),
    effort_default=st.none() | st.sampled_from(EFFORT_LEVELS),
    effort_allowed=st.sets(st.sampled_from(EFFORT_LEVELS)).map(tuple),
    thinking_mode=st.none() | st.sampled_from(["Off", "Adaptive", "Budget"]),
    thinking_budget_tokens=st.none() | st.sampled_from([1024, 4000]),
    hard_temperature=bounds,
)
requests = st.builds(
    asked,
    max_tokens=st.sampled_from([1, 1500, 6000, 500_000]),
    temperature=st.none() | st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_p=st.none() | st.sampled_from([0.5, 0.97, 0.99, 1.0]),
    top_k=st.none() | st.just(40),
    effort=st.none() | st.sampled_from(EFFORT_LEVELS),
    thinking=st.none() | st.sampled_from(["adaptive", "enabled", "disabled", "between_tools"]),
    budget_tokens=st.none() | st.sampled_from([500, 2000, 100_000]),
)


def sent(request: Asked, edits: dict[str, bytes]) -> dict[str, Any]:
    """The parameters as they go upstream."""
    body: dict[str, Any] = {name: getattr(request, name) for name in ("max_tokens", "temperature", "top_p", "top_k")}
    body["output_config.effort"] = request.effort
    body["thinking.type"] = request.thinking
    body["thinking.budget_tokens"] = request.budget_tokens if request.thinking == "enabled" else None
    for path, value in edits.items():
        if path == "thinking":
            thinking = {} if value == REMOVE else json.loads(value)
            body["thinking.type"], body["thinking.budget_tokens"] = thinking.get("type"), thinking.get("budget_tokens")
        else:
            body[path] = None if value == REMOVE else json.loads(value)
    return body


@settings(max_examples=30)
@given(model=st.sampled_from(CATALOGUE.models), version=st.sampled_from([OLD, NEW]), profile=profiles, request=requests)
def test_what_is_sent_is_legal_for_the_model_whatever_was_asked(model: Model, version: str, profile: Profile, request: Asked) -> None:
    law = rules_of(model, version)
    body = sent(request, SamplingPolicy(law, profile).adjust(request).edits)
    kind, effort = body["thinking.type"], body["output_config.effort"]
    rule = law.sampling.under_thinking(is_thinking(law.thinking, kind))
    assert illegal_sampling(rule, temperature=body["temperature"], top_p=body["top_p"], top_k=body["top_k"]) == ()
    for name, parameter in (("temperature", rule.temperature), ("top_p", rule.top_p)):
        assert body[name] is None or parameter.admits(body[name])
    assert body["max_tokens"] <= law.max_output_tokens
    assert kind is None or kind in law.thinking.accepts
    if effort is not None and law.effort_levels is not None:
        assert effort in law.effort_levels
        cap = effort_cap(law.thinking, kind)
        order: tuple[str, ...] = EFFORT_LEVELS
        assert cap is None or order.index(effort) <= order.index(cap)
    if kind == "enabled" and body["thinking.budget_tokens"] is not None:
        assert 1024 <= body["thinking.budget_tokens"] < body["max_tokens"]


@settings(max_examples=30)
@example(
    model=next(model for model in CATALOGUE.models if model.id.startswith("claude-opus-4-5")),
    profile=Profile(thinking_mode="Adaptive", thinking_budget_tokens=1024),
    request=asked(max_tokens=1500, top_p=0.5, thinking="adaptive"),
)
@given(model=st.sampled_from(CATALOGUE.models), profile=profiles, request=requests)
def test_adjusting_twice_changes_nothing_more_of_the_sampling(model: Model, profile: Profile, request: Asked) -> None:
    policy = SamplingPolicy(rules_of(model, OLD), profile)
    body = sent(request, policy.adjust(request).edits)
    again = asked(
        max_tokens=body["max_tokens"],
        temperature=body["temperature"],
        top_p=body["top_p"],
        top_k=body["top_k"],
        effort=body["output_config.effort"],
        thinking=body["thinking.type"],
        budget_tokens=body["thinking.budget_tokens"],
        can_think=request.can_think and (request.thinking is None or body["thinking.type"] is not None),
    )
    assert "max_tokens" not in policy.adjust(again).edits
    if body["temperature"] is not None or body["top_p"] is not None:
        assert {"temperature", "top_p"}.isdisjoint(policy.adjust(again).edits)
