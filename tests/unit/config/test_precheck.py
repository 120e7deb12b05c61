"""The ``precheck`` block of a case file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config.resolve import load_cases
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError

Write = Callable[..., Path]


def test_words_are_kept_as_they_are(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}precheck:\n  command: [/check, a b, $HOME, '']\n")
    for case in load_cases(str(path), environ={}):
        assert case.precheck is not None
        assert (case.precheck.command, case.precheck.timeout_s) == (("/check", "a b", "$HOME", ""), 300)


@pytest.mark.parametrize("command", ["/check --all", "[]", "['', a]", "[/check, 3]", "{a: 1}"])
def test_a_command_is_a_list_of_words(write: Write, disagg: str, command: str) -> None:
    path = write("x.yaml", f"{disagg}precheck:\n  command: {command}\n")
    with pytest.raises(ConfigError, match=r"precheck.command: .* expected a command as a list of words"):
        load_cases(str(path), environ={})


def test_an_unknown_key(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}precheck:\n  command: [/check]\n  timeout: 3\n")
    with pytest.raises(ConfigError, match=r"precheck.timeout: .*did you mean 'timeout_s'"):
        load_cases(str(path), environ={})


def test_a_rehearsal_has_none_and_says_so(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}precheck:\n  command: [/check]\n")
    case = load_cases(str(path), settings=Settings(engine="sim"), environ={})[0]
    assert case.precheck is None
    assert "rehearsal: no precheck" in case.notes
