"""docs/controller.md names every flag and every metric of the control plane, and none that is not there."""

import argparse
import re
from pathlib import Path

import pytest

from claudeops.controller import command, injector_command
from claudeops.controller.injector import Injector
from claudeops.controller.metrics import ControllerMetrics, FleetCollector
from claudeops.fleet import Fleet
from claudeops.translate.proxy_container import InjectionSettings

PAGE = (Path(__file__).parents[2] / "docs" / "controller.md").read_text()


@pytest.mark.parametrize("configure", [command.configure, injector_command.configure])
def test_every_flag_is_documented(configure: object) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    assert callable(configure)
    configure(parser)
    flags = [option for action in parser._actions for option in action.option_strings]
    assert flags and [flag for flag in flags if f"`{flag}" not in PAGE] == []


def test_every_metric_is_documented_and_none_is_made_up() -> None:
    async def find(_: str, __: str) -> None:
        return None

    registry = ControllerMetrics().registry
    registry.register(FleetCollector(Fleet(), lambda: [], lambda: [], lambda: 0.0))
    injector = Injector(find, InjectionSettings(image="x")).registry
    names = {metric.name + ("_total" if metric.type == "counter" else "") for each in (registry, injector) for metric in each.collect()}
    assert names == set(re.findall(r"^\| `(claudeops_[a-z_]+)`", PAGE, re.MULTILINE))
