"""``ClaudeWorkload``: how one workload may use Claude."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from claudeops.api.metadata import Metadata
from claudeops.api.part import ATOMIC, Keyed, Part, Rule, code_default
from claudeops.api.scalar import (
    Duration,
    KeyReference,
    ModelName,
    ObjectName,
    Percent,
    PositiveDuration,
    Rates,
    Reference,
    seconds,
)
from claudeops.api.status import WorkloadStatus

_DIMENSIONS = ("requests", "input_tokens", "output_tokens")


FederationId = Annotated[str, Field(min_length=1, max_length=128, pattern="^[-_A-Za-z0-9]+$")]


class Federation(Part):
    """Keyless: the proxy shows the API a token of the pod's ServiceAccount and gets a short-lived access token for it."""

    rule_id: FederationId
    """The organisation's federation rule that trusts this cluster's ServiceAccount tokens."""
    organization_id: FederationId
    """Id of the organisation, a UUID."""
    service_account_id: FederationId | None = None
    """The API's service account to act as. Absent: the rule's."""
    workspace_id: FederationId | None = None
    """Workspace of the access token. Absent: the rule's only one, else the organisation's default."""
    audience: Annotated[str, Field(min_length=1, max_length=256)]
    """Audience of the ServiceAccount token, as the federation rule or its issuer expects it."""


class Credentials(Part):
    """How the proxy proves who it is: an API key, or federation. The application never sees either."""

    RULES: ClassVar = (
        Rule(
            cel="has(self.secretRef) != has(self.federation)",
            message=(
                "write exactly one of credentials.secretRef: {name, key}, the Secret in this namespace that holds the API key, "
                "and credentials.federation: {ruleId, organizationId, audience}"
            ),
            holds=lambda it: (it.secret_ref is None) != (it.federation is None),
        ),
    )

    secret_ref: KeyReference | None = None
    """Secret in the workload's namespace; mounted into the proxy container only."""
    federation: Federation | None = None
    """Keyless: a token of the pod's ServiceAccount, mounted into the proxy container only, is exchanged at the API."""


class Fallback(Part):
    """One tier behind the primary model."""

    model: ModelName
    """Model that serves when the tiers before it cannot."""


class Model(Part):
    """The model to serve, and what may stand in for it."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.fallbacks) || self.fallbacks.all(f, f.model != self.name)",
            message="a fallback must differ from model.name: remove it, or name another model",
            holds=lambda it: all(fallback.model != it.name for fallback in it.fallbacks),
            field="fallbacks",
        ),
        Rule(
            cel="!has(self.fallbacks) || self.fallbacks.all(f, self.fallbacks.exists_one(g, g.model == f.model))",
            message="name each fallback model once: remove the duplicate",
            holds=lambda it: len({fallback.model for fallback in it.fallbacks}) == len(it.fallbacks),
            field="fallbacks",
        ),
    )

    name: ModelName
    """Primary model."""
    client_choice: Literal["Never", "Listed", "Allowed"] = code_default("Never")
    """Never: the request's model is replaced. Listed: it may name this model or a fallback. Allowed: any model. Default Never."""
    fallbacks: Annotated[tuple[Fallback, ...], Field(max_length=5, json_schema_extra=ATOMIC)] = code_default(())
    """Tiers behind the primary model, in order."""


class WorkloadSampling(Part):
    """Which sampling parameters requests may carry."""

    profile_ref: Reference
    """The SamplingProfile whose bounds and defaults hold."""
    on_violation: Literal["Clamp", "Reject", "Warn"] = code_default("Clamp")
    """Clamp: to the nearest bound. Reject: 400. Warn: let pass and count. Default Clamp."""


class Queue(Part):
    """How long, and behind how many, a request may wait in one proxy."""

    max_wait: Duration = code_default("20s")
    """Longest wait. Default 20s."""
    max_length: Annotated[int, Field(ge=0, le=100_000)] = code_default(1000)
    """Most requests that wait. Default 1000."""


def _is_within(it: Limits, dimension: str) -> bool:
    floor, ceiling = (getattr(rates, f"{dimension}_per_minute", None) for rates in (it.guaranteed, it.maximum))
    return floor is None or ceiling is None or floor <= ceiling


def _guarantee_rule(dimension: str, field: str) -> Rule:
    return Rule(
        cel=(
            f"!has(self.guaranteed) || !has(self.guaranteed.{field}) || !has(self.maximum) || !has(self.maximum.{field}) || "
            f"self.guaranteed.{field} <= self.maximum.{field}"
        ),
        message=f"guaranteed.{field} is over maximum.{field}: lower the guarantee, or raise the maximum",
        holds=lambda it: _is_within(it, dimension),
        field=f"guaranteed.{field}",
    )


