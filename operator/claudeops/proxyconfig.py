"""The controller → sidecar contract: one frozen, versioned document without a trace of Kubernetes.

It is the key ``proxy.json`` of the ConfigMap beside the workload, and travels in the exchange when a proxy runs an older one.
The document holds static intent only: nothing in it changes with replicas or load. The higher ``revision`` wins, whichever way it came.

Decoding is strict: an unknown field, a missing one or a value out of range is an :class:`~claudeops.errors.InvalidResource` that
names the path, and the receiver keeps its last good document.
"""

# No postponed annotations here: msgspec would evaluate each of them again, as text, at every start.

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from claudeops.errors import InvalidResource

SCHEMA_VERSION: Final = 1
SESSION_HEADER: Final = "x-claudeops-session"

Name = Annotated[str, Meta(min_length=1, max_length=253)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0)]

ClientChoice = Literal["Never", "Listed", "Allowed"]
ViolationAction = Literal["Clamp", "Reject", "Warn"]
PromptCacheMode = Literal["Client", "Always", "Off"]
SingleFlight = Literal["Off", "Identical"]
Endpoint = Literal["Batches", "Files"]
Indicator = Literal["TimeToFirstToken", "Latency"]
Protocol = Literal["Auto", "HTTP1", "HTTP2"]


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Common behaviour of every part: frozen, strict, camelCase on the wire."""


class WorkloadKey(Document, frozen=True, kw_only=True):
    """Names one ClaudeWorkload."""

    namespace: Name
    name: Name


class Upstream(Document, frozen=True, kw_only=True):
    """The Claude API. ``ca_bundle`` is PEM text; empty means the system's trust store. ``proxy_url`` is an HTTP proxy on the way there
    that takes CONNECT; empty means none."""

    base_url: Annotated[str, Meta(pattern="^https?://")]
    ca_bundle: str = ""
    proxy_url: Annotated[str, Meta(pattern="^(http://[^/?#@ ]+/?)?$")] = ""


class Federation(Document, frozen=True, kw_only=True):
    """Whom to ask for an access token with this pod's own identity, instead of a key. Ids are the API's; none of them is a secret."""

    rule_id: Name
    organization_id: Name
    service_account_id: str = ""
    workspace_id: str = ""


class ControllerAddress(Document, frozen=True, kw_only=True):
    """Where the exchange is, whom its certificate must name, and the audience of the token that it wants."""

    url: Annotated[str, Meta(pattern="^https://")]
    server_name: Name
    ca_bundle: str
    audience: Name


class ModelChoice(Document, frozen=True, kw_only=True):
    """The model to serve and the ordered tiers behind it."""

    name: Name
    client_choice: ClientChoice = "Never"
    fallbacks: Annotated[tuple[Name, ...], Meta(max_length=5)] = ()


class Bounds(Document, frozen=True, kw_only=True):
    """A sampling parameter's default and closed range. Absent means unbounded or no default."""

    default: float | None = None
    min: float | None = None
    max: float | None = None


class EffortBounds(Document, frozen=True, kw_only=True):
    """Words of the wire: low, medium, high, xhigh, max."""

    default: str | None = None
    allowed: tuple[str, ...] = ()


class ThinkingChoice(Document, frozen=True, kw_only=True):
    """``mode`` is Off, Adaptive or Budget; the last with ``budget_tokens``."""

    mode: Literal["Off", "Adaptive", "Budget"]
    budget_tokens: Count = 0


class Sampling(Document, frozen=True, kw_only=True):
    """The resolved profile and what to do with a request outside of it."""

    profile: str = ""
    on_violation: ViolationAction = "Clamp"
    temperature: Bounds = Bounds()
    top_p: Bounds = Bounds()
    prefer: Literal["Temperature", "TopP"] = "Temperature"
    max_tokens: Bounds = Bounds()
    effort: EffortBounds = EffortBounds()
    thinking: ThinkingChoice | None = None


class Rates(Document, frozen=True, kw_only=True):
    """Requests, uncached input tokens and output tokens, all a minute. ``None`` means that the dimension is not limited."""

    requests_per_minute: Rate | None = None
    input_tokens_per_minute: Rate | None = None
    output_tokens_per_minute: Rate | None = None


class Queue(Document, frozen=True, kw_only=True):
    """How long, and behind how many, a request may wait in one proxy."""

    max_wait_s: Seconds = 20.0
    max_length: Count = 1000


