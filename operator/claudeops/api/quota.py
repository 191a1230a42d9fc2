"""``ClaudeQuota``: one organisation's rate limits and the way to its API."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from claudeops.api.metadata import Metadata
from claudeops.api.part import ATOMIC, Keyed, Part, Rule, code_default
from claudeops.api.scalar import GroupName, KeyReference, Percent, Rates
from claudeops.api.status import QuotaStatus

_HTTPS: Final = r"^https://[^/?#@\s]+(/[^?#\s]*)?$"
_PROXY: Final = r"^http://[^/?#@\s]+/?$"
_LOCAL_HTTP: Final = r"^http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\]|([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+svc)(:[0-9]{1,5})?(/[^?#\s]*)?$"

LabelName = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class GroupLimits(Rates):
    """Limits of one model group; they replace the tier's preset, dimension by dimension."""

    RULES: ClassVar = (
        Rule(
            cel="has(self.requestsPerMinute) || has(self.inputTokensPerMinute) || has(self.outputTokensPerMinute)",
            message="state at least one of requestsPerMinute, inputTokensPerMinute and outputTokensPerMinute for this group, or remove it",
            holds=lambda it: (it.requests_per_minute, it.input_tokens_per_minute, it.output_tokens_per_minute) != (None, None, None),
        ),
    )

    group: GroupName
    """Name of the model group in the catalogue, such as sonnet-5.5."""


class LabelRequirement(Part):
    """One expression of a label selector."""

    RULES: ClassVar = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="In and NotIn need values; Exists and DoesNotExist take none",
            holds=lambda it: (it.operator in ("In", "NotIn")) == bool(it.values),
            field="values",
        ),
    )

    key: LabelName
    """Label that the expression is about."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label relates to the values."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = code_default(())
    """Values of In and NotIn."""


class LabelSelector(Part):
    """A Kubernetes label selector: all of it must match, and an empty one matches everything."""

    match_labels: Annotated[dict[LabelName, LabelValue], Field(max_length=64)] = code_default({})
    """Labels and their values."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=32, json_schema_extra=ATOMIC)] = code_default(())
    """Expressions over labels."""


def _is_upstream_allowed(it: QuotaUpstream) -> bool:
    return re.fullmatch(_HTTPS, it.base_url) is not None or (it.allow_plaintext and re.fullmatch(_LOCAL_HTTP, it.base_url) is not None)


class QuotaUpstream(Part):
    """Where the Claude API is."""

    RULES: ClassVar = (
        Rule(
            cel=(
                f"!has(self.baseUrl) || self.baseUrl.matches(r'{_HTTPS}') || "
                f"(has(self.allowPlaintext) && self.allowPlaintext && self.baseUrl.matches(r'{_LOCAL_HTTP}'))"
            ),
            message=(
                "write an https:// URL without user, query or fragment; "
                "plain http is only for loopback and *.svc hosts, and needs allowPlaintext: true"
            ),
            holds=_is_upstream_allowed,
            field="baseUrl",
        ),
        Rule(
            cel=f"!has(self.proxyUrl) || self.proxyUrl.matches(r'{_PROXY}')",
            message=(
                "write http://HOST:PORT, not https://, of an HTTP proxy that takes CONNECT (TLS with the API goes through it), "
                "without path, query, user or password: "
                "a ConfigMap would show them; write user:password under the key proxy-credentials of each workload's Secret"
            ),
            holds=lambda it: it.proxy_url is None or re.fullmatch(_PROXY, it.proxy_url) is not None,
            field="proxyUrl",
        ),
    )

    base_url: Annotated[str, Field(max_length=512)] = code_default("https://api.anthropic.com")
    """Base URL of the API. Default https://api.anthropic.com."""
    allow_plaintext: bool = code_default(False)
    """Allows http to loopback and *.svc hosts. Default false."""
    ca_bundle_ref: KeyReference | None = None
    """ConfigMap in the operator's namespace with the PEM certificates to trust. Absent: the system's."""
    proxy_url: Annotated[str, Field(max_length=512)] | None = None
    """HTTP proxy on the way to the API, such as http://proxy.corp:3128; TLS goes through it untouched. Absent: none. It is
    logged in to with user:password from the key proxy-credentials of the workload's Secret, if there is that key."""


class QuotaSpec(Part):
    """One organisation's rate limits and the way to its API."""

    RULES: ClassVar = (
        Rule(
            cel="!(self.tier in ['Custom', 'Evaluation']) || (has(self.limits) && size(self.limits) > 0)",
            message="the tiers Custom and Evaluation have no preset: write limits for every model group in use",
            holds=lambda it: it.tier not in ("Custom", "Evaluation") or bool(it.limits),
            field="limits",
        ),
    )

    tier: Literal["Start", "Build", "Scale", "Evaluation", "Custom"]
    """Usage tier of the organisation: the preset of each group's limits. Evaluation and Custom have none."""
    limits: Annotated[
        tuple[GroupLimits, ...],
        Field(max_length=64),
        Keyed("group"),
    ] = code_default(())
    """What replaces the preset, by model group."""
    allowed_namespaces: LabelSelector | None = None
    """Whose workloads may refer to this quota. Absent: nobody's, except for the quota named default (everybody's)."""
    max_guaranteed_percent: Percent = 25
    """Most of each limit that one workload may have guaranteed."""
    reserve_percent: Annotated[int, Field(ge=0, le=90)] = 0
    """Part of each limit left to users of the organisation outside of this cluster."""
    learn_from_headers: bool = True
    """Whether the API's own rate-limit headers correct the declared limits."""
    organization_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The organisation whose limits these are. Absent: the first one seen."""
    upstream: QuotaUpstream = code_default(QuotaUpstream())
    """Where the Claude API is."""


class ClaudeQuota(Part):
    """One organisation's rate limits and the way to its API."""

    api_version: Literal["claudeops.dev/v1alpha1"] = "claudeops.dev/v1alpha1"
    kind: Literal["ClaudeQuota"] = "ClaudeQuota"
    metadata: Metadata
    spec: QuotaSpec
    status: QuotaStatus | None = None
