"""Resources in, documents out: what the proxies, the fleet and the cluster are told. Pure: no clock, no cluster."""

from claudeops.translate.effective import effective
from claudeops.translate.references import Finding, References, check_quota, check_references
from claudeops.translate.render import next_revision, render_config_map, render_proxy_config
from claudeops.translate.terms import QuotaTerms, ScalingTerms, WorkloadTerms, quota_terms, workload_terms

__all__ = [
    "Finding",
    "QuotaTerms",
    "References",
    "ScalingTerms",
    "WorkloadTerms",
    "check_quota",
    "check_references",
    "effective",
    "next_revision",
    "quota_terms",
    "render_config_map",
    "render_proxy_config",
    "workload_terms",
]