class Limits(Part):
    """This workload's part of the quota. All figures are for the whole workload, over all models and replicas."""

    RULES: ClassVar = (
        _guarantee_rule("requests", "requestsPerMinute"),
        _guarantee_rule("input_tokens", "inputTokensPerMinute"),
        _guarantee_rule("output_tokens", "outputTokensPerMinute"),
    )

    weight: Annotated[int, Field(ge=1, le=1000)] = code_default(100)
    """Share when the quota is short. Default 100."""
    guaranteed: Rates = code_default(Rates())
    """Floor in the model group that serves now; costs nothing while unused."""
    maximum: Rates = code_default(Rates())
    """Ceiling."""
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Most requests at the API at once."""
    queue: Queue = code_default(Queue())
    """Waiting in the proxy."""


class Retry(Part):
    """Full-jitter exponential backoff within a retry budget."""

    RULES: ClassVar = (
        Rule(
            cel=(
                "duration(has(self.initialBackoff) ? self.initialBackoff : '1s') <= "
                "duration(has(self.maxBackoff) ? self.maxBackoff : '60s')"
            ),
            message="initialBackoff (default 1s) is over maxBackoff (default 60s): lower initialBackoff, or raise maxBackoff",
            holds=lambda it: seconds(it.initial_backoff) <= seconds(it.max_backoff),
            field="initialBackoff",
        ),
    )

    max_attempts: Annotated[int, Field(ge=1, le=10)] = code_default(4)
    """Attempts in all, the first one included. Default 4."""
    initial_backoff: PositiveDuration = code_default("1s")
    """Bound of the first wait. Default 1s."""
    max_backoff: PositiveDuration = code_default("60s")
    """Bound of any wait. Default 60s."""
    budget_percent: Percent = code_default(20)
    """Retries as a share of recent requests. Default 20."""


class Breaker(Part):
    """When a proxy's breaker opens for a model, and for how long."""

    consecutive_throttles: Annotated[int, Field(ge=1, le=1000)] = code_default(5)
    """429s in a row that open it. Default 5."""
    error_percent: Annotated[int, Field(ge=1, le=100)] = code_default(50)
    """Share of failures within the window that opens it. Default 50."""
    minimum_requests: Annotated[int, Field(ge=1, le=100_000)] = code_default(20)
    """Requests within the window before the share counts. Default 20."""
    window: PositiveDuration = code_default("30s")
    """Default 30s."""
    open_for: PositiveDuration = code_default("30s")
    """Time until the first probe. Default 30s."""
    probe_max_tokens: Annotated[int, Field(ge=1, le=50)] = code_default(50)
    """Most output tokens of a probe of our own. Default 50."""


class Timeouts(Part):
    """Time limits of one request."""

    connect: PositiveDuration = code_default("5s")
    """To open a connection. Default 5s."""
    first_byte: PositiveDuration = code_default("120s")
    """From sending to the first byte. Default 120s."""
    stream_idle: PositiveDuration = code_default("120s")
    """Between two bytes of a stream, and for the client to take any; nothing else ends a running stream. Default 120s."""
    total: PositiveDuration = code_default("10m")
    """Queue, retries and the time to the first relayed byte together. Default 10m."""


class Resilience(Part):
    """Retry, breaker and timeouts."""

    retry: Retry = code_default(Retry())
    """When and how often to try again."""
    breaker: Breaker = code_default(Breaker())
    """When to stop trying."""
    timeouts: Timeouts = code_default(Timeouts())
    """How long to wait."""


class PromptCache(Part):
    """The API's prompt cache."""

    mode: Literal["Client", "Always", "Off"] = code_default("Client")
    """Client: cache marks stay as sent. Always: a mark after the static prefix. Off: marks are removed. Default Client."""


class Cache(Part):
    """Caching."""

    prompt: PromptCache = code_default(PromptCache())
    """The API's prompt cache."""
    single_flight: Literal["Off", "Identical"] = code_default("Off")
    """Identical: identical non-streaming requests that are under way at the same time share one call. Default Off."""


class Session(Part):
    """How requests that belong together are known."""

    header: Annotated[str, Field(min_length=1, max_length=64, pattern="^[-_A-Za-z0-9]+$")] = code_default("x-claudeops-session")
    """A request header of the application's own that names the session; it stays behind in the proxy. Default x-claudeops-session,
    which is read beside any other; a request without either is known by its metadata.user_id."""


class Connections(Part):
    """Bounds of one proxy's connection pool to the API, in requests at once."""

    RULES: ClassVar = (
        Rule(
            cel="(has(self.min) ? self.min : 4) <= (has(self.max) ? self.max : 50)",
            message="connections.min (default 4) is over connections.max (default 50): lower min, or raise max",
            holds=lambda it: it.min <= it.max,
            field="min",
        ),
    )

    min: Annotated[int, Field(ge=0, le=10_000)] = code_default(4)
    """Kept open, used or not. Default 4."""
    max: Annotated[int, Field(ge=1, le=10_000)] = code_default(50)
    """Default 50."""
    protocol: Literal["Auto", "HTTP1", "HTTP2"] = code_default("Auto")
    """HTTP1: a connection for each request that runs. HTTP2: they share a few. Auto: HTTP1, which costs less CPU. Default Auto."""


