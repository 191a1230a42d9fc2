"""Everything shipped as text is true: links lead somewhere, targets exist, examples are valid resources."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from claudeops.api import parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench" / "README.md"]
KINDS = {"ClaudeWorkload", "ClaudeQuota", "SamplingProfile"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: pathlib.Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"(?:`|^)make ([a-z][a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test", "images"} <= named
    assert named - targets == set()


def test_every_documented_folder_of_the_readme_exists() -> None:
    rows = re.findall(r"^\| ((?:`[^`]+/`(?:, )?)+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    folders = [folder for row in rows for folder in re.findall(r"`([^`]+)/`", row)]
    assert len(folders) >= 6
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def _documents() -> list[tuple[str, dict[str, object]]]:
    found: list[tuple[str, dict[str, object]]] = []
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        found += [(str(path.relative_to(ROOT)), body) for body in yaml.safe_load_all(path.read_text()) if body]
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        found += [("README.md", body) for body in yaml.safe_load_all(block) if body]
    return [(name, body) for name, body in found if body.get("kind") in KINDS]


@pytest.mark.parametrize(("name", "body"), _documents(), ids=[f"{name}:{body['kind']}" for name, body in _documents()])
def test_every_shown_resource_is_valid(name: str, body: dict[str, object]) -> None:
    parse(str(body["kind"]), body)


def test_the_examples_show_each_kind_and_the_readme_two() -> None:
    documents = _documents()
    assert {body["kind"] for name, body in documents if name != "README.md"} == KINDS
    assert len([name for name, _ in documents if name == "README.md"]) >= 2


def test_the_continuous_integration_runs_the_readme_s_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert "\nmake test\n" in (ROOT / "README.md").read_text()


def test_make_lists_its_targets_with_what_they_do() -> None:
    make = shutil.which("make")
    assert make is not None
    shown = subprocess.run([make, "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"make demo", "make test"} <= {line.strip()[: len("make demo")].strip() for line in shown.splitlines()}
