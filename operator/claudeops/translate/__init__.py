"""Resources in, documents out: what the proxies, the fleet and the cluster are told. Pure: no clock, no cluster."""

from claudeops.translate.terms import QuotaTerms, ScalingTerms, WorkloadTerms, quota_terms, workload_terms

__all__ = ["QuotaTerms", "ScalingTerms", "WorkloadTerms", "quota_terms", "workload_terms"]
