"""``docs/simulator.md`` names every flag, endpoint and fault, and no others; its examples are valid."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from claudeops.simulator import admin
from claudeops.simulator.command import configure
from claudeops.simulator.fault import Fault, FaultKind
from claudeops.simulator.pool import LimitsChange

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(title: str) -> set[str]:
    """The words in code type in the first column of a section's table."""
    rows = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_flag_is_on_the_page() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    configure(parser)
    assert first_cells("Flags") == {option for action in parser._actions for option in action.option_strings}


def test_every_fault_is_on_the_page() -> None:
    assert first_cells("Faults") == set(get_args(FaultKind))


@pytest.mark.parametrize("field", Fault.__struct_fields__[1:])
def test_every_parameter_of_a_fault_is_on_the_page(field: str) -> None:
    assert f"`{field}`" in section("Faults")


def test_every_control_endpoint_is_on_the_page() -> None:
    routes = re.findall(r'\("(GET|PUT|POST|DELETE)", "(\w+)"\)', inspect.getsource(admin.Admin))
    assert len(routes) > 5
    assert first_cells("Control") == {f"{method} /_sim/{name}" for method, name in routes}


def test_the_examples_are_valid() -> None:
    faults = re.search(r"_sim/faults -d '(\[.*?\])'", PAGE, re.DOTALL)
    limits = re.search(r"`(\{\"tier\".*?\}\}\})`", PAGE)
    message = re.search(r"-d '(\{.*\})'", PAGE)
    assert faults and limits and message
    assert len(msgspec.json.decode(faults[1], type=list[Fault])) == 2
    assert msgspec.json.decode(limits[1], type=LimitsChange).tier == "Scale"
    assert json.loads(message[1])["model"] == "claude-sonnet-5-5"
