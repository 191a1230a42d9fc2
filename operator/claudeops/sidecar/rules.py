"""A configuration's sampling block and a model's law, compiled into one policy."""

from __future__ import annotations

from claudeops.catalogue import Catalogue, Model
from claudeops.policy.legality import ModelRules, known_version
from claudeops.policy.sampling import Bound, Profile, SamplingPolicy
from claudeops.proxyconfig import Bounds, Sampling
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.runtime import Runtime

VERSIONS_MAX = 16


def policy_of(model: ModelRuntime, api_version: str | None, runtime: Runtime) -> SamplingPolicy:
    """The policy of this model under this ``anthropic-version``; compiled once."""
    found = model.policies.get(api_version)
    if found is None:
        if len(model.policies) >= VERSIONS_MAX:
            model.policies.clear()
        assert runtime.config is not None
        found = SamplingPolicy(model_rules(runtime.catalogue, model.model, api_version), profile_of(runtime.config.sampling))
        model.policies[api_version] = found
    return found


def model_rules(catalogue: Catalogue, model: Model, api_version: str | None) -> ModelRules:
    """What the API takes for this model under this version."""
    return ModelRules(
        sampling=catalogue.sampling_rule(model.sampling, known_version(api_version, catalogue.api_versions)),
        thinking=catalogue.thinking_rule(model.thinking),
        effort_levels=None if model.effort is None else model.effort.levels,
        max_output_tokens=model.max_output_tokens,
        min_budget_tokens=catalogue.min_thinking_budget_tokens,
    )


def profile_of(sampling: Sampling) -> Profile:
    """The profile as the algorithm takes it."""
    thinking = sampling.thinking
    return Profile(
        on_violation=sampling.on_violation,
        temperature=_bound(sampling.temperature),
        top_p=_bound(sampling.top_p),
        max_tokens=_bound(sampling.max_tokens),
        prefer_top_p=sampling.prefer == "TopP",
        effort_default=sampling.effort.default,
        effort_allowed=sampling.effort.allowed,
        thinking_mode=None if thinking is None else thinking.mode,
        thinking_budget_tokens=thinking.budget_tokens if thinking is not None and thinking.mode == "Budget" else None,
    )


def _bound(bounds: Bounds) -> Bound:
    return Bound(bounds.default, bounds.min, bounds.max)