class Limits(Document, frozen=True, kw_only=True):
    """Per proxy, without a controller.

    ``baseline`` (group → rates) is what a proxy may use when no lease holds any more: the guarantee ÷ ``scaling.max``.
    ``maximum`` bounds the sum over all models of the workload; without a controller each proxy holds it ÷ ``max_replicas``.
    """

    baseline: dict[str, Rates] = {}
    maximum: Rates = Rates()
    max_in_flight: Annotated[int, Meta(ge=1)] | None = None
    max_replicas: Annotated[int, Meta(ge=1)] = 1
    queue: Queue = Queue()


class Retry(Document, frozen=True, kw_only=True):
    """Full-jitter exponential backoff within a retry budget."""

    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 4
    initial_backoff_s: Seconds = 1.0
    max_backoff_s: Seconds = 60.0
    budget_percent: Percent = 20.0


class BreakerPolicy(Document, frozen=True, kw_only=True):
    """When the breaker of one (upstream, model) opens, and for how long."""

    consecutive_throttles: Annotated[int, Meta(ge=1)] = 5
    error_percent: Percent = 50.0
    minimum_requests: Annotated[int, Meta(ge=1)] = 20
    window_s: Seconds = 30.0
    open_for_s: Seconds = 30.0
    probe_max_tokens: Annotated[int, Meta(ge=1, le=50)] = 50


class Timeouts(Document, frozen=True, kw_only=True):
    """``total`` covers queue, retries and the time to the first relayed byte; a running stream is ended by ``stream_idle`` only: no byte
    from the upstream, or none taken by the client."""

    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 120.0
    stream_idle_s: Seconds = 120.0
    total_s: Seconds = 600.0


class Resilience(Document, frozen=True, kw_only=True):
    """Retry, breaker and timeouts."""

    retry: Retry = Retry()
    breaker: BreakerPolicy = BreakerPolicy()
    timeouts: Timeouts = Timeouts()


class Connections(Document, frozen=True, kw_only=True):
    """Bounds of one proxy's upstream pool, in requests at once: with HTTP/2 several share a connection. ``min`` are kept open."""

    min: Annotated[int, Meta(ge=0)] = 4
    max: Annotated[int, Meta(ge=1)] = 50
    protocol: Protocol = "Auto"


class Objective(Document, frozen=True, kw_only=True):
    """One SLO that the proxies measure: the share of requests within the threshold."""

    indicator: Indicator
    threshold_s: Annotated[float, Meta(gt=0)]
    objective_percent: Percent


class ProxyConfig(Document, frozen=True, kw_only=True):
    """Everything one proxy must know. ``revision`` orders documents; ``content_hash`` tells whether two say the same."""

    schema_version: Literal[1] = SCHEMA_VERSION
    revision: Count
    workload: WorkloadKey
    upstream: Upstream
    model: ModelChoice
    federation: Federation | None = None
    controller: ControllerAddress | None = None
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    resilience: Resilience = Resilience()
    prompt_cache: PromptCacheMode = "Client"
    single_flight: SingleFlight = "Off"
    endpoints: Annotated[tuple[Endpoint, ...], Meta(max_length=2)] = ()
    session_header: Annotated[str, Meta(pattern="^[-_a-z0-9]{1,64}$")] = SESSION_HEADER
    connections: Connections = Connections()
    objectives: tuple[Objective, ...] = ()


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(ProxyConfig)


def encode_config(config: ProxyConfig) -> bytes:
    """The document as deterministic JSON. ``schemaVersion`` is always written, so that a reader can refuse a later one."""
    return _ENCODER.encode({"schemaVersion": config.schema_version, **msgspec.to_builtins(config)})


def decode_config(raw: bytes) -> ProxyConfig:
    """Reads a document.

    Raises :class:`~claudeops.errors.InvalidResource` with the path of the first field that does not fit.
    """
    try:
        return _DECODER.decode(raw)
    except msgspec.DecodeError as error:
        raise InvalidResource(f"proxy.json is not a ProxyConfig of schema version {SCHEMA_VERSION}: {error}") from error


def content_hash(config: ProxyConfig) -> str:
    """Twelve hex digits over everything but ``revision``: equal for documents that say the same."""
    return hashlib.sha256(encode_config(msgspec.structs.replace(config, revision=0))).hexdigest()[:12]
