"""Settings from flags."""

from __future__ import annotations

from dataclasses import fields

import pytest

from claudeops.errors import InvalidResource
from claudeops.fleet import FleetSettings, parse_settings


def test_every_setting_can_be_set_by_name() -> None:
    for field in fields(FleetSettings):
        changed = parse_settings([f"{field.name.replace('_', '-')}=7"])
        assert getattr(changed, field.name) == 7
        assert changed != FleetSettings()


def test_settings_that_are_not_named_keep_their_defaults() -> None:
    assert parse_settings([]) == FleetSettings()
    assert parse_settings(["flip-hold-s=5"]).lease_ttl_s == FleetSettings().lease_ttl_s


@pytest.mark.parametrize("wrong", ["flip-hold-s", "nothing=1", "flip-hold-s=soon", "flip-hold-s=0", "tick_s=nan", "flip_clean_windows=1.5"])
def test_a_wrong_setting_is_refused_with_what_to_write(wrong: str) -> None:
    with pytest.raises(InvalidResource, match=r"--set: .*(name=value|number above zero)"):
        parse_settings([wrong])
