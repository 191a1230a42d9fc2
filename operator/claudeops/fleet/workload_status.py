"""From what was observed to what ``status`` says. Pure: one function per condition, one table of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from claudeops.api import ClaudeWorkload
from claudeops.fleet.condition import Condition, Object, Truth, render_conditions, truth
from claudeops.fleet.rounding import format_duration, round_figure
from claudeops.fleet.views import BreakerView, WorkloadView
from claudeops.translate import effective
from claudeops.translate.naming import pod_selector

_DIMENSION_WORDS: Final = {"requests": "requests", "inputTokens": "input tokens", "outputTokens": "output tokens"}
_NAMED: Final = 5
"""How many pods or proxies a message names."""


@dataclass(frozen=True)
class Problem:
    """Why a workload has no current config. A permanent one is the writer's to fix and stalls; the others may pass."""

    reason: str
    message: str
    is_permanent: bool = False


@dataclass(frozen=True)
class WorkloadFacts:
    """All that a workload's status depends on."""

    item: Object
    workload: ClaudeWorkload | None
    view: WorkloadView
    problem: Problem | None = None
    warnings: tuple[str, ...] = ()
    revision: int | None = None
    expected: int = 0
    uninjected: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    replicas: int | None = None
    rival: str = ""
    has_short_grace: bool = False
    previous: Mapping[str, Any] = field(default_factory=dict)


