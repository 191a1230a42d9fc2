"""The flags of the controller."""

import pytest

from claudeops.cli.command_line import build_parser
from claudeops.controller.command import split_settings
from claudeops.errors import InvalidResource


def test_the_controllers_own_setting_is_told_from_the_fleets() -> None:
    own, fleet = split_settings(["figures-interval-s=2", "flip_hold_s=5"])
    assert own == {"figures_interval_s": 2.0} and fleet == ["flip_hold_s=5"]


@pytest.mark.parametrize(
    "text", ["figures_interval_s=", "figures_interval_s=0", "figures_interval_s=-1", "figures_interval_s=nan", "figures_interval_s=inf"]
)
def test_a_setting_that_is_no_number_above_zero_is_refused(text: str) -> None:
    with pytest.raises(InvalidResource, match="above zero"):
        split_settings([text])


@pytest.mark.parametrize("command", ["controller", "injector"])
def test_both_commands_are_on_the_command_line(command: str) -> None:
    assert build_parser(command).parse_args([command]).health_port == 8080
