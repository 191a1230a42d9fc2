"""What the fleet must know of a workload and of a quota: the resources with defaults applied and every name resolved.

Rates are **a minute**, as people write them; ``None`` means that the dimension is not limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from claudeops.api import ClaudeQuota, ClaudeWorkload, seconds
from claudeops.api.scalar import Rates as DeclaredRates
from claudeops.api.workload import WorkloadSpec
from claudeops.catalogue import Catalogue, load_catalogue
from claudeops.proxyconfig import BreakerPolicy, Connections, Objective, Rates, WorkloadKey

DEFAULT_GROUP: Final = "default"
"""Stands for the group of a model that the catalogue does not know or puts into none."""

ScalingMode = Literal["Adaptive", "External", "Fixed"]


@dataclass(frozen=True, slots=True)
class ScalingTerms:
    """What is scaled, by whom, and within which bounds. ``replicas`` is the wish of the modes External and Fixed."""

    mode: ScalingMode
    target_kind: Literal["Deployment", "StatefulSet"]
    target_name: str
    min: int
    max: int
    replicas: int
    target_in_flight_per_replica: int


@dataclass(frozen=True, slots=True)
class WorkloadTerms:
    """One workload, as the fleet sees it.

    ``tiers`` are the primary model and its fallbacks in order; ``groups`` gives the limits group of each of them.
    ``guaranteed`` is as declared: see :func:`capped_guarantee` for what a quota lets stand.
    """

    workload: WorkloadKey
    quota: str
    tiers: tuple[str, ...]
    groups: Mapping[str, str]
    weight: int
    guaranteed: Rates
    maximum: Rates
    max_in_flight: int | None
    connections: Connections
    breaker: BreakerPolicy
    scaling: ScalingTerms | None
    objectives: tuple[Objective, ...]
    generation: int = 0

    @property
    def model(self) -> str:
        """The primary model."""
        return self.tiers[0]

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """The models behind it, in order."""
        return self.tiers[1:]

    @property
    def max_replicas(self) -> int:
        """What a proxy without a controller divides by. 1 where no scaling is declared."""
        return 1 if self.scaling is None else self.scaling.max


@dataclass(frozen=True, slots=True)
class QuotaTerms:
    """One quota, as the fleet sees it.

    ``limits``: group → declared limits, presets and overrides merged. ``upstream`` is the key of the API's address: breakers, flips and
    samples belong to (quota, upstream, model).
    """

    name: str
    upstream: str
    limits: Mapping[str, Rates] = field(default_factory=lambda: MappingProxyType({}))
    max_guaranteed_percent: int = 25
    reserve_percent: int = 0
    is_learning_from_headers: bool = True
    organization_id: str | None = None
    generation: int = 0


def workload_terms(workload: ClaudeWorkload) -> WorkloadTerms:
    """The workload with defaults applied."""
    spec = workload.spec
    tiers = (spec.model.name, *(fallback.model for fallback in spec.model.fallbacks))
    catalogue = load_catalogue()
    return WorkloadTerms(
        workload=WorkloadKey(namespace=workload.metadata.namespace, name=workload.metadata.name),
        quota=spec.quota_ref.name,
        tiers=tiers,
        groups=MappingProxyType({model: limits_group(model, catalogue) for model in tiers}),
        weight=spec.limits.weight,
        guaranteed=_rates(spec.limits.guaranteed),
        maximum=_rates(spec.limits.maximum),
        max_in_flight=spec.limits.max_in_flight,
        connections=Connections(min=spec.connections.min, max=spec.connections.max, protocol=spec.connections.protocol),
        breaker=breaker_policy(spec),
        scaling=_scaling(spec),
        objectives=objectives(spec),
        generation=workload.metadata.generation,
    )


def quota_terms(quota: ClaudeQuota) -> QuotaTerms:
    """The quota with every group's limits resolved: the tier's preset, overridden dimension by dimension."""
    spec = quota.spec
    catalogue = load_catalogue()
    limits: dict[str, Rates] = {}
    for group in catalogue.groups:
        preset = catalogue.tier_limits(spec.tier, group)
        if preset is not None:
            limits[group] = Rates(
                requests_per_minute=preset.requests_per_minute,
                input_tokens_per_minute=preset.input_tokens_per_minute,
                output_tokens_per_minute=preset.output_tokens_per_minute,
            )
    for override in spec.limits:
        limits[override.group] = _overlay(limits.get(override.group, Rates()), _rates(override))
    return QuotaTerms(
        name=quota.metadata.name,
        upstream=upstream_key(spec.upstream.base_url),
        limits=MappingProxyType(limits),
        max_guaranteed_percent=spec.max_guaranteed_percent,
        reserve_percent=spec.reserve_percent,
        is_learning_from_headers=spec.learn_from_headers,
        organization_id=spec.organization_id,
        generation=quota.metadata.generation,
    )


def limits_group(model: str, catalogue: Catalogue) -> str:
    """The limits group of a model's id or alias; :data:`DEFAULT_GROUP` where the catalogue has none."""
    found = catalogue.model(model)
    return DEFAULT_GROUP if found is None or found.rate_limit_group is None else found.rate_limit_group