def workload_status(facts: WorkloadFacts, now: datetime) -> Object:
    """The whole status as it should be written, figures included."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata, view = facts.item["metadata"], facts.view
    generation = int(metadata.get("generation", 0))
    status: Object = {
        "observedGeneration": generation,
        "conditions": render_conditions(_conditions(facts), facts.previous.get("conditions") or (), generation=generation, now=stamp),
        "selector": pod_selector(metadata["name"]),
        "proxies": {"expected": facts.expected, "connected": view.connected, "converged": view.converged},
        "effective": _effective(facts),
        "breakers": [_breaker(breaker, facts.previous, now) for breaker in view.breakers],
    }
    optional = {"revision": facts.revision, "replicas": facts.replicas, "desiredReplicas": view.desired_replicas}
    status |= {name: value for name, value in optional.items() if value is not None}
    return status | _figures(view)


def _conditions(facts: WorkloadFacts) -> Sequence[Condition]:
    ready = _ready(facts)
    is_stalled = facts.problem is not None and facts.problem.is_permanent
    is_moving = ready.status != "True" and not is_stalled
    return (
        ready,
        Condition("Reconciling", truth(is_moving), ready.reason if is_moving else "Settled", ready.message if is_moving else ""),
        Condition("Stalled", truth(is_stalled), ready.reason if is_stalled else "NotStalled", ready.message if is_stalled else ""),
        _throttled(facts.view),
        _fallback(facts),
        _quota_satisfied(facts),
        _capped(facts),
        _slo_met(facts.view),
        _injection_missing(facts),
        _telemetry_stale(facts.stale),
    )


def _ready(facts: WorkloadFacts) -> Condition:
    view = facts.view
    if facts.problem is not None:
        return Condition("Ready", "False", facts.problem.reason, facts.problem.message)
    if view.keyless:
        return Condition("Ready", "False", "SecretNotFound", _secret_message(facts))
    notes = [*facts.warnings]
    if facts.has_short_grace:
        notes.append("pods end within less than 600 s (terminationGracePeriodSeconds): a long stream can be cut when one is stopped")
    suffix = f" Note: {'; '.join(notes)}." if notes else ""
    if view.connected == 0 and facts.expected == 0:
        return Condition("Ready", "True", "NoProxies", f"The config is rendered; no pod carries a proxy yet.{suffix}")
    if view.connected == 0 and not _was_ready(facts):
        return Condition("Ready", "False", "Progressing", f"No proxy has reported yet.{suffix}")
    if view.converged < view.connected:
        return Condition("Ready", "False", "Progressing", f"Not every proxy runs the current config yet.{suffix}")
    return Condition("Ready", "True", "Converged", f"Every connected proxy runs the current config.{suffix}")


def _was_ready(facts: WorkloadFacts) -> bool:
    """Whether this generation was ready before: silence after a restart of the controller is no news."""
    generation = facts.item["metadata"].get("generation")
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True" and condition.get("observedGeneration") == generation
        for condition in facts.previous.get("conditions") or ()
    )


def _secret_message(facts: WorkloadFacts) -> str:
    credentials = facts.workload.spec.credentials if facts.workload else None
    reference = credentials.secret_ref if credentials else None
    where = f'the Secret "{reference.name}" with the key "{reference.key}"' if reference else "the Secret with the API key"
    return f"The proxies find no API key: create {where} in the namespace {facts.item['metadata']['namespace']}."


def _throttled(view: WorkloadView) -> Condition:
    if not view.throttle_reason:
        return Condition("Throttled", "False", "NotThrottled", "No upstream 429 in the last 60 s.")
    return Condition("Throttled", "True", view.throttle_reason, "The API answered 429 within the last 60 s.")


def _fallback(facts: WorkloadFacts) -> Condition:
    view = facts.view
    if not view.is_fallback:
        return Condition("FallbackActive", "False", "Primary", "The primary model serves.")
    primary = facts.workload.spec.model.name if facts.workload else "the primary model"
    cause = f" ({view.flip_reason})" if view.flip_reason else ""
    message = f"{view.active_model} serves in place of {primary}, whose breakers opened{cause}."
    return Condition("FallbackActive", "True", "BreakerOpen", message)


def _quota_satisfied(facts: WorkloadFacts) -> Condition:
    view = facts.view
    if view.grant is None and view.is_quota_satisfied:
        return Condition("QuotaSatisfied", "Unknown", "NoGrant", "No proxy has asked for a share of the quota yet.")
    if view.is_quota_satisfied:
        return Condition("QuotaSatisfied", "True", "Sufficient", "The grant covers the demand.")
    word = _DIMENSION_WORDS.get(view.short_dimension or "", "quota")
    message = {
        "Contended": f"Demand is over the workload's share: short of {word}.",
        "GuaranteeNotMet": f"The guarantees of this quota do not fit together: all are scaled down ({word}).",
        "KeyOfOtherOrganization": "The API key belongs to another organisation than the quota: the workload stays on its baseline.",
    }.get(view.short_reason, f"Short of {word}.")
    return Condition("QuotaSatisfied", "False", view.short_reason, message)


def _capped(facts: WorkloadFacts) -> Condition:
    if facts.rival:
        message = f"{facts.rival} set the target's replicas back twice within 10 min: the operator leaves them alone until that stops."
        return Condition("CappedByQuota", "Unknown", "ReplicasContended", message)
    if facts.view.is_capped_by_quota:
        return Condition("CappedByQuota", "True", "QuotaBound", "Demand alone would want more replicas than the quota can feed.")
    return Condition("CappedByQuota", "False", "NotCapped", "")


def _slo_met(view: WorkloadView) -> Condition:
    if not view.slos:
        return Condition("SLOMet", "Unknown", "NoObjectives", "")
    missed = [slo.indicator for slo in view.slos if slo.is_met is False]
    if missed:
        return Condition("SLOMet", "False", "Burning", f"The error budget burns too fast: {', '.join(missed)}.")
    status: Truth = "Unknown" if any(slo.is_met is None for slo in view.slos) else "True"
    message = "Every objective is met." if status == "True" else "Too few requests to say."
    return Condition("SLOMet", status, "Met" if status == "True" else "TooFewRequests", message)


def _injection_missing(facts: WorkloadFacts) -> Condition:
    if not facts.uninjected:
        return Condition("InjectionMissing", "False", "AllInjected", "")
    scaling = facts.workload.spec.scaling if facts.workload else None
    owner = f"{scaling.target_ref.kind.lower()}/{scaling.target_ref.name}" if scaling else "deployment/NAME"
    line = f"kubectl -n {facts.item['metadata']['namespace']} rollout restart {owner}"
    message = f"These pods carry the label but no proxy: {_some(facts.uninjected)}. To put it in: {line}"
    return Condition("InjectionMissing", "True", "PodsWithoutProxy", message)


def _telemetry_stale(stale: tuple[str, ...]) -> Condition:
    if not stale:
        return Condition("TelemetryStale", "False", "Reporting", "")
    message = f"No reports any more from {_some(stale)}: the last decision stands. Likely causes: a network policy, or a node away."
    return Condition("TelemetryStale", "True", "ReportsMissing", message)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _effective(facts: WorkloadFacts) -> Object:
    workload, view = facts.workload, facts.view
    if workload is None:
        return dict(facts.previous.get("effective") or {})
    return effective(workload, model=view.active_model or workload.spec.model.name, tier="Fallback" if view.is_fallback else "Primary")


def _breaker(breaker: BreakerView, previous: Mapping[str, Any], now: datetime) -> Object:
    before: Mapping[str, Any] = next((entry for entry in previous.get("breakers") or () if entry.get("model") == breaker.model), {})
    since = (now - timedelta(seconds=breaker.since_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if before.get("state") == breaker.state:
        since = before.get("since", since)
    rendered = {"model": breaker.model, "state": breaker.state, "since": since, "openProxies": breaker.open_proxies}
    return rendered | ({"reason": breaker.reason} if breaker.reason else {})


def _figures(view: WorkloadView) -> Object:
    figures: Object = {}
    if view.connections_per_proxy is not None:
        figures["connectionsPerProxy"] = view.connections_per_proxy
    if view.grant is not None:
        grant = view.grant
        rates = {
            "requestsPerMinute": grant.requests_per_minute,
            "inputTokensPerMinute": grant.input_tokens_per_minute,
            "outputTokensPerMinute": grant.output_tokens_per_minute,
        }
        figures["grant"] = {name: round_figure(rate) for name, rate in rates.items() if rate is not None}
    seen = view.observed
    times = {
        "queueWaitP95": seen.queue_wait_p95_s,
        "timeToFirstTokenP95": seen.time_to_first_token_p95_s,
        "latencyP95": seen.latency_p95_s,
    }
    figures["observed"] = {
        "requestsPerMinute": round_figure(seen.requests_per_minute),
        "throttledPerMinute": round_figure(seen.throttled_per_minute),
        "shedPerMinute": round_figure(seen.shed_per_minute),
        **{name: format_duration(value) for name, value in times.items() if value is not None},
    }
    figures["slos"] = [
        {"indicator": slo.indicator}
        | ({} if slo.is_met is None else {"met": slo.is_met})
        | ({} if slo.current_percent is None else {"currentPercent": round(slo.current_percent, 1)})
        | ({} if slo.burn_rate is None else {"burnRate": round_figure(slo.burn_rate)})
        for slo in view.slos
    ]
    return figures
