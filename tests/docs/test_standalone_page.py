"""``docs/standalone.md`` names every flag and every kind that is read, and no others."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

from claudeops.standalone import inventory, output
from claudeops.standalone.command import configure

PAGE = (Path(__file__).parents[2] / "docs" / "standalone.md").read_text()


def first_cells(title: str) -> set[str]:
    """The words in code type in the first column of a section's table."""
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_flag_is_on_the_page() -> None:
    parser = argparse.ArgumentParser()
    configure(parser)
    assert first_cells("Flags") == {option for action in parser._actions for option in action.option_strings}


def test_every_kind_that_is_read_is_on_the_page() -> None:
    assert first_cells("What is read") == set(re.findall(r'case "(\w+)":', inspect.getsource(inventory._add)))


def test_every_event_is_on_the_page() -> None:
    assert output.Output.tell.__doc__ is not None
    events = set(re.findall(r"``(\w+)``", output.Output.tell.__doc__))
    assert [event for event in events if f"`{event}`" not in PAGE.split("## For programs", 1)[1]] == []
