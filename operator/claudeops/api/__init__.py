"""The custom resources of ``claudeops.dev/v1alpha1``: the models are the source, ``crds/`` is generated from them."""

from claudeops.api.profile import SamplingProfile
from claudeops.api.quota import ClaudeQuota, LabelSelector
from claudeops.api.reading import Resource, find_faults, parse, parse_profile, parse_quota, parse_workload
from claudeops.api.scalar import seconds
from claudeops.api.workload import ClaudeWorkload

GROUP = "claudeops.dev"
VERSION = "v1alpha1"

__all__ = [
    "GROUP",
    "VERSION",
    "ClaudeQuota",
    "ClaudeWorkload",
    "LabelSelector",
    "Resource",
    "SamplingProfile",
    "find_faults",
    "parse",
    "parse_profile",
    "parse_quota",
    "parse_workload",
    "seconds",
]
