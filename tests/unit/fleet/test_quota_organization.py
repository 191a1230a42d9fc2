"""Whose limits a quota shares out is settled once: by its spec, else by the first organisation seen, also after a restart."""

from __future__ import annotations

from tests.unit.api.objects import changed

from claudeops.api import parse_quota
from claudeops.fleet.quota_status import with_seen_organization
from claudeops.translate import quota_terms

TERMS = quota_terms(parse_quota(changed("ClaudeQuota", {})))
DECLARED = quota_terms(parse_quota(changed("ClaudeQuota", {"spec.organizationId": "org-declared"})))


def test_the_organisation_of_the_status_holds_where_the_spec_names_none() -> None:
    assert with_seen_organization(TERMS, {"status": {"organizationId": "org-seen"}}).organization_id == "org-seen"


def test_the_spec_wins() -> None:
    assert with_seen_organization(DECLARED, {"status": {"organizationId": "org-seen"}}).organization_id == "org-declared"


def test_a_new_quota_has_none() -> None:
    assert with_seen_organization(TERMS, {}).organization_id is None
    assert with_seen_organization(TERMS, {"status": {"conditions": []}}).organization_id is None
