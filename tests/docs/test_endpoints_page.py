"""docs/endpoints.md lists exactly the paths that are open, and its workload is valid."""

from __future__ import annotations

import pathlib
import re

import yaml

from claudeops.api import ClaudeWorkload, parse
from claudeops.sidecar.endpoint import BATCHES, COUNT_TOKENS, FILES, MESSAGES, MODELS, NEW_BATCH, NO_SUCH_PATH, PROBE, kind_of
from claudeops.sidecar.fingerprint import SAYS_NOTHING, STAINLESS

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "endpoints.md").read_text()
METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH")


def test_the_page_lists_the_open_paths_and_no_others() -> None:
    named = set(re.findall(r"`((?:GET|HEAD|POST|DELETE) /[^`]*)`", PAGE))
    kinds = {line: _kind(line) for line in named}
    assert set(kinds.values()) == {MESSAGES, COUNT_TOKENS, MODELS, PROBE, NEW_BATCH, BATCHES, FILES}
    paths = {line.partition(" ")[2] for line in named}
    for path in paths:
        for method in METHODS:
            line = f"{method} {path}"
            assert (_kind(line) == NO_SUCH_PATH) == (line not in named and method != "HEAD"), line


def _kind(line: str) -> int:
    method, path = line.replace("{id}", "id_1").encode().split(b" ")
    return kind_of(method, path)


def test_the_page_s_workload_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    workload = parse("ClaudeWorkload", yaml.safe_load(block))
    assert isinstance(workload, ClaudeWorkload)
    assert (workload.spec.endpoints, workload.spec.cache.single_flight) == (("Batches", "Files"), "Identical")


def test_the_page_names_the_headers_that_may_differ() -> None:
    (sentence,) = re.findall(r"Only the order of .*? may differ\.", PAGE)
    assert set(re.findall(r"`([^`]+)`", sentence)) == {name.decode() for name in SAYS_NOTHING} | {f"{STAINLESS.decode()}*"}
