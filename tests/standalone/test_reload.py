"""Files that change while `claudeops run` follows them: what is right is in force at once, what is wrong stands as it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live_simulator import exchange
from tests.standalone.running import EXAMPLE, Run, condition, is_alive, running, wait_until
from tests.standalone.test_run import OLD, ask, seen

BOT, READER, THIRD = "shop/support-bot", "shop/invoice-reader", "shop/third"
WORKLOAD = """
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeWorkload
metadata: {name: third, namespace: shop}
spec:
  quotaRef: {name: prod}
  credentials: {secretRef: {name: claude-key, key: api-key}}
  model: {name: claude-haiku-5-5}
"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    for file in EXAMPLE.glob("*.yaml"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def run(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("runtime")
    with running("-f", str(manifests), "--simulator", "--port", "0", folder=folder) as started:
        started.wait_until_ready(BOT, READER)
        yield started


def edit(file: Path, old: str, new: str) -> None:
    """As an editor saves: a new file in the old one's place."""
    text = file.read_text()
    assert old in text
    unfinished = file.with_suffix(".new")
    unfinished.write_text(text.replace(old, new))
    unfinished.replace(file)


def temperature_of(run: Run) -> Any:
    url = run.wait_until_ready(READER)[READER][0]
    assert ask(url, temperature=1.0)[0] == 200
    return seen(run, OLD)["sampling"]["temperature"]


def test_a_changed_bound_is_in_force_at_once(run: Run, manifests: Path) -> None:
    assert temperature_of(run) == 0.4
    before, since = run.wait_until_ready(READER), run.said
    edit(manifests / "profile.yaml", "max: 0.4}", "max: 0.6}")
    run.wait_for_text("were read again", since=since)
    wait_until("the bound is the old one", lambda: temperature_of(run) == 0.6)
    assert run.wait_until_ready(READER) == before


def test_a_wrong_field_is_pointed_at_and_everything_stands_as_it_was(run: Run, manifests: Path) -> None:
    since = run.said
    edit(manifests / "workloads.yaml", "weight: 50", "weight: 5000")
    complaint = run.wait_for("the complaint", lambda document: document["event"] == "invalid", since=since)["message"]
    line = 1 + (manifests / "workloads.yaml").read_text().splitlines().index("  limits: {weight: 5000}")
    assert complaint.startswith(f"{manifests}/workloads.yaml:{line}: ClaudeWorkload {READER}: spec.limits.weight: ")
    stalled = run.wait_for_status(READER, lambda status: condition(status, "Stalled")["status"] == "True")
    assert "spec.limits.weight" in str(stalled["status"])
    assert ask(stalled["urls"][0])[0] == 200
    since = run.said
    edit(manifests / "workloads.yaml", "weight: 5000", "weight: 60")
    run.wait_for_status(READER, lambda status: status["conditions"][0]["status"] == "True", since=since)


def test_a_file_that_is_no_yaml_stands_as_it_was(run: Run, manifests: Path) -> None:
    since, children = run.said, run.children()
    edit(manifests / "quota.yaml", "spec:", "spec: [")
    complaint = run.wait_for("the complaint", lambda document: document["event"] == "invalid", since=since)["message"]
    assert complaint.startswith(f"{manifests}/quota.yaml:") and "no YAML" in complaint
    edit(manifests / "quota.yaml", "spec: [", "spec:")
    assert run.children() == children


def test_a_new_workload_gets_a_proxy_and_a_removed_one_loses_it(run: Run, manifests: Path) -> None:
    (manifests / "third.yaml").write_text(WORKLOAD)
    url = run.wait_until_ready(THIRD)[THIRD][0]
    assert ask(url)[0] == 200
    children = set(run.children())
    (manifests / "third.yaml").unlink()
    wait_until("its proxy is still there", lambda: any(not is_alive(pid) for pid in children))
    with pytest.raises(OSError):
        exchange(url, "GET", "/v1/models")
    assert ask(run.wait_until_ready(BOT)[BOT][0])[0] == 200