def upstream_key(base_url: str) -> str:
    """Equal for addresses of one API: scheme and host in lower case, default port and trailing slash dropped."""
    scheme, _, rest = base_url.partition("://")
    host, slash, path = rest.partition("/")
    port = {"https": ":443", "http": ":80"}.get(scheme.lower(), "")
    return f"{scheme.lower()}://{host.lower().removesuffix(port)}{slash}{path}".rstrip("/")


def capped_guarantee(workload: WorkloadTerms, quota: QuotaTerms, group: str) -> Rates:
    """What the quota lets stand of the workload's guarantee in this group: at most ``max_guaranteed_percent`` of each limit."""
    limits = quota.limits.get(group, Rates())

    def cap(floor: float | None, limit: float | None) -> float | None:
        return floor if floor is None or limit is None else min(floor, limit * quota.max_guaranteed_percent / 100)

    return Rates(
        requests_per_minute=cap(workload.guaranteed.requests_per_minute, limits.requests_per_minute),
        input_tokens_per_minute=cap(workload.guaranteed.input_tokens_per_minute, limits.input_tokens_per_minute),
        output_tokens_per_minute=cap(workload.guaranteed.output_tokens_per_minute, limits.output_tokens_per_minute),
    )


def baseline(workload: WorkloadTerms, quota: QuotaTerms, group: str) -> Rates:
    """What one proxy may use of this group when no lease holds: guaranteed ÷ ``scaling.max``, never under 0.5 requests a second.

    A dimension without a guarantee is bounded by the requests alone.
    """
    floor = capped_guarantee(workload, quota, group)

    def share(rate: float | None) -> float | None:
        return None if rate is None else rate / workload.max_replicas

    return Rates(
        requests_per_minute=max(_LEAST_REQUESTS_PER_MINUTE, share(floor.requests_per_minute) or 0.0),
        input_tokens_per_minute=share(floor.input_tokens_per_minute),
        output_tokens_per_minute=share(floor.output_tokens_per_minute),
    )


_LEAST_REQUESTS_PER_MINUTE: Final = 30.0


def objectives(spec: WorkloadSpec) -> tuple[Objective, ...]:
    """The SLOs, thresholds in seconds."""
    return tuple(
        Objective(indicator=slo.indicator, threshold_s=seconds(slo.threshold), objective_percent=slo.objective_percent)
        for slo in spec.slos
        if slo.threshold is not None and slo.objective_percent is not None
    )


def breaker_policy(spec: WorkloadSpec) -> BreakerPolicy:
    """The breaker, times in seconds."""
    breaker = spec.resilience.breaker
    return BreakerPolicy(
        consecutive_throttles=breaker.consecutive_throttles,
        error_percent=breaker.error_percent,
        minimum_requests=breaker.minimum_requests,
        window_s=seconds(breaker.window),
        open_for_s=seconds(breaker.open_for),
        probe_max_tokens=breaker.probe_max_tokens,
    )


def _scaling(spec: WorkloadSpec) -> ScalingTerms | None:
    scaling = spec.scaling
    if scaling is None:
        return None
    return ScalingTerms(
        mode=scaling.mode,
        target_kind=scaling.target_ref.kind,
        target_name=scaling.target_ref.name,
        min=scaling.min,
        max=scaling.max,
        replicas=spec.replicas,
        target_in_flight_per_replica=scaling.target_in_flight_per_replica,
    )


def _rates(declared: DeclaredRates) -> Rates:
    return Rates(
        requests_per_minute=declared.requests_per_minute,
        input_tokens_per_minute=declared.input_tokens_per_minute,
        output_tokens_per_minute=declared.output_tokens_per_minute,
    )


def _overlay(preset: Rates, override: Rates) -> Rates:
    def pick(new: float | None, old: float | None) -> float | None:
        return old if new is None else new

    return Rates(
        requests_per_minute=pick(override.requests_per_minute, preset.requests_per_minute),
        input_tokens_per_minute=pick(override.input_tokens_per_minute, preset.input_tokens_per_minute),
        output_tokens_per_minute=pick(override.output_tokens_per_minute, preset.output_tokens_per_minute),
    )
