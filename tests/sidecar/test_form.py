"""These tests run on both forms of the proxy: the sources, and (python -m tools.compile) what mypyc makes of them."""

from __future__ import annotations

import os

from claudeops.sidecar import pipeline


def test_the_form_under_test_is_the_one_that_was_asked_for() -> None:
    assert str(pipeline.__file__).endswith(".so" if os.environ.get("CLAUDEOPS_COMPILED") else ".py")