class ScaleTarget(Part):
    """What is scaled, in the workload's namespace."""

    kind: Literal["Deployment", "StatefulSet"]
    """Kind of the target."""
    name: ObjectName
    """Name of the target."""


class Scaling(Part):
    """Who decides the number of replicas. Absent: no replica count is touched."""

    RULES: ClassVar = (
        Rule(
            cel="(has(self.min) ? self.min : 1) <= self.max",
            message="scaling.min (default 1) is over scaling.max: lower min, or raise max",
            holds=lambda it: it.min <= it.max,
            field="min",
        ),
    )

    mode: Literal["Adaptive", "External", "Fixed"] = code_default("Adaptive")
    """Adaptive: the operator. External: an HPA or KEDA through /scale of this object. Fixed: spec.replicas. Default Adaptive."""
    target_ref: ScaleTarget
    """What is scaled."""
    min: Annotated[int, Field(ge=1, le=10_000)] = code_default(1)
    """Fewest replicas. Default 1."""
    max: Annotated[int, Field(ge=1, le=10_000)]
    """Most replicas. Without a controller each proxy holds the workload's limits divided by this."""
    target_in_flight_per_replica: Annotated[int, Field(ge=1, le=10_000)] = code_default(16)
    """Requests that one replica handles at once. Default 16."""


class Slo(Part):
    """One objective, measured by the proxies."""

    RULES: ClassVar = (
        Rule(
            cel="has(self.threshold) && has(self.objectivePercent)",
            message='an objective needs both threshold, such as "1s", and objectivePercent, such as 95',
            holds=lambda it: it.threshold is not None and it.objective_percent is not None,
        ),
    )

    indicator: Literal["TimeToFirstToken", "Latency"]
    """What is measured: the first token of streamed answers, or the whole duration of every one."""
    threshold: PositiveDuration | None = None
    """A request is good within this time."""
    objective_percent: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Share of good requests to reach."""


class WorkloadSpec(Part):
    """How one workload may use Claude."""

    RULES: ClassVar = (
        Rule(
            cel="has(self.credentials) || (has(self.placement) && self.placement != 'Sidecar')",
            message="placement Sidecar needs credentials: write credentials.secretRef: {name, key}, or credentials.federation",
            holds=lambda it: it.credentials is not None or it.placement != "Sidecar",
            field="credentials",
        ),
    )

    quota_ref: Reference = code_default(Reference(name="default"))
    """The ClaudeQuota that this workload shares. Default: the one named default."""
    placement: Literal["Sidecar"] = code_default("Sidecar")
    """Sidecar: a proxy in every pod labelled claudeops.dev/workload with this workload's name. Default Sidecar."""
    credentials: Credentials | None = None
    """The API key, or federation. Required for placement Sidecar."""
    model: Model
    """The model to serve, and what may stand in for it."""
    sampling: WorkloadSampling | None = None
    """Which sampling parameters requests may carry. Absent: as sent, but for what the model does not take."""
    limits: Limits = code_default(Limits())
    """This workload's part of the quota."""
    resilience: Resilience = code_default(Resilience())
    """Retry, breaker and timeouts."""
    cache: Cache = code_default(Cache())
    """Caching."""
    endpoints: Annotated[tuple[Literal["Batches", "Files"], ...], Field(max_length=2, json_schema_extra={"uniqueItems": True})] = (
        code_default(())
    )
    """Endpoints of the API that are opened besides messages, count_tokens and models."""
    session: Session = code_default(Session())
    """What makes a session: they take turns in the queue, and each stays on the fallback that has served it."""
    connections: Connections = code_default(Connections())
    """Connection pool to the API, per proxy."""
    replicas: Annotated[int, Field(ge=0, le=10_000)] = 1
    """The field behind /scale: read in the modes External and Fixed, ignored in Adaptive."""
    scaling: Scaling | None = None
    """Who decides the number of replicas. Absent: no replica count is touched."""
    slos: Annotated[
        tuple[Slo, ...],
        Field(max_length=2),
        Keyed("indicator"),
    ] = code_default(())
    """Objectives, one per indicator."""


class ClaudeWorkload(Part):
    """How one workload may use Claude."""

    RULES: ClassVar = (
        Rule(
            cel="size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            message="name the ClaudeWorkload with at most 52 lower-case letters, digits and dashes (no dots), such as support-bot",
            holds=lambda it: re.fullmatch("[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", it.metadata.name) is not None,
            field="metadata.name",
        ),
    )

    api_version: Literal["claudeops.dev/v1alpha1"] = "claudeops.dev/v1alpha1"
    kind: Literal["ClaudeWorkload"] = "ClaudeWorkload"
    metadata: Metadata
    spec: WorkloadSpec
    status: WorkloadStatus | None = None
