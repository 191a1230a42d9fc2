"""The manifests in deploy/: all of them are applied, nobody has more rights than the code uses, and every pod is restricted."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FOLDERS = [DEPLOY, DEPLOY / "simulator"]


def documents(*kinds: str) -> list[dict[str, Any]]:
    found = [body for path in sorted(DEPLOY.rglob("*.yaml")) for body in yaml.safe_load_all(path.read_text()) if body]
    return [body for body in found if body["kind"] in kinds]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_manifest_is_applied(folder: pathlib.Path) -> None:
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")


def test_no_right_on_a_secret_but_the_operators_own() -> None:
    rules = [(body["kind"], rule) for body in documents("ClusterRole", "Role") for rule in body["rules"]]
    secrets = [(kind, rule) for kind, rule in rules if {"secrets", "*"} & set(rule["resources"])]
    assert secrets and all(kind == "Role" for kind, _ in secrets)
    assert all(rule.get("resourceNames") == ["claudeops-certificates"] or rule["verbs"] == ["create"] for _, rule in secrets)
    assert not any("*" in rule["verbs"] + rule["apiGroups"] for _, rule in rules)


def test_every_namespace_admits_nothing_but_restricted_pods() -> None:
    namespaces = documents("Namespace")
    labels = [body["metadata"].get("labels", {}) for body in namespaces]
    assert len(namespaces) == 2 and {entry.get("pod-security.kubernetes.io/enforce") for entry in labels} == {"restricted"}
