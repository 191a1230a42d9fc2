"""What a simulator is told before it starts."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

import msgspec

from claudeops.catalogue import RateLimits
from claudeops.simulator.fault import Fault
from claudeops.simulator.route import FILE_BODY_BYTES, MULTIPART_SPARE_BYTES

DEFAULT_KEY_PREFIX = "sk-ant-sim"
DEFAULT_ADMIN_PREFIX = "sk-ant-admin"
DEFAULT_ORGANIZATION = "default"
DEFAULT_WORKSPACE = "default"


class Account(msgspec.Struct, frozen=True):
    """Who an API key belongs to. Limits are the organisation's; prompt-cache entries are the workspace's."""

    organization: str = DEFAULT_ORGANIZATION
    workspace: str = DEFAULT_WORKSPACE

    @property
    def organization_id(self) -> str:
        """The UUID in ``anthropic-organization-id``: the same for the same name, always."""
        return _organization_id(self.organization)

    @property
    def workspace_id(self) -> str:
        """The id in ``anthropic-workspace-id``: the same for the same name, always."""
        return _workspace_id(self.organization, self.workspace)


@lru_cache(maxsize=256)
def _organization_id(organization: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{organization}.organization.claudeops"))


@lru_cache(maxsize=256)
def _workspace_id(organization: str, workspace: str) -> str:
    return "wrkspc_" + hashlib.sha256(f"{organization}/{workspace}".encode()).hexdigest()[:24]


class FederationRule(msgspec.Struct, frozen=True, kw_only=True):
    """Whose ServiceAccount tokens become whose access tokens: what ``audience`` and ``subject_prefix`` an identity token must have."""

    account: Account = Account()
    audience: str = "https://api.anthropic.com"
    subject_prefix: str = "system:serviceaccount:"
    service_account_id: str = "svac_sim"
    token_lifetime_s: float = 3600


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes one simulator. The defaults: the Build tier, any ``sk-ant-sim…`` key, real-time latency.

    ``tier`` None means that only the groups in ``limits`` are limited. ``speed`` divides every latency (not the
    limits). ``ttft_s`` and ``tokens_per_s`` replace the model's own medians. Port 0 lets the system choose. With
    ``has_fixed_ids`` ids, lengths and times follow from each request alone: equal requests get equal answers.
    ``workspace_limits``: workspace id, group, kind of limit as the Admin API names it. ``spend_limits_usd``: scope
    (``usage_tier``, ``contract``, ``organization``, ``workspace:NAME``) and USD a month. ``ramp_growth``: a group may use at most
    this many times the tokens of the minute before. ``admin_keys``: Admin API key and its organisation. ``compresses``: answers are
    compressed for clients that accept gzip. ``today``: the day by which models have retired, instead of the real one.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tier: str | None = "Build"
    limits: Mapping[str, RateLimits] = {}
    burst_s: float = 5.0
    workspace_limits: Mapping[str, Mapping[str, Mapping[str, int]]] = {}
    spend_limits_usd: Mapping[str, float] = {}
    ramp_growth: float | None = None
    seed: int = 0
    has_fixed_ids: bool = False
    has_downloadable_files: bool = False
    binds_thinking: bool = True
    compresses: bool = False
    today: date | None = None
    output_median_tokens: float = 350.0
    output_sigma: float = 0.8
    tokens_per_event: int = 10
    speed: float = 1.0
    ttft_s: float | None = None
    tokens_per_s: float | None = None
    keys: Mapping[str, Account] = {}
    admin_keys: Mapping[str, str] = {}
    federation_rules: Mapping[str, FederationRule] = {}
    faults: tuple[Fault, ...] = ()
    transcripts: Mapping[str, str] = {}
    has_ratelimit_headers: bool = True
    tls_certificate: str | None = None
    tls_key: str | None = None
    max_body_bytes: int = FILE_BODY_BYTES + MULTIPART_SPARE_BYTES

    def administrated(self, key: str) -> str | None:
        """The organisation whose Admin API this key opens; None when it opens none."""
        if self.keys or self.admin_keys:
            return self.admin_keys.get(key)
        return DEFAULT_ORGANIZATION if key.startswith(DEFAULT_ADMIN_PREFIX) else None

    def account_of(self, key: str) -> Account | None:
        """Who this key belongs to; None when the API would not know it."""
        if self.keys:
            return self.keys.get(key)
        return Account() if key.startswith(DEFAULT_KEY_PREFIX) else None
