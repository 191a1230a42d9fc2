"""What a quota's ``status`` says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from claudeops.fleet.condition import Condition, Object, render_conditions, truth
from claudeops.fleet.rounding import round_figure
from claudeops.fleet.views import GroupView, QuotaView
from claudeops.fleet.workload_status import Problem
from claudeops.translate import QuotaTerms

_DIMENSIONS: Final = {"requests": "Requests", "inputTokens": "InputTokens", "outputTokens": "OutputTokens"}


@dataclass(frozen=True)
class QuotaFacts:
    """All that a quota's status depends on. ``overlapping`` are other quotas of the same organisation."""

    item: Object
    view: QuotaView
    problem: Problem | None = None
    warnings: tuple[str, ...] = ()
    overlapping: tuple[str, ...] = ()
    previous: Mapping[str, Any] = field(default_factory=dict)


def quota_status(facts: QuotaFacts, now: datetime) -> Object:
    """The whole status as it should be written, figures included."""
    generation = int(facts.item["metadata"].get("generation", 0))
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = render_conditions(_conditions(facts), facts.previous.get("conditions") or (), generation=generation, now=stamp)
    status: Object = {"observedGeneration": generation, "conditions": conditions, "groups": [_group(view) for view in facts.view.groups]}
    organization = facts.view.organization_id or facts.previous.get("organizationId")
    return status | ({"organizationId": organization} if organization else {})


def with_seen_organization(terms: QuotaTerms, item: Object) -> QuotaTerms:
    """The terms with the organisation that the status remembers, where the spec names none: so that after a restart the first report
    of a foreign key cannot make the quota another organisation's."""
    if terms.organization_id is not None:
        return terms
    return replace(terms, organization_id=(item.get("status") or {}).get("organizationId"))


def _conditions(facts: QuotaFacts) -> tuple[Condition, ...]:
    problem = facts.problem
    suffix = f" Note: {'; '.join(facts.warnings)}." if facts.warnings else ""
    if problem is None:
        ready = Condition("Ready", "True", "Accepted", f"The limits are shared out to the workloads that refer to this quota.{suffix}")
    else:
        ready = Condition("Ready", "False", problem.reason, problem.message)
    stalled = Condition("Stalled", truth(problem is not None), ready.reason if problem else "NotStalled", ready.message if problem else "")
    others = ", ".join(sorted(facts.overlapping))
    message = f"These quotas are of the same organisation, so each shares out what is not its own: {others}." if others else ""
    overlaps = Condition("Overlaps", truth(bool(others)), "SameOrganization" if others else "Alone", message)
    return ready, Condition("Reconciling", "False", "Settled", ""), stalled, overlaps


def _group(view: GroupView) -> Object:
    figures = {
        "declared": view.declared,
        "learned": view.learned,
        "level": None if view.level is None else 100 * view.level,
        "capacity": view.capacity,
        "granted": view.granted,
        "used": view.used,
        "outside": view.outside,
        "throttledPerMinute": view.throttled_per_minute,
    }
    rounded = {name: round_figure(max(0.0, value)) for name, value in figures.items() if value is not None}
    return {"group": view.group, "dimension": _DIMENSIONS[view.dimension], **rounded, "workloads": view.workloads}
