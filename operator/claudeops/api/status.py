"""The status that the operator writes. Figures are of the whole workload or quota, a minute unless a name says otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from claudeops.api.part import Keyed, Part, code_default

Text = Annotated[str, Field(max_length=253)]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
ShortDuration = Annotated[str, Field(max_length=16)]
Figure = Annotated[float, Field(ge=0)]


class Condition(Part):
    """A ``metav1.Condition``."""

    type: Annotated[str, Field(max_length=316)]
    """What the condition is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: int | None = None
    """The generation it was decided on."""
    last_transition_time: Time
    """When the status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """A word for programs."""
    message: Annotated[str, Field(max_length=32_768)]
    """A sentence for people."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=32), Keyed("type")]


class Effective(Part):
    """What holds now, defaults applied."""

    model: Text | None = None
    """Model that serves now."""
    tier: Literal["Primary", "Fallback"] | None = None
    """Tier that serves now."""
    quota: Text | None = None
    """Quota in use."""
    placement: Text | None = None
    client_choice: Text | None = None
    on_violation: Text | None = None
    prompt_cache: Text | None = None
    weight: int | None = None
    queue: Annotated[dict[str, Any], Field(max_length=8)] | None = None
    resilience: Annotated[dict[str, Any], Field(max_length=8)] | None = None
    connections: Annotated[dict[str, Any], Field(max_length=8)] | None = None


class Proxies(Part):
    """How many proxies there are, report, and run the desired config."""

    expected: int = 0
    connected: int = 0
    converged: int = 0


class Grant(Part):
    """What the workload may use now."""

    requests_per_minute: Figure | None = None
    input_tokens_per_minute: Figure | None = None
    output_tokens_per_minute: Figure | None = None


class Observed(Part):
    """What the workload does now."""

    requests_per_minute: Figure | None = None
    throttled_per_minute: Figure | None = None
    """Upstream 429s a minute."""
    shed_per_minute: Figure | None = None
    """Requests refused here a minute."""
    queue_wait_p95: ShortDuration | None = None
    time_to_first_token_p95: ShortDuration | None = None
    latency_p95: ShortDuration | None = None


class SloStatus(Part):
    """One objective, over the last hour."""

    indicator: Text
    met: bool | None = None
    """Absent: too few requests to say."""
    current_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    burn_rate: Figure | None = None


class BreakerStatus(Part):
    """One model's breakers over all proxies."""

    model: Text
    state: Literal["Closed", "Open", "HalfOpen"]
    since: Time | None = None
    reason: Text | None = None
    open_proxies: int = 0


class WorkloadStatus(Part):
    """What the operator knows about a workload."""

    observed_generation: int = -1
    """The generation that this status is about; -1: not seen yet."""
    conditions: Conditions = code_default(())
    """Conditions, by type."""
    effective: Effective | None = None
    """What holds now, defaults applied."""
    revision: int | None = None
    """Of the rendered proxy config."""
    proxies: Proxies | None = None
    """Proxies expected, connected and converged."""
    replicas: int | None = None
    """Replicas of the scaling target."""
    desired_replicas: int | None = None
    """Replicas that the operator wants."""
    connections_per_proxy: int | None = None
    """Size of one proxy's connection pool."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the workload's pods, for /scale."""
    grant: Grant | None = None
    """What the workload may use now."""
    observed: Observed | None = None
    """What the workload does now."""
    slos: Annotated[tuple[SloStatus, ...], Field(max_length=8), Keyed("indicator")] = code_default(())
    """Objectives, over the last hour."""
    breakers: Annotated[tuple[BreakerStatus, ...], Field(max_length=32), Keyed("model")] = code_default(())
    """Breakers, by model."""


class QuotaGroupStatus(Part):
    """One dimension of one model group."""

    group: Text
    dimension: Literal["Requests", "InputTokens", "OutputTokens"]
    declared: Figure | None = None
    """Limit by tier and overrides."""
    learned: Figure | None = None
    """Limit by the API's headers."""
    level: Figure | None = None
    """Fill of the organisation's bucket, in percent."""
    capacity: Figure | None = None
    """What this cluster shares out."""
    granted: Figure | None = None
    """What the workloads hold."""
    used: Figure | None = None
    """What the workloads use."""
    outside: Figure | None = None
    """Use of the organisation that no proxy reported."""
    throttled_per_minute: Figure | None = None
    """Upstream 429s a minute."""
    workloads: int | None = None
    """Workloads that use the group."""


class QuotaStatus(Part):
    """What the operator knows about a quota."""

    observed_generation: int = -1
    """The generation that this status is about; -1: not seen yet."""
    conditions: Conditions = code_default(())
    """Conditions, by type."""
    organization_id: Annotated[str, Field(max_length=128)] | None = None
    """The organisation seen in the API's answers."""
    groups: Annotated[tuple[QuotaGroupStatus, ...], Field(max_length=256), Keyed("group", "dimension")] = code_default(())
    """Limits in use, by model group and dimension."""
