"""Where a field of a manifest stands, and how YAML is read."""

from __future__ import annotations

import pytest

from claudeops.errors import InvalidResource
from claudeops.standalone.manifest import parse_documents

TEXT = """\
# first line
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeQuota
metadata: {name: prod}
spec:
  limits:
  - {group: a}
  - group: b
    requestsPerMinute: 5
---
---
kind: List
items:
- kind: Secret
  metadata:
    name: key
    namespace: shop
"""


def test_documents_know_their_names_and_a_list_is_what_is_in_it() -> None:
    quota, secret = parse_documents(TEXT, "q.yaml")
    assert (quota.kind, quota.group, quota.name, quota.namespace) == ("ClaudeQuota", "claudeops.dev", "prod", "")
    assert (secret.kind, secret.group, secret.name, secret.namespace) == ("Secret", "", "key", "shop")
    assert secret.complain("x").place == "q.yaml:14"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 2),
        ("spec", 5),
        ("spec.limits[1].requestsPerMinute", 9),
        ("spec.limits[1].outputTokensPerMinute", 8),
        ("spec.limits[7].group", 6),
        ("spec.tier", 5),
        ("metadata.name", 4),
    ],
)
def test_a_complaint_stands_at_the_field_or_the_nearest_one_above(path: str, line: int) -> None:
    document = parse_documents(TEXT, "q.yaml")[0]
    assert str(document.complain("no", path=path)) == f"q.yaml:{line}: ClaudeQuota prod: no"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "q.yaml:1: no YAML"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", 'q.yaml:2: the key "c" is written twice'),
        ("- a", "q.yaml:1: a manifest is a mapping"),
        ("kind: List\nitems:\n- text", "q.yaml:3: a manifest is a mapping"),
        ("a: !!python/object/apply:os.getcwd []", "q.yaml:1: no YAML"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        parse_documents(text, "q.yaml")
    assert str(caught.value).startswith(message)


def test_a_date_stays_text_as_in_kubernetes() -> None:
    assert parse_documents("date: 2026-11-20", "q.yaml")[0].body == {"date": "2026-11-20"}
