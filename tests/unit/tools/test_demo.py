"""What the demonstration makes of steps that do not happen."""

from collections.abc import Callable
from typing import Any

import pytest
from tools.demo.access import Access, DemoError
from tools.demo.observe import Observer
from tools.demo.screen import Screen
from tools.demo.story import Story


def story() -> Story:
    access, screen = Access("kubectl", []), Screen(is_live=False)
    return Story(access, screen, Observer(access, screen))


def fail_with(error: Exception) -> Callable[[], dict[str, Any]]:
    def act() -> dict[str, Any]:
        raise error

    return act


@pytest.mark.parametrize("error", [DemoError("no 429s"), TimeoutError("no 429s"), ConnectionRefusedError(111, "no 429s")])
def test_a_step_that_fails_is_said_and_the_next_one_begins(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    told = story()
    told._step("first", fail_with(error))
    told._step("second", lambda: {"figure": 1})
    assert [(result["step"], result["happened"]) for result in told.results] == [("first", False), ("second", True)]
    assert told.has_failed and "no 429s" in told.results[0]["problem"] and "no 429s" in capsys.readouterr().out


def test_a_story_of_which_every_step_happened_has_not_failed() -> None:
    told = story()
    told._step("only", lambda: {"figure": 1})
    assert not told.has_failed and told.results[0]["figures"] == {"figure": 1}


def test_an_error_without_words_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = story()
    told._step("only", fail_with(TimeoutError()))
    assert told.results[0]["problem"] == "TimeoutError" and "TimeoutError" in capsys.readouterr().out
