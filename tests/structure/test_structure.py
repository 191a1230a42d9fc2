"""The architecture, as rules that a machine checks."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from tools.checks.tails import check_tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "claudeops"


def test_no_file_passes_the_tail_limits() -> None:
    assert check_tree(ROOT) == []


def test_tail_limits_notice_an_overlong_function(tmp_path: pathlib.Path) -> None:
    (tmp_path / "operator").mkdir()
    body = "\n".join(f"    x{i} = {i}" for i in range(70))
    (tmp_path / "operator" / "sample.py").write_text(f"def long():\n{body}\n")
    assert any("71 lines" in line for line in check_tree(tmp_path))


def test_operator_is_a_source_root_and_never_a_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator"


def test_nothing_but_the_package_is_inside_operator() -> None:
    assert {path.name for path in (ROOT / "operator").iterdir()} - {"__pycache__"} == {"claudeops"}


def test_no_shared_object_hides_a_source_that_is_being_edited() -> None:
    assert [path.name for path in (ROOT / "operator").rglob("*.so")] == []


def test_the_wheel_holds_exactly_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'packages = ["operator/claudeops"]' in text


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        (("lint-imports", "--no-cache"), "0 broken"),
        (("ruff", "check", "."), "All checks passed"),
        (("mypy", "operator", "tools", "bench"), "no issues found"),
    ],
    ids=["layers", "ruff", "mypy"],
)
def test_the_checks_of_make_lint_pass(command: tuple[str, ...], verdict: str) -> None:
    program = pathlib.Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdict in done.stdout


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("claudeops.sidecar.command", ["kopf", "kubernetes", "pydantic", "yaml", "aiohttp", "claudeops.api", "claudeops.fleet"]),
        ("claudeops.cli", ["kopf", "kubernetes", "pydantic", "uvloop", "msgspec"]),
        ("claudeops.fleet", ["kopf", "kubernetes"]),
    ],
)
def test_importing_a_plane_does_not_bring_what_it_must_not_know(module: str, forbidden: list[str]) -> None:
    code = f"import {module}, sys; print(*sorted(m for m in {forbidden!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


SELF = re.compile(r"/work/|/root/|pythonhosted|registry\.npmjs|pypi\.org/simple|proxy\.golang\.org|deb\.debian\.org")


def test_no_file_names_a_machine_path_or_a_registry_host() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\0")
    if listed == [""]:
        pytest.skip("not a git checkout")
    offenders = []
    for name in listed:
        path = ROOT / name
        if name and path.is_file() and path != pathlib.Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")
            if match := SELF.search(text):
                offenders.append(f"{name}: {match.group()}")
    assert offenders == []
